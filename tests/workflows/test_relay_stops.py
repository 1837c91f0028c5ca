"""A relay that is told to stop stops, whatever Postgres and Temporal do meanwhile."""

import asyncio

import psycopg
import pytest

from adapters.postgres.database import Database
from adapters.temporal.client import connect
from adapters.temporal.relay import Relay
from devstack.processes import free_port
from settings import Settings
from tests.conftest import FreshDatabase
from tests.waiting import eventually

_LEADER = """
    SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database AND d.datname = current_database()
    WHERE locktype = 'advisory' AND granted
"""


async def test_a_lost_connection_does_not_lose_the_order_to_stop(
    database: Database, fresh_database: FreshDatabase
) -> None:
    """Giving up the leadership fails then; that failure must not take the place of the cancellation."""
    configuration = Settings(DATABASE_URL=fresh_database.url, TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
    relay = asyncio.create_task(Relay(await connect(configuration, lazy=True), database, configuration).run())
    with psycopg.connect(fresh_database.admin_url, autocommit=True) as admin:

        async def leader() -> int | None:
            row = admin.execute(_LEADER).fetchone()
            return None if row is None else int(row[0])

        process = await eventually(leader, until=lambda found: found is not None)
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))
    relay.cancel()
    _, running = await asyncio.wait({relay}, timeout=10)
    relay.cancel()
    assert not running
    with pytest.raises(asyncio.CancelledError):
        await relay
