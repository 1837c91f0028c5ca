"""Item 20 and C15: what grows is pruned by an index, and long lists are not counted."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import psycopg
import pytest
from sqlalchemy import text

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal import prune_store
from tests.conftest import FreshDatabase
from tests.subscriptions.catalogue import get
from tests.support.stack import Stack

GROWING = {
    "event_keys": ("event_id",),  # it begins with the instant of arrival
    "audit_log": ("recorded_at", "occurred_at"),
    "notifications": ("created_at",),
    "idempotency_keys": ("created_at", "expires_at"),
    "outbox": ("delivered_at", "created_at"),
}


@pytest.mark.parametrize("table", GROWING)
def test_item_20_what_grows_is_partitioned_by_time_or_has_an_index_for_pruning(
    fresh_database: FreshDatabase, table: str
) -> None:
    with psycopg.connect(fresh_database.admin_url) as connection:
        partitioned = connection.execute("SELECT pg_get_partkeydef(%s::regclass) LIKE 'RANGE%%'", [table]).fetchone()
        leading = connection.execute(
            "SELECT a.attname FROM pg_index i "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = %s::regclass",
            [table],
        ).fetchall()
    by_time = {row[0] for row in leading} & set(GROWING[table])
    assert (partitioned and partitioned[0]) or by_time, f"{table}: indexes lead with {sorted(r[0] for r in leading)}"


@pytest.mark.stack
async def test_item_20_a_list_of_more_than_10000_says_that_its_count_is_an_estimate(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    (live,) = [each for each in await get(client, "/v1/projects") if each["active"]]
    few = await client.get("/v1/customers")
    assert (few.headers["x-total-count"], "x-total-count-estimated" in few.headers) == ("0", False)
    with psycopg.connect(stack.admin_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO customers (id, project_id, code) SELECT gen_random_uuid(), %s, 'n' || n "
            "FROM generate_series(1, 10500) n",
            [live["uuid"]],
        )
        connection.execute("ANALYZE customers")
    many = await client.get("/v1/customers")
    assert many.headers.get("x-total-count-estimated") == "true"
    assert int(many.headers["x-total-count"]) >= 10_000


async def test_item_20_what_is_kept_no_longer_is_deleted(database: Database, tenant: ProjectScope) -> None:
    """Each table keeps what is younger: a key of 34 days, an unread notification, an entry of the log."""
    old, young = datetime.now(UTC) - timedelta(days=36), datetime.now(UTC) - timedelta(days=34)
    async with database.transaction(SYSTEM) as connection:
        for at, key in ((old, "old"), (young, "young")):
            event_id = UUID(int=(int(at.timestamp() * 1000) << 80) + 5)
            names = {"project": tenant.project_id, "event": event_id, "key": key}
            await connection.execute(
                text(
                    "INSERT INTO event_keys (project_id, event_id, occurred_at, idempotency_key) "
                    "VALUES (:project, :event, '2020-01-01', :key)"
                ),
                names,
            )
        assert await prune_store.prune_event_keys(connection, kept=timedelta(days=35)) == 1
        left = (await connection.execute(text("SELECT idempotency_key FROM event_keys"))).scalars().all()
        assert left == ["young"]
        for prune in (prune_store.prune_answers, prune_store.prune_notifications, prune_store.prune_audit):
            assert await prune(connection, kept=timedelta(days=35)) == 0
