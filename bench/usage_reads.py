"""Current usage of a subscription with 5 million events in its period, through the public API.

The events are made inside Postgres and rolled up as ingestion does it. Additive aggregations read the rollups of whole
days; unique_count reads the events, and is measured with fewer. The periods of a third subscription begin in the
middle of a day, so that a part of its first day has to be read from the events too.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from bench.http_load import Load, send
from bench.ingestion import DATABASE, Shop, shop
from bench.report import Row

EVENTS = 5_000_000
QUICK_EVENTS = 500_000
UNIQUE_EVENTS = 500_000
READS = 200
UNIQUE_READS = 5
USERS = 20_000

_MAKE = """
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, value, properties, occurred_at,
                        source, metric_id, customer_id, subscription_id, status)
    SELECT m.project_id, 'made_' || n, gen_random_uuid(), m.key, 'reader', n %% 100,
           CASE WHEN m.aggregation = 'unique_count' THEN jsonb_build_object('user', 'u' || n %% %(users)s) END,
           %(start)s::timestamptz + random() * (%(end)s::timestamptz - %(start)s::timestamptz),
           'events', m.id, s.customer_id, s.id, 'counted'
    FROM generate_series(1, %(events)s::bigint) AS n, metrics m, subscriptions s
    WHERE m.key = %(metric)s AND s.external_id = %(subscription)s
"""

#: As the migration has them; made after the rows, which is faster.
_INDEXES = (
    "CREATE INDEX ix_events_id ON events (project_id, id)",
    "CREATE INDEX ix_events_usage ON events (subscription_id, metric_id, occurred_at) WHERE status = 'counted'",
)

_ROLL_UP = """
    INSERT INTO usage_rollups
        (subscription_id, metric_id, day, project_id, value_sum, event_count, value_max, value_min)
    SELECT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date, project_id, sum(value), count(*),
           max(value), min(value)
    FROM events WHERE idempotency_key LIKE 'made%' GROUP BY 1, 2, 3, 4
"""


async def run(quick: bool = False) -> list[Row]:
    """Measure the 99th percentile of reads, in milliseconds."""
    events = QUICK_EVENTS if quick else EVENTS
    async with shop() as running:
        now = datetime.now(UTC)
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        # The period of the second began in the middle of the day before yesterday.
        noon = (now - timedelta(days=2)).replace(hour=12, minute=30, second=0, microsecond=0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as http:
            http.headers["Authorization"] = f"Bearer {running.key}"
            await _sell(http, "aligned", "api_calls", "calendar", month)
            await _sell(http, "unaligned", "api_calls", "anniversary", noon)
            await _sell(http, "unique", "users", "calendar", month)
        with psycopg.connect(running.postgres.url(DATABASE), autocommit=True) as connection:
            connection.execute("DROP INDEX ix_events_id, ix_events_usage")
            _make(connection, "aligned", "api_calls", month, now, events)
            _make(connection, "unaligned", "api_calls", noon, now, events // 30)
            _make(connection, "unique", "users", month, now, UNIQUE_EVENTS)
            for index in _INDEXES:
                connection.execute(index)
            connection.execute(_ROLL_UP)
            connection.execute("VACUUM (ANALYZE) events")
        aligned = await _read(running, "aligned", READS)
        unaligned = await _read(running, "unaligned", READS)
        unique = await _read(running, "unique", UNIQUE_READS)
    shown = f"{events / 1e6:g} million events in the period"
    odd = f"{events // 30:,} events, period from 12:30"
    return [
        Row(f"current usage (sum), {shown}, p99", "ms", (aligned.percentile(99) * 1000,), aim="< 20 ms"),
        Row("the same, p50", "ms", (aligned.percentile(50) * 1000,)),
        Row(f"current usage (sum), {odd}, p50", "ms", (unaligned.percentile(50) * 1000,)),
        Row(
            f"current usage (unique_count of {USERS:,}), {UNIQUE_EVENTS / 1e6:g} million events, p50",
            "ms",
            (unique.percentile(50) * 1000,),
            aim="< 300 ms with 5 million",
        ),
    ]


async def _sell(http: httpx.AsyncClient, name: str, metric: str, alignment: str, start: datetime) -> None:
    async def made(path: str, body: dict[str, Any]) -> None:
        answer = await http.post(path, json=body)
        assert answer.status_code == 201, answer.text

    if metric == "users":
        await made("/v1/metrics", {"key": metric, "name": metric, "aggregation": "unique_count", "field_name": "user"})
    tiers = [{"up_to": None, "unit_price": 0.001}]
    charges = [{"metric_key": metric, "pricing_model": "tiered", "tiers": tiers}]
    plan = {"id": f"plan_{name}", "name": name, "currency": "usd", "billing_period": "monthly", "charges": charges}
    await made("/v1/plans", plan)
    await made("/v1/customers", {"id": f"cust_{name}", "name": name})
    subscription = {
        "customer_id": f"cust_{name}",
        "plan_id": f"plan_{name}",
        "external_id": name,
        "start_date": start.isoformat(),
        "billing_time": alignment,
    }
    await made("/v1/subscriptions", subscription)


def _make(
    connection: "psycopg.Connection[Any]", subscription: str, metric: str, start: datetime, end: datetime, events: int
) -> None:
    connection.execute("SELECT ensure_event_month(%s), ensure_event_month(%s)", (start, end))
    names = {"subscription": subscription, "metric": metric, "start": start, "end": end}
    made = connection.execute(_MAKE, {**names, "events": events, "users": USERS})
    assert made.rowcount == events, "the subscription and the metric are there"


async def _read(running: Shop, subscription: str, count: int) -> Load:
    """Read one after the other."""
    head = f"GET /v1/subscriptions/{subscription}/current_usage HTTP/1.1\r\nHost: bench\r\n"
    request = f"{head}Authorization: Bearer {running.key}\r\n\r\n".encode()
    await send(running.port, [[request]], expect=200)
    return await send(running.port, [[request] * count], expect=200)


if __name__ == "__main__":
    from bench.report import show

    show(asyncio.run(run(quick="--quick" in sys.argv)))
