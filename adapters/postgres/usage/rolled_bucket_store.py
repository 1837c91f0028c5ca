"""The quantities of a charge's combinations from the rollups, which tell events apart by the filters of their metric.

What adds up (sum, count, max, min) needs no events of whole UTC days: a combination takes whole filter buckets. The
events of partial days at the edges of a period are read, and those of days from before the metric's filters changed
last; all days, if the charge prices by something that the filters do not list (any more). It is a statement beside
`quantity_store`'s, since what a part belongs to is known from its filter bucket alone, and which days may be told apart
from the versions of all of them: for totals that would be read and sorted in vain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.event_scope import bucket_expression, filters_of
from adapters.postgres.usage.usage_window import BEGINNING, window_of
from billing.aggregations import Aggregation
from billing.period import Period
from billing.scope import Combination

_EVENTS: Final = """
    SELECT properties, coalesce(value, 0), 1, value, value FROM events
    WHERE status = 'counted' AND subscription_id = :subscription AND metric_id = :metric
      AND occurred_at >= {0} AND occurred_at < {1}
"""
_UNKNOWN_DAYS: Final = _EVENTS.format(
    "(SELECT first_day::timestamp AT TIME ZONE 'UTC' FROM stale)",
    "(SELECT end_day::timestamp AT TIME ZONE 'UTC' FROM stale)",
)

_FILTERS: Final = filters_of("m.id = :metric")

# One statement, so that filters, rollups and events are of the same instant. Days are stale from the first to the last
# with a row of another version.
_QUANTITIES: Final = """
    WITH filters AS MATERIALIZED ({filters}), own AS MATERIALIZED (
        SELECT filters_version, NOT EXISTS (
            SELECT FROM unnest(CAST(:keys AS text[]), CAST(:texts AS text[])) AS priced (key, text)
            WHERE NOT EXISTS (SELECT FROM filters f WHERE f.key = priced.key AND f.allowed ? priced.text)
        ) AS tells_apart
        FROM metrics WHERE id = :metric
    ), rolled AS MATERIALIZED (
        SELECT r.* FROM usage_rollups r
        WHERE subscription_id = :subscription AND metric_id = :metric AND day >= :first_day AND day < :end_day
    ), stale AS MATERIALIZED (
        SELECT CASE WHEN own.tells_apart THEN min(day) ELSE :first_day END AS first_day,
               CASE WHEN own.tells_apart THEN max(day) + 1 ELSE :end_day END AS end_day
        FROM own LEFT JOIN rolled ON rolled.filters_version <> own.filters_version
        GROUP BY own.tells_apart
    ), parts AS (
        SELECT CAST(coalesce(nullif(bucket, ''), '{{}}') AS jsonb) AS properties, sum(value_sum) AS value_sum,
               sum(event_count) AS event_count, max(value_max) AS value_max, min(value_min) AS value_min
        FROM rolled, stale
        WHERE stale.first_day IS NULL OR day < stale.first_day OR day >= stale.end_day
        GROUP BY bucket
        UNION ALL {unknown_days} {edges}
    )
    SELECT {bucket} AS bucket, {quantity} AS quantity, sum(event_count) AS events FROM parts GROUP BY 1
"""


@dataclass(frozen=True)
class Buckets:
    """What is to be counted: the events of one metric of a subscription, each in one of some combinations."""

    subscription_id: UUID
    metric_id: UUID
    combinations: Sequence[Combination]
    folding: Aggregation


async def quantities(connection: AsyncConnection, wanted: Buckets, period: Period) -> dict[int, tuple[Decimal, int]]:
    """Return quantity and number of events in ``[start, end)`` of each combination that has any, by its index.

    `event_scope.DEFAULT_BUCKET` is for what no combination takes. The metric's aggregation must be additive; one that
    carries over counts the events of the period, and folds all there were before its end. Exact to the last committed
    event.
    """
    found = await _quantities(connection, wanted, period)
    if not wanted.folding.carries:
        return found
    since_ever = await _quantities(connection, wanted, Period(start=BEGINNING, end=period.end))
    return {bucket: (quantity, found.get(bucket, (quantity, 0))[1]) for bucket, (quantity, _) in since_ever.items()}


async def _quantities(connection: AsyncConnection, wanted: Buckets, period: Period) -> dict[int, tuple[Decimal, int]]:
    window = window_of(period.start, period.end)
    bucket, binds = bucket_expression(wanted.combinations)
    priced = [(match.key, value) for each in wanted.combinations for match in each.matches for value in match.values]
    parameters: dict[str, Any] = {
        "subscription": wanted.subscription_id,
        "metric": wanted.metric_id,
        "first_day": window.first_day,
        "end_day": window.end_day,
        "keys": [key for key, _ in priced],
        "texts": [value for _, value in priced],
    }
    edges = []
    for name, (start, end) in zip(("head", "tail"), window.edges, strict=False):
        edges.append(f"UNION ALL {_EVENTS.format(f':{name}_start', f':{name}_end')}")
        parameters |= {f"{name}_start": start, f"{name}_end": end}
    statement = _QUANTITIES.format(
        filters=_FILTERS,
        bucket=bucket,
        quantity=wanted.folding.from_rollup,
        unknown_days=_UNKNOWN_DAYS,
        edges=" ".join(edges),
    )
    rows = await connection.execute(text(statement), parameters | binds)
    return {row.bucket: (Decimal(row.quantity), int(row.events)) for row in rows}
