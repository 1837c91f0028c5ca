"""The application in this process, with the key of one organization."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.api.conftest import Service, bearer, client_of, extra_router, service

__all__ = ["api", "extra_router", "service", "stranger"]


async def _with_key(service: Service, name: str) -> AsyncIterator[httpx.AsyncClient]:
    key = await service.key(name)
    async with client_of(service.app) as http:
        http.headers.update(bearer(key))
        yield http


@pytest.fixture
async def api(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of a fresh organization."""
    async for http in _with_key(service, "Ours"):
        yield http


@pytest.fixture
async def stranger(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key of another organization of the same deployment."""
    async for http in _with_key(service, "Theirs"):
        yield http
