"""A real worker with a real relay, in the test's own process, on a task queue of its own."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from temporalio.client import Client, WorkflowHandle

from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database, ProjectScope
from adapters.temporal.client import connect
from adapters.temporal.relay import Relay
from api.http.commands import Commands
from billing.subscriptions.subscription import SubscriptionState
from devstack.temporal_server import TemporalServer
from models.tables import test_clocks
from settings import Settings
from tests.conftest import FreshDatabase
from tests.support.subscribing import Catalogue, workflow_id_of
from tests.waiting import eventually
from worker import build_worker


@dataclass
class Office:
    """Everything a workflow test needs: rows, a client, commands, and a worker that can be started and stopped."""

    catalogue: Catalogue
    client: Client
    commands: Commands
    configuration: Settings
    database: Database

    @contextlib.asynccontextmanager
    async def working(self, *, relay: bool = True, **overrides: Any) -> AsyncIterator[None]:
        """Run a worker, with its relay unless told otherwise; `overrides` change the settings."""
        configuration = self.configuration.model_copy(update=overrides)
        async with build_worker(self.client, self.database, configuration):
            if not relay:
                yield
                return
            relaying = asyncio.create_task(Relay(self.client, self.database, configuration).run())
            try:
                yield
            finally:
                relaying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await relaying

    def handle(self, state: SubscriptionState) -> WorkflowHandle[Any, Any]:
        """Return the handle of a subscription's workflow."""
        return self.client.get_workflow_handle(workflow_id_of(state))

    async def live(self, state: SubscriptionState) -> SubscriptionState:
        """Ask a workflow for its state."""
        found: SubscriptionState = await self.handle(state).query("state", result_type=SubscriptionState)
        return found

    async def advance(self, clock_id: UUID, to: datetime, *, seconds: float = 60) -> Any:
        """Advance a test clock and wait until everybody has arrived; returns its row, failed if work was parked."""
        scope = self.catalogue.scope
        async with self.database.transaction(scope) as connection:
            await clock_store.advance(connection, scope.project_id, str(clock_id), to)

        async def clock() -> Any:
            return await self.catalogue.row(test_clocks, clock_id)

        return await eventually(clock, seconds=seconds, until=lambda row: row.target_time is None)


@pytest.fixture
async def office(
    database: Database, fresh_database: FreshDatabase, tenant: ProjectScope, temporal_server: TemporalServer
) -> Office:
    """A catalogue in a database of this test alone, and a client of the session's Temporal server."""
    configuration = Settings(
        DATABASE_URL=fresh_database.url,
        TEMPORAL_ADDRESS=temporal_server.address,
        temporal_task_queue=f"test-{uuid.uuid4().hex[:8]}",
        relay_poll_ms=50,
        usage_signal_quiet_ms=50,
        usage_signal_busy_ms=100,
        database_pool_size=10,
        webhook_allow_private=True,
        webhook_first_retry_seconds=2,
    )
    client = await connect(configuration)
    commands = await Commands.connect(database, configuration)
    catalogue = await Catalogue(database, tenant).build()
    return Office(catalogue, client, commands, configuration, database)
