"""The application: what it is made of, and what it opens and closes.

Run it with ``uvicorn app:create_app --factory``.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from adapters.collector import freeze_gc
from adapters.payments.registry import payment_providers
from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.journal import idempotency_store
from adapters.postgres.limits import reservation_commit_store, reservation_expiry_store
from adapters.postgres.tenancy import session_store
from adapters.secret_box import SecretBox
from adapters.telemetry import logs
from adapters.webhooks.slots import Slots
from api.compat import COMPAT_ROUTERS
from api.events.ingest_route import IngestFastPath
from api.http import errors, openapi
from api.http.commands import Commands
from api.http.failed_keys import FailedKeys
from api.http.middleware import BodyLimit, CleanPath, DocumentationPolicy
from api.http.request_log import RequestLog, add_request
from api.limits.reservations import ReservationLane
from api.routers import ROUTERS, UNVERSIONED, UNVERSIONED_TOO
from models.problems import Problem
from settings import Settings, settings
from web import pages, portal

_COLLECTOR_THRESHOLDS = (50_000, 20, 50)
_log = structlog.get_logger("durabill.api")


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    configuration: Settings = app.state.settings
    database = Database.configured(configuration)
    app.state.database = database
    key = configuration.stripe_api_key
    app.state.providers = payment_providers(
        database,
        box=SecretBox([each.get_secret_value() for each in configuration.encryption_keys]),
        stripe_api_key=key.get_secret_value() if key else None,
        stripe_api_base=configuration.stripe_api_base,
        timeout_seconds=configuration.payment_timeout_seconds,
        production=configuration.production,
        return_url=configuration.payment_return_url or configuration.public_url,
    )
    app.state.commands = await Commands.connect(database, configuration)
    cleaning = [asyncio.create_task(repeatedly(seconds, work, database)) for seconds, work in _CLEANING]
    freeze_gc(_COLLECTOR_THRESHOLDS)
    try:
        yield
    finally:
        for task in cleaning:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await database.close()


async def repeatedly(seconds: float, work: Callable[[Database], Awaitable[object]], database: Database) -> None:
    """Do something now and again for as long as the process lives; what fails is tried again the next time."""
    while True:
        try:
            await work(database)
        except Problem as error:
            _log.warning("cleaning_failed", work=work.__name__, code=error.code)
        except Exception:  # a task that ended would leave undone, unseen, what only a restart could mend
            _log.exception("cleaning_failed", work=work.__name__)
        await asyncio.sleep(seconds)


async def _forget_old_answers(database: Database) -> None:
    async with database.transaction(SYSTEM) as connection:
        await idempotency_store.forget_old(connection)
        await reservation_commit_store.forget_old(connection)
        await session_store.forget_expired(connection)


#: What every process does in the background, and how many seconds it rests in between.
_CLEANING: Final = ((3600.0, _forget_old_answers), (1.0, reservation_expiry_store.sweep))


def create_app(configuration: Settings | None = None) -> FastAPI:
    """Build the application, from the environment if no settings are given; it opens its connections when it starts."""
    configuration = configuration or settings()
    logs.set_up(configuration.log_level, configuration.log_format, add_request)
    # Its documentation pages carry their own scripts: nothing is loaded from elsewhere.
    app = FastAPIOffline(
        lifespan=_lifespan,
        redirect_slashes=False,
        strict_content_type=False,
        **openapi.METADATA,
    )
    app.state.settings = configuration
    app.state.failed_keys = FailedKeys()
    app.state.webhook_slots = Slots.of(configuration)
    errors.install(app)
    for router in (*UNVERSIONED, *UNVERSIONED_TOO):
        app.include_router(router)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    for router in COMPAT_ROUTERS:
        app.include_router(router, prefix="/api")
    # The same routes; listed once in OpenAPI (conflicts C1).
    for router in ROUTERS:
        app.include_router(router, prefix="/api/v1", include_in_schema=False)
    for router in UNVERSIONED_TOO:
        app.include_router(router, prefix="/v1", include_in_schema=False)
    app.include_router(pages.router)
    app.include_router(portal.router)
    openapi.install(app)
    # The last one added is the outermost.
    app.add_middleware(DocumentationPolicy)
    app.add_middleware(IngestFastPath, mounts=[("/v1", ROUTERS), ("/api/v1", ROUTERS), ("/api", COMPAT_ROUTERS)])
    app.add_middleware(ReservationLane)
    app.add_middleware(CleanPath)
    app.add_middleware(BodyLimit, most_bytes=configuration.max_body_bytes)
    app.add_middleware(RequestLog, ingestion_one_in=configuration.log_ingestion_one_in, is_https=configuration.is_https)
    return app
