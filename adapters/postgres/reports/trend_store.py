"""The daily trend of a subscription: each UTC day's usage, by each metric's own aggregation within the day."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.metric_aggregation import COLUMNS, KEEPS_VALUES, aggregation_of, rolled_sql
from adapters.postgres.usage.unique_count_store import unique_counts_by_day
from billing.aggregations import Aggregation
from billing.numbers import exact

_ROLLED: Final = text(f"""
    SELECT r.metric_id, r.day, sum(r.event_count) AS event_count,
           coalesce({rolled_sql("r", lambda _: True)}, sum(r.value_sum)) AS value
    FROM usage_rollups r JOIN metrics m ON m.id = r.metric_id
    WHERE r.subscription_id = :subscription AND r.day >= :first AND r.day <= :last
      AND (CAST(:metric AS uuid) IS NULL OR r.metric_id = :metric)
    GROUP BY r.metric_id, r.day, m.aggregation
""")  # noqa: S608 - put together from constants
_METRICS: Final = text(f"""
    SELECT m.id, {COLUMNS}, {KEEPS_VALUES} AS keeps_values FROM metrics m WHERE m.id = ANY(:metrics)
""")  # noqa: S608
_FOLDED: Final = """
    SELECT (occurred_at AT TIME ZONE 'UTC')::date AS day, {value} AS value FROM (
        SELECT id, value, properties, occurred_at, received_at FROM events
        WHERE status = 'counted' AND subscription_id = :subscription AND metric_id = :metric
          AND occurred_at >= :from AND occurred_at < :until
    ) day_events GROUP BY 1
"""


@dataclass(frozen=True)
class Days:
    """Whole UTC days ``[first, last]`` of one subscription."""

    subscription_id: UUID
    first: date
    last: date


class DayUsage(NamedTuple):
    """The usage of one UTC day."""

    date: date
    value: Decimal
    events: int


async def trend(connection: AsyncConnection, days: Days, metric_id: UUID | None) -> list[DayUsage]:
    """Return value and number of events of each day, days without events as zeros; several metrics are added up.

    Sums, counts, maxima and minima come from the rollups, unique counts from the values that are kept, the others from
    the day's events. Of a weighted sum, which has no value for a day alone, it is what was added.
    """
    names = {"subscription": days.subscription_id, "first": days.first, "last": days.last, "metric": metric_id}
    rows = (await connection.execute(_ROLLED, names)).all()
    metrics = (await connection.execute(_METRICS, {"metrics": list({row.metric_id for row in rows})})).all()
    folded = {row.id: await _folded(connection, days, row) for row in metrics if _by_events(aggregation_of(row))}
    values: defaultdict[date, Decimal] = defaultdict(Decimal)
    counts: defaultdict[date, int] = defaultdict(int)
    with exact():
        for row in rows:
            own = folded.get(row.metric_id)
            values[row.day] += (row.value or Decimal(0)) if own is None else own.get(row.day, Decimal(0))
            counts[row.day] += int(row.event_count)
    every = (days.first + timedelta(days=number) for number in range((days.last - days.first).days + 1))
    return [DayUsage(day, values[day], counts[day]) for day in every]


def _by_events(folding: Aggregation) -> bool:
    return folding.from_rollup is None and "start" not in folding.sql_parameters


async def _folded(connection: AsyncConnection, days: Days, metric: Row[Any]) -> Mapping[date, Decimal]:
    """Return what the values that are kept say of each day, else run an aggregation's own SQL over its events."""
    if metric.keeps_values:
        return await unique_counts_by_day(connection, days.subscription_id, metric.id, days.first, days.last)
    folding = aggregation_of(metric)
    start = datetime.combine(days.first, datetime.min.time(), tzinfo=UTC)
    end = datetime.combine(days.last, datetime.min.time(), tzinfo=UTC) + timedelta(days=1)
    rows = await connection.execute(
        text(_FOLDED.format(value=folding.from_events)),
        {
            "subscription": days.subscription_id,
            "metric": metric.id,
            "from": start,
            "until": end,
            **{name: folding.bindings[name] for name in folding.sql_parameters},
        },
    )
    return {row.day: Decimal(row.value) for row in rows}
