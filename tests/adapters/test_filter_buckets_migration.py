"""Rollups of before are known to tell nothing apart; going back puts the parts of a day together."""

from decimal import Decimal
from typing import Any

import psycopg
from alembic import command

from adapters.postgres.events.ingest_events import IngestEvent
from adapters.postgres.migrate import _config
from billing.scope import Combination, PropertyMatch
from tests.conftest import FreshDatabase
from tests.usage.test_filter_buckets import DAY, MONTH, add_filter, parts, used
from tests.usage.test_quantities import Meters, meters

__all__ = ["meters"]


def rollups(url: str, columns: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT {columns} FROM usage_rollups ORDER BY 1, 2".encode()).fetchall()


def told_apart(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT key, told_apart FROM metrics ORDER BY 1").fetchall()


async def test_older_days_of_a_metric_with_filters_are_read_from_their_events(
    meters: Meters, fresh_database: FreshDatabase
) -> None:
    subscription = await meters.subscription("acme")
    await add_filter(meters, "max", "region", ["us", "eu", "us"])
    await add_filter(meters, "max", "empty", [])
    await add_filter(meters, "max", "story", ["é\n" * 900])
    await add_filter(meters, "max", "tier", [Decimal("5.0"), 6, True, None, "x"])
    sent = [("a", "4", "eu"), ("b", "9", "us"), ("c", "1", "mars")]
    await meters.ingest(
        [
            IngestEvent(kind, "acme", key=f"{kind}-{key}", value=value, properties={"region": region}, occurred_at=DAY)
            for kind in ("max", "sum")
            for key, value, region in sent
        ]
    )
    url = fresh_database.admin_url
    assert len(rollups(url, "1, 2")) == 4
    before = told_apart(url)
    await meters.database.close()
    command.downgrade(_config(url), "0008")
    assert rollups(url, "event_count, value_sum, value_max, value_min") == [(3, 14, 9, 1), (3, 14, 9, 1)]
    command.upgrade(_config(url), "0009")
    assert rollups(url, "filters_version, bucket") == [(0, ""), (0, "")]
    assert told_apart(url) == before
    with psycopg.connect(url) as connection:
        versions = connection.execute("SELECT key, filters_version FROM metrics WHERE filters_version <> 0").fetchall()
    assert versions == [("max", 1)]
    eu = Combination(matches=(PropertyMatch(key="region", values=("eu",)),))
    assert await used(meters, subscription, parts(meters.metric_ids["max"], [eu]), MONTH) == [(4, 1), (9, 2)]
