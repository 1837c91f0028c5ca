"""Lists of events by customer stay fast: Postgres answers them from an index, however many there are."""

import json
from typing import Any

import psycopg
from sqlalchemy import event as listening
from sqlalchemy.engine import Engine

from adapters.postgres.database import Database
from adapters.postgres.events import event_store
from adapters.postgres.events.event_store import EventFilter
from adapters.postgres.paging import Page
from tests.conftest import FreshDatabase
from tests.support.billing_world import APRIL, World

_MANY = """
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, value, occurred_at, source,
                        metric_id, customer_id, subscription_id, status)
    SELECT %(project)s, 'many-' || n, gen_random_uuid(), 'api_calls', 'other', 1,
           '2026-04-01'::timestamptz + n * interval '1 second', 'test', %(metric)s,
           md5((n / 100)::text)::uuid, md5((n / 100)::text)::uuid, 'counted'
    FROM generate_series(1, 30000) n
"""


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", []) for node in nodes(part))]


async def test_a_customers_events_come_from_an_index(
    database: Database, tenant: Any, fresh_database: FreshDatabase
) -> None:
    world = await World(database, tenant).build()
    await world.use(3, APRIL)
    with psycopg.connect(fresh_database.admin_url, autocommit=True) as admin:
        admin.execute(_MANY, {"project": tenant.project_id, "metric": world.metric_id})
        admin.execute("ANALYZE events")
    asked: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        asked.append((statement, parameters))

    for wanted in (EventFilter(customer="cust_acme"), EventFilter(subscription=str(world.subscription_id))):
        asked.clear()
        listening.listen(Engine, "before_cursor_execute", note)
        async with database.transaction(tenant) as connection:
            rows, total = await event_store.listed(connection, tenant.project_id, wanted, Page(skip=0, limit=100))
        listening.remove(Engine, "before_cursor_execute", note)
        assert (len(rows), total) == (1, 1)
        for statement, parameters in [one for one in asked if "FROM events" in one[0]]:
            with psycopg.connect(fresh_database.admin_url) as admin:
                (plan,) = admin.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters).fetchone() or ({},)
            found = nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])
            read = [node for node in found if str(node.get("Relation Name", "")).startswith("y2026")]
            assert [node for node in read if node["Node Type"] == "Seq Scan"] == [], statement
