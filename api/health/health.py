"""Is it alive, is it ready: for supervisors and load balancers (design section 8)."""

import asyncio
from collections.abc import Awaitable
from secrets import compare_digest
from typing import Any

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field, SecretStr

from adapters.postgres.readiness import schema_state
from api.health import backlog_metrics
from api.http.deps import CommandsDep, DatabaseDep
from api.http.responses import reply
from api.http.routing import resource_router
from models.problems import Problem

router = resource_router("Operations", public=True)

_SECONDS = 2.5
_PUBLIC: dict[str, Any] = {"security": []}


class Health(BaseModel):
    """Whether each part answers: ``ok``, or what is wrong with it."""

    status: str = Field(examples=["ok", "unavailable"])
    database: str = Field(examples=["ok", "unreachable", "not migrated"])
    temporal: str = Field(examples=["ok", "unreachable"])
    worker: str = Field(examples=["ok", "not polling"])


@router.get(
    "/healthz",
    operation_id="get_health",
    summary="Is everything ready?",
    response_model=Health,
    openapi_extra=_PUBLIC,
)
async def get_health(database: DatabaseDep, commands: CommandsDep) -> Response:
    """Answer 200 if the database is migrated, Temporal is reachable and a worker is polling; else 503."""
    parts = dict(
        zip(
            ("database", "temporal", "worker"),
            await asyncio.gather(
                _within(schema_state(database), "no answer in time"),
                _within(_said(commands.check_reachability(), "unreachable"), "unreachable"),
                _within(_said(commands.worker_polling(), "not polling"), "not polling"),
            ),
            strict=True,
        )
    )
    ready = all(part == "ok" for part in parts.values())
    return reply({"status": "ok" if ready else "unavailable", **parts}, 200 if ready else 503)


async def _said(answer: Awaitable[bool], otherwise: str) -> str:
    return "ok" if await answer else otherwise


async def _within(part: Awaitable[str], otherwise: str) -> str:
    try:
        return await asyncio.wait_for(part, _SECONDS)
    except TimeoutError:
        return otherwise


@router.get("/livez", operation_id="get_liveness", summary="Is this process alive?", openapi_extra=_PUBLIC)
async def get_liveness() -> Response:
    """Answer 200 as long as the process handles requests, whatever else is down."""
    return reply({"status": "ok"})


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request, database: DatabaseDep) -> Response:
    """Return the process's metrics to Prometheus, with `DURABILL_METRICS_TOKEN` to the bearer of that token alone."""
    token: SecretStr | None = request.app.state.settings.metrics_token
    presented = request.headers.get("authorization", "").encode()
    if token is not None and not compare_digest(presented, b"Bearer " + token.get_secret_value().encode()):
        raise Problem(401, "metrics_token_required", "Send the token of DURABILL_METRICS_TOKEN as a bearer.")
    await backlog_metrics.refresh(database)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
