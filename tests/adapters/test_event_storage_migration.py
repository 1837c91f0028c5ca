"""Events from before the months keep their keys, their content and their place when the schema moves on."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
from alembic import command

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.events.ingest_events import IngestEvent, Submission
from adapters.postgres.events.ingest_store import ingest
from adapters.postgres.migrate import _config, create_database, upgrade
from devstack.embedded_postgres import EmbeddedPostgres
from models.identifiers import new_id

TIMES = (
    datetime(2019, 5, 1, tzinfo=UTC),
    datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2026, 4, 1, tzinfo=UTC),
)

_OLD = """
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, value, properties, occurred_at,
                        source, status, skip_reason)
    VALUES (%s, %s, %s, 'api_calls', 'acme', 2.5, '{"region": "eu"}', %s, 'events', 'skipped', 'unknown_metric')
"""


def event(key: str, at: datetime, value: str) -> IngestEvent:
    return IngestEvent("api_calls", "acme", None, None, key, value, {"region": "eu"}, at)


async def test_events_from_before_the_months_are_moved(postgres: EmbeddedPostgres) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    create_database(postgres.url(), name)
    command.upgrade(_config(postgres.url(name)), "0002")
    scope = ProjectScope(new_id(), new_id())
    with psycopg.connect(postgres.url(name)) as connection:
        for place, at in enumerate(TIMES):
            connection.execute(_OLD, (scope.project_id, f"k{place}", new_id(), at))
    command.upgrade(_config(postgres.url(name)), "0003")
    command.downgrade(_config(postgres.url(name)), "0002")
    upgrade(postgres.url(name))
    with psycopg.connect(postgres.url(name)) as connection:
        rows = connection.execute(
            "SELECT tableoid::regclass::text, occurred_at, value FROM events ORDER BY 2"
        ).fetchall()
    months = ("event_months.y2019", "event_months.y2026m03", "event_months.y2026m04")
    assert rows == [(month, at, Decimal("2.5")) for month, at in zip(months, TIMES, strict=True)]
    database = Database(postgres.url(name, user="durabill"), pool_size=2)
    try:
        sent = [event("k0", TIMES[0], "2.50"), event("k1", TIMES[1], "3"), event("k2", TIMES[1], "2.5")]
        (outcome,) = await ingest(database, scope, [Submission(sent, "events")])
    finally:
        await database.close()
    assert (outcome.accepted, outcome.conflicts) == (0, [1, 2])
