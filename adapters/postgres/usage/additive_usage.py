"""The usage of many subscriptions at once, of metrics that add up: one statement for all caps of a group.

It counts what `usage_store.metric_usages` counts for a sum or a count, which a test holds it to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.arrays import moments, uuids
from adapters.postgres.database import run_together
from adapters.postgres.metric_aggregation import rolled_sql
from adapters.postgres.usage.usage_store import metric_usages
from adapters.postgres.usage.usage_window import window_of
from billing.aggregations import round_quantity
from billing.period import Period
from billing.usage import Usage

_EDGE: Final = """
    SELECT coalesce(sum(e.value), 0), count(*) FROM events e
    WHERE e.status = 'counted' AND e.subscription_id = q.subscription_id AND e.metric_id = q.metric_id
      AND e.occurred_at >= q.{0}_start AND e.occurred_at < q.{0}_end
"""
TOTALS: Final = f"""
    SELECT q.subscription_id, q.metric_id, m.aggregation, m.rounding_function, m.rounding_precision,
           CASE WHEN NOT m.recurring THEN t.quantity END AS quantity, t.event_count
    FROM unnest(%(subscriptions)s::uuid[], %(metrics)s::uuid[], %(first_days)s::date[], %(end_days)s::date[],
                %(head_starts)s::timestamptz[], %(head_ends)s::timestamptz[],
                %(tail_starts)s::timestamptz[], %(tail_ends)s::timestamptz[])
         AS q (subscription_id, metric_id, first_day, end_day, head_start, head_end, tail_start, tail_end)
    JOIN metrics m ON m.id = q.metric_id
    CROSS JOIN LATERAL (
        SELECT {rolled_sql("p", lambda model: model.is_additive)} AS quantity, sum(p.event_count) AS event_count FROM (
            SELECT coalesce(sum(r.value_sum), 0) AS value_sum, coalesce(sum(r.event_count), 0) AS event_count
            FROM usage_rollups r
            WHERE r.subscription_id = q.subscription_id AND r.metric_id = q.metric_id
              AND r.day >= q.first_day AND r.day < q.end_day
            UNION ALL {_EDGE.format("head")} UNION ALL {_EDGE.format("tail")}
        ) p
    ) t
"""  # noqa: S608 - put together from constants
"""Takes what ``parameters`` gives; ``told`` reads its rows."""


@dataclass(frozen=True)
class UsageWindow:
    """A metric of one subscription in one period ``[start, end)``."""

    subscription_id: UUID
    metric_id: UUID
    period: Period


async def usages_of_many(connection: AsyncConnection, wanted: Sequence[UsageWindow]) -> dict[tuple[UUID, UUID], Usage]:
    """Return each one's usage, keyed by (subscription, metric), rounded as the metric says.

    What does not add up is asked for one by one, as everywhere else.
    """
    if not wanted:
        return {}
    (rows,) = await run_together(connection, (TOTALS, parameters(wanted)))
    return await read_totals(connection, wanted, rows)


def parameters(wanted: Sequence[UsageWindow]) -> dict[str, Any]:
    """Write what is wanted as the parameters of ``TOTALS``."""
    windows = [window_of(each.period.start, each.period.end) for each in wanted]
    edges = [(*window.edges, None, None)[:2] for window in windows]
    heads, tails = [head or (None, None) for head, _ in edges], [tail or (None, None) for _, tail in edges]
    return {
        "subscriptions": uuids(each.subscription_id for each in wanted),
        "metrics": uuids(each.metric_id for each in wanted),
        "first_days": moments(window.first_day for window in windows),
        "end_days": moments(window.end_day for window in windows),
        "head_starts": moments(start for start, _ in heads),
        "head_ends": moments(end for _, end in heads),
        "tail_starts": moments(start for start, _ in tails),
        "tail_ends": moments(end for _, end in tails),
    }


async def read_totals(
    connection: AsyncConnection, wanted: Sequence[UsageWindow], rows: Sequence[tuple[Any, ...]]
) -> dict[tuple[UUID, UUID], Usage]:
    """Read the rows that ``TOTALS`` gave, and ask for what does not add up; columns after its own are left alone."""
    found: dict[tuple[UUID, UUID], Usage] = {}
    for subscription, metric, _, function, precision, quantity, events, *_ in rows:
        if quantity is not None:
            rounded = round_quantity(Decimal(quantity), function, precision or 0)
            found[subscription, metric] = Usage(quantity=rounded, events=int(events))
    for each in wanted:
        if (each.subscription_id, each.metric_id) not in found:
            other = await metric_usages(connection, each.subscription_id, [each.metric_id], each.period)
            found |= {(each.subscription_id, metric): usage for metric, usage in other.items()}
    return found
