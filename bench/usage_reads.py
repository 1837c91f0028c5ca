"""Current usage of a subscription with millions of events in its period, through the public API.

Run alone it takes 5 million, as one of all benchmarks 2 million, to be done sooner.

The events are made inside Postgres, and rolled up as ingestion does it. Additive aggregations read the rollups of whole
days, those of a charge with filters the parts of these days, unique_count what is kept of their different values. The
periods of two more subscriptions begin in the middle of
a day, so that a part of its first day has to be read from the events too: for unique_count at the rate of 5 million in
a month, and with so many values that some came on that day alone.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from adapters.postgres.events.event_scope import filter_bucket, filters_of
from adapters.postgres.events.unique_value_store import KEY_SQL
from bench.http_load import Load, send
from bench.ingestion import DATABASE, Shop, shop
from bench.report import Row
from billing.aggregations.unique_count import identity_sql

EVENTS = 2_000_000
EVENTS_ALONE = 5_000_000
QUICK_EVENTS = 500_000
READS = 200
USERS = 20_000

_MAKE = """
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, value, properties, occurred_at,
                        source, metric_id, customer_id, subscription_id, status)
    SELECT m.project_id, 'made_' || n, gen_random_uuid(), m.key, 'reader', n %% 100,
           CASE WHEN m.aggregation = 'unique_count' THEN jsonb_build_object('user', 'u' || n %% %(users)s)
                WHEN m.key = 'placed_calls' THEN jsonb_build_object(
                    'region', (ARRAY['eu', 'us', 'uk', 'jp'])[1 + n %% 4],
                    'tier', (ARRAY['gold', 'iron', 'clay'])[1 + n %% 3])
           END,
           %(start)s::timestamptz + random() * (%(end)s::timestamptz - %(start)s::timestamptz),
           'events', m.id, s.customer_id, s.id, 'counted'
    FROM generate_series(1, %(events)s::bigint) AS n, metrics m, subscriptions s
    WHERE m.key = %(metric)s AND s.external_id = %(subscription)s
"""

#: As the migration has it; made after the rows, which is faster. No read looks for an event's id.
_INDEX = "CREATE INDEX ix_events_usage ON events (subscription_id, metric_id, occurred_at) WHERE status = 'counted'"

_ROLL_UP = """
    WITH filters AS MATERIALIZED ({filters})
    INSERT INTO usage_rollups (subscription_id, metric_id, day, project_id, filters_version, bucket, value_sum,
                               event_count, value_max, value_min)
    SELECT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date, e.project_id, m.filters_version,
           {bucket}, sum(value), count(*), max(value), min(value)
    FROM events e JOIN metrics m ON m.id = e.metric_id
    WHERE idempotency_key LIKE 'made%' AND {which} GROUP BY 1, 2, 3, 4, 5, 6
"""
_OF_PLACED = _ROLL_UP.format(
    filters=filters_of("m.key = 'placed_calls'"), bucket=filter_bucket("e"), which="m.key = 'placed_calls'"
)
_OF_OTHERS = _ROLL_UP.format(filters="SELECT 1", bucket="''", which="m.key <> 'placed_calls'")

_KEEP_VALUES = f"""
    INSERT INTO usage_uniques (subscription_id, metric_id, day, project_id, value_key)
    SELECT subscription_id, metric_id, day, project_id, {KEY_SQL} FROM (
        SELECT DISTINCT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, project_id,
               {identity_sql("'user'")} AS identity
        FROM events WHERE metric_ref = 'users'
    ) told
"""
_CHAIN_VALUES = """
    INSERT INTO usage_unique_days (subscription_id, metric_id, day, previous_day, project_id, value_count)
    SELECT subscription_id, metric_id, day, previous_day, project_id, count(*) FROM (
        SELECT subscription_id, metric_id, day, project_id, coalesce(lag(day) OVER (
            PARTITION BY subscription_id, metric_id, value_key ORDER BY day), '-infinity') AS previous_day
        FROM usage_uniques
    ) chained GROUP BY 1, 2, 3, 4, 5
"""

#: How calls are priced by where they were made, and by what kind of user
_PARTS = [
    {"match": {"region": ["eu", "uk"]}, "unit_price": 0.002},
    {"match": {"region": "eu", "tier": "gold"}, "unit_price": 0.003},
]

#: What comes after the rows, each part beside the others.
_FINISH = (
    [_INDEX, "ANALYZE events"],
    [_OF_PLACED],
    [_OF_OTHERS],
    [_KEEP_VALUES, _CHAIN_VALUES, "ANALYZE usage_uniques"],
)


async def run(quick: bool = False, events: int = EVENTS, users: int = USERS) -> list[Row]:
    """Measure the 99th percentile of reads, in milliseconds; `users` is the number of different values."""
    events = QUICK_EVENTS if quick else events
    async with shop() as running:
        now = datetime.now(UTC)
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        # The periods of two began in the middle of the day before yesterday.
        noon = (now - timedelta(days=2)).replace(hour=12, minute=30, second=0, microsecond=0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as http:
            http.headers["Authorization"] = f"Bearer {running.key}"
            metric = {"key": "users", "name": "Users", "aggregation": "unique_count", "field_name": "user"}
            await _made(http, "/v1/metrics", metric)
            await _made(http, "/v1/metrics", {"key": "placed_calls", "name": "Calls", "aggregation": "sum"})
            for key, values in (("region", ["eu", "us", "uk"]), ("tier", ["gold", "iron"])):
                await _made(http, "/v1/metrics/placed_calls/filters", {"key": key, "values": values})
            await _sell(http, "aligned", "api_calls", "calendar", month)
            await _sell(http, "filtered", "placed_calls", "calendar", month)
            await _sell(http, "unaligned", "api_calls", "anniversary", noon)
            await _sell(http, "unique", "users", "calendar", month)
            await _sell(http, "odd_unique", "users", "anniversary", noon)
        # As many events in a day as 5 million have in a month
        odd = events // 12
        made = (
            ("aligned", "api_calls", month, events, users),
            ("filtered", "placed_calls", month, events, users),
            ("unique", "users", month, events, users),
            ("unaligned", "api_calls", noon, events // 30, users),
            # Some before the period, so that its first day is not a whole one
            ("odd_unique", "users", noon.replace(hour=0, minute=0), odd, odd // 5),
        )
        _prepare(running, [min(month, noon), now])
        await asyncio.gather(*(asyncio.to_thread(_make, running, *each, now) for each in made))
        await asyncio.gather(*(asyncio.to_thread(_execute, running, each) for each in _FINISH))
        aligned = await _read(running, "aligned", READS)
        filtered = await _read(running, "filtered", READS)
        unaligned = await _read(running, "unaligned", READS)
        unique = await _read(running, "unique", READS)
        odd_unique = await _read(running, "odd_unique", READS // 10)
    shown = f"{events / 1e6:g} million events in the period"
    odd_shown = f"{odd:,} events in 2 days, period from 12:30"
    half = f"current usage (sum), {events // 30:,} events, period from 12:30, p50"
    return [
        *_rows(f"current usage (sum), {shown}", aligned, aim="< 20 ms"),
        *_rows(f"current usage (sum, a charge with 2 filters), {shown}", filtered, aim="< 20 ms"),
        Row(half, "ms", (unaligned.percentile(50) * 1000,)),
        *_rows(f"current usage (unique_count of {users:,}), {shown}", unique, aim="< 300 ms"),
        *_rows(f"current usage (unique_count of {odd // 5:,}), {odd_shown}", odd_unique, aim="< 300 ms"),
    ]


def _rows(name: str, load: Load, *, aim: str) -> tuple[Row, Row]:
    """Return the 99th percentile of reads beside its aim, and their median."""
    return (
        Row(f"{name}, p99", "ms", (load.percentile(99) * 1000,), aim=aim),
        Row("the same, p50", "ms", (load.percentile(50) * 1000,)),
    )


async def _made(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    answer = await http.post(path, json=body)
    assert answer.status_code == 201, answer.text


async def _sell(http: httpx.AsyncClient, name: str, metric: str, alignment: str, start: datetime) -> None:
    model: dict[str, Any] = {"pricing_model": "tiered", "tiers": [{"up_to": None, "unit_price": 0.001}]}
    if metric == "placed_calls":
        model = {"pricing_model": "per_unit", "unit_price": 0.001, "filters": _PARTS}
    charges = [{"metric_key": metric, **model}]
    plan = {"id": f"plan_{name}", "name": name, "currency": "usd", "billing_period": "monthly", "charges": charges}
    await _made(http, "/v1/plans", plan)
    await _made(http, "/v1/customers", {"id": f"cust_{name}", "name": name})
    subscription = {
        "customer_id": f"cust_{name}",
        "plan_id": f"plan_{name}",
        "external_id": name,
        "start_date": start.isoformat(),
        "billing_time": alignment,
    }
    await _made(http, "/v1/subscriptions", subscription)


def _execute(running: Shop, statements: Sequence[str]) -> None:
    with psycopg.connect(running.postgres.url(DATABASE), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _prepare(running: Shop, instants: Sequence[datetime]) -> None:
    """Make the months, and spare them the log and the indexes while they are filled."""
    with psycopg.connect(running.postgres.url(DATABASE), autocommit=True) as connection:
        connection.execute("DROP INDEX ix_events_id, ix_events_usage")
        for instant in instants:
            connection.execute("SELECT ensure_event_month(%s)", (instant,))
        months = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'events'::regclass"
        )
        for (month,) in months.fetchall():
            connection.execute(f"ALTER TABLE {month} SET UNLOGGED".encode())


def _make(
    running: Shop, subscription: str, metric: str, start: datetime, events: int, users: int, end: datetime
) -> None:
    names = {"subscription": subscription, "metric": metric, "start": start, "end": end, "users": users}
    with psycopg.connect(running.postgres.url(DATABASE), autocommit=True) as connection:
        made = connection.execute(_MAKE, {**names, "events": events})
    assert made.rowcount == events, "the subscription and the metric are there"


async def _read(running: Shop, subscription: str, count: int) -> Load:
    """Read one after the other."""
    head = f"GET /v1/subscriptions/{subscription}/current_usage HTTP/1.1\r\nHost: bench\r\n"
    request = f"{head}Authorization: Bearer {running.key}\r\n\r\n".encode()
    await send(running.port, [[request]], expect=200)
    return await send(running.port, [[request] * count], expect=200)


if __name__ == "__main__":
    from bench.report import show

    many = 100_000 if "--many-users" in sys.argv else USERS
    show(asyncio.run(run(quick="--quick" in sys.argv, events=EVENTS_ALONE, users=many)))
