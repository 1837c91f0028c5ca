"""Ingestion with half a million and two million events stored: the cost of an event must not grow with them.

``python -m bench.growth`` goes to 1, 5 and 10 million, which takes minutes.

The stored events are made inside Postgres, keys and all, over the last four months and all subscriptions, so that every
index has the size that it would have; they are indexed after they were made, which is faster.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from rich.console import Console

from bench.ingestion import BATCH, BATCHES_EACH, CONNECTIONS, CUSTOMERS, DATABASE, batch_round, shop
from bench.report import Row

MILLIONS = (0.5, 2.0)
QUICK_MILLIONS = (0.2, 0.5)
ALONE_MILLIONS = (1.0, 5.0, 10.0)
ROUNDS = 3
STEP = 500_000

_INDEXES = {
    "ALTER TABLE event_keys DROP CONSTRAINT pk_event_keys": (
        "ALTER TABLE event_keys ADD CONSTRAINT pk_event_keys PRIMARY KEY (project_id, idempotency_key)"
    ),
    "DROP INDEX ix_events_id": "CREATE INDEX ix_events_id ON events (project_id, id)",
    "DROP INDEX ix_events_usage": (
        "CREATE INDEX ix_events_usage ON events (subscription_id, metric_id, occurred_at) WHERE status = 'counted'"
    ),
}

_FILL = """
    WITH made AS MATERIALIZED (
        SELECT uuidv7() AS own, n, s.id AS subscription_id, s.customer_id, s.code,
               now() - random() * interval '120 days' AS at, 'fill_' || md5(n::text) AS key
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
        JOIN (SELECT s.id, s.customer_id, c.code, row_number() OVER (ORDER BY s.id) - 1 AS place
              FROM subscriptions s JOIN customers c ON c.id = s.customer_id) s ON s.place = n %% %(customers)s
    ), keyed AS (
        INSERT INTO event_keys (project_id, event_id, occurred_at, fingerprint, idempotency_key)
        SELECT %(project)s, own, at, n, key FROM made
    )
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, value, occurred_at, source,
                        metric_id, customer_id, subscription_id, status)
    SELECT %(project)s, key, own, 'api_calls', code, n %% 100, at, 'events', %(metric)s, customer_id, subscription_id,
           'counted'
    FROM made
"""

_SIZES = """
    SELECT (SELECT count(*) FROM event_keys), pg_relation_size('event_keys'), pg_indexes_size('event_keys'),
           (SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'events'::regclass),
           (SELECT sum(pg_indexes_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'events'::regclass)
"""


async def run(quick: bool = False, *, sizes: Sequence[float] = MILLIONS) -> list[Row]:
    """Measure events/s as the tables grow, and the bytes of an event."""
    rates: dict[float, list[float]] = {}
    async with shop() as running:
        with psycopg.connect(running.postgres.url(DATABASE), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            connection.execute("SET maintenance_work_mem = '256MB'")
            stored = 0
            for millions in QUICK_MILLIONS if quick else sizes:
                _fill(connection, stored, int(millions * 1e6))
                stored = int(millions * 1e6)
                await batch_round(running)
                rates[millions] = [await batch_round(running) for _ in range(ROUNDS)]
            row = connection.execute(_SIZES).fetchone()
    assert row is not None, "aggregates without GROUP BY give one row"
    rows, *sizes_in_bytes = (int(each) for each in row)
    first = min(rates)
    parts = ("keys", "their index", "events", "their two indexes")
    return [
        Row(f"batches with {first:g} million events stored", "events/s", tuple(rates[first])),
        *(
            Row(
                f"batches with {millions:g} million events stored",
                "events/s",
                tuple(found),
                f"the same with {first:g} million",
                tuple(rates[first]),
                "> 80%",
            )
            for millions, found in rates.items()
            if millions != first
        ),
        *(
            Row(f"an event on disk: {part}", "bytes", (size / rows,))
            for part, size in zip(parts, sizes_in_bytes, strict=True)
        ),
    ]


def _fill(connection: "psycopg.Connection[Any]", stored: int, wanted: int) -> None:
    """Make events of all subscriptions up to a number; the partitions first, the indexes last."""
    connection.execute("SELECT ensure_event_month(now() - n * interval '28 days') FROM generate_series(0, 5) AS n")
    found = connection.execute("SELECT project_id, id FROM metrics WHERE key = 'api_calls'").fetchone()
    assert found is not None, "the shop sells api_calls"
    bounds = {"project": found[0], "metric": found[1], "customers": CUSTOMERS}
    for statement in _INDEXES:
        connection.execute(statement)
    for first in range(stored, wanted, STEP):
        connection.execute(_FILL, {**bounds, "first": first, "last": min(first + STEP, wanted) - 1})
    for statement in _INDEXES.values():
        connection.execute(statement)
    connection.execute("VACUUM (ANALYZE) events, event_keys")
    connection.execute("CHECKPOINT")
    Console(stderr=True).print(f"{wanted:,} events are stored; sending {CONNECTIONS * BATCHES_EACH * BATCH:,} a round")


if __name__ == "__main__":
    from bench.report import show

    show(asyncio.run(run(quick="--quick" in sys.argv, sizes=ALONE_MILLIONS)))
