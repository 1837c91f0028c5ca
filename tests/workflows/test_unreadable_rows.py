"""A row of the outbox that nobody can read is set aside with its error; the relay and all others go on."""

import asyncio
import contextlib
from typing import Any

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal.outbox_store import WORKFLOW_SIGNAL, WORKFLOW_START, enqueue
from adapters.postgres.subscriptions import parking_store
from adapters.temporal.client import connect
from adapters.temporal.relay import Relay
from devstack.temporal_server import TemporalServer
from models.tables import notifications, outbox
from settings import Settings
from tests.adapters.test_webhooks import rows
from tests.conftest import FreshDatabase
from tests.waiting import eventually

UNREADABLE: tuple[tuple[str, dict[str, Any]], ...] = (
    (WORKFLOW_SIGNAL, {"workflow_id": "subscription/x"}),
    (WORKFLOW_START, {"workflow": "SubscriptionWorkflow", "workflow_id": "subscription/x", "message": {"state": 7}}),
    (WORKFLOW_START, {"workflow": "InvoiceWorkflow", "message": None}),
    (WORKFLOW_START, {}),
)


async def test_an_unreadable_row_is_parked_and_the_relay_goes_on(
    database: Database, fresh_database: FreshDatabase, tenant: ProjectScope, temporal_server: TemporalServer
) -> None:
    settings = Settings(DATABASE_URL=fresh_database.url, TEMPORAL_ADDRESS=temporal_server.address, relay_poll_ms=20)
    async with database.transaction(tenant) as connection:
        for topic, payload in UNREADABLE:
            await enqueue(connection, project_id=tenant.project_id, topic=topic, ordering_key="x", payload=payload)
        # Of the same key, and in order: it waits for its workflow, not for what cannot be read.
        good = {"workflow_id": "subscription/nobody", "signal": "usage_recorded", "message": {}}
        await enqueue(connection, project_id=tenant.project_id, topic=WORKFLOW_SIGNAL, ordering_key="x", payload=good)
    relay = asyncio.create_task(Relay(await connect(settings), database, settings).run())

    async def parked() -> list[Any]:
        return [row for row in await rows(database, outbox) if row.parked_at is not None]

    async def tried() -> bool:
        return bool((await rows(database, outbox))[-1].attempts)

    try:
        found = await eventually(parked, until=lambda all_: len(all_) == len(UNREADABLE))
        await eventually(tried)
        assert not relay.done()
    finally:
        relay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await relay
    assert all(row.last_error and row.delivered_at is None for row in found)
    assert found[0].last_error == "KeyError: 'signal'"
    assert {row.category for row in await rows(database, notifications)} == {"outbox"}
    async with database.transaction(SYSTEM) as connection:
        assert [row.id for row in await parking_store.parked(connection)] == [row.id for row in found]
