"""The application in this process, on a database of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from app import create_app
from settings import Settings
from tests.conftest import FreshDatabase

BOOTSTRAP_KEY = "boot_of_the_test"
UNREACHABLE = "127.0.0.1:9"


@dataclass
class Service:
    """A started application and ways to talk to it."""

    app: FastAPI
    http: httpx.AsyncClient

    async def organization(self, name: str = "CloudAI") -> dict[str, Any]:
        """Create an organization as the operator does."""
        answer = await self.http.post("/v1/organizations", json={"name": name}, headers=bearer(BOOTSTRAP_KEY))
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def key(self, name: str = "CloudAI") -> str:
        """Return the first key of a fresh organization."""
        return str((await self.organization(name))["api_key"]["key"])


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def settings_for(database_url: str, **changes: Any) -> Settings:
    return Settings.model_validate(
        {
            "DATABASE_URL": database_url,
            "TEMPORAL_ADDRESS": UNREACHABLE,
            "bootstrap_key": BOOTSTRAP_KEY,
            "session_secret": "secret of the test",
            "database_pool_size": 5,
            "max_body_bytes": 200_000,
            **changes,
        }
    )


@pytest.fixture
def extra_router() -> APIRouter | None:
    """Routes that a test module adds to the application."""
    return None


_APPLICATIONS: list[tuple[APIRouter | None, FastAPI]] = []


def application(extra: APIRouter | None) -> FastAPI:
    """Build the application once: working out its hundreds of routes takes longer than most tests."""
    for router, built in _APPLICATIONS:
        if router is extra:
            return built
    app = create_app(settings_for("postgresql://nobody@127.0.0.1:9/nothing"))
    if extra is not None:
        for prefix in ("/v1", "/api/v1"):
            app.include_router(extra, prefix=prefix)
    _APPLICATIONS.append((extra, app))
    return app


@pytest.fixture
async def service(fresh_database: FreshDatabase, extra_router: APIRouter | None) -> AsyncIterator[Service]:
    """A started application with its own empty database, and without a Temporal server."""
    app = application(extra_router)
    app.state.settings, app.state.ingest_queue = settings_for(fresh_database.url), None
    async with app.router.lifespan_context(app), client_of(app) as http:
        yield Service(app, http)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30)
