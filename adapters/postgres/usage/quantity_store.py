"""THE quantity statement: what many metrics of many subscriptions have in their windows, from rollups and edges.

Closes, previews, current usage, the relay's totals, limits and alerts all read it. Whole UTC days come from the rollups
and the partial days at both ends of a window from the events. An aggregation that rollups cannot put together has no
quantity here: `usage_store` counts its different values, or folds its events.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.arrays import moments, uuids
from adapters.postgres.database import Asked, run_together
from adapters.postgres.metric_aggregation import COLUMNS, KEEPS_VALUES, configured
from adapters.postgres.usage.usage_window import window_of
from billing.aggregations import AGGREGATIONS, Aggregation, round_quantity
from billing.numbers import RoundingFunction
from billing.period import Period
from billing.usage import GroupUsage, Usage

# `event_count` belongs to the quantity, `events` to the window: a metric that carries over (recurring) adds up all that
# there was before the window's end, and counts the events within it. The day of the head is whole in its rollups then.
_ROLLUPS: Final = """
    SELECT coalesce(sum(r.value_sum), 0) AS value_sum, coalesce(sum(r.event_count), 0) AS event_count,
           coalesce(sum(r.event_count) FILTER (WHERE r.day >= q.first_day), 0) AS events,
           max(r.value_max) AS value_max, min(r.value_min) AS value_min
    FROM usage_rollups r
    WHERE r.subscription_id = q.subscription_id AND r.metric_id = q.metric_id
      AND r.day >= CASE WHEN m.recurring THEN '-infinity' ELSE q.first_day END AND r.day < q.end_day
"""
_EDGE: Final = """
    UNION ALL
    SELECT coalesce(sum(e.value) FILTER (WHERE {own}), 0), count(e.occurred_at) FILTER (WHERE {own}),
           count(*) FILTER (WHERE e.occurred_at >= q.starts), max(e.value) FILTER (WHERE {own}),
           min(e.value) FILTER (WHERE {own})
    FROM events e
    WHERE e.status = 'counted' AND e.subscription_id = q.subscription_id AND e.metric_id = q.metric_id
      AND e.occurred_at >= {start} AND e.occurred_at < {end}
"""
_HEAD: Final = _EDGE.format(own="NOT m.recurring", start="q.starts", end="q.head_end")
_TAIL: Final = _EDGE.format(own="m.recurring OR e.occurred_at >= q.starts", start="q.tail_start", end="q.ends")
_QUANTITY: Final = " ".join(
    f"WHEN '{kind}' THEN {model.from_rollup}" for kind, model in AGGREGATIONS.items() if model.from_rollup
)
_MEASURE: Final = f"m.name, m.unit, m.rounding_function, m.rounding_precision, {KEEPS_VALUES}, {COLUMNS}"
_MEASURES: Final = f"SELECT m.id, {_MEASURE} FROM metrics m WHERE m.id = ANY(%(metrics)s::uuid[])"  # noqa: S608
_TOTALS: Final = f"""
    SELECT q.place, t.quantity, t.events, {_MEASURE}{{more}}
    FROM unnest(%(subscriptions)s::uuid[], %(metrics)s::uuid[], %(starts)s::timestamptz[], %(first_days)s::date[],
                %(end_days)s::date[], %(head_ends)s::timestamptz[], %(tail_starts)s::timestamptz[],
                %(ends)s::timestamptz[]) WITH ORDINALITY
         AS q (subscription_id, metric_id, starts, first_day, end_day, head_end, tail_start, ends, place)
    JOIN metrics m ON m.id = q.metric_id
    CROSS JOIN LATERAL (
        SELECT CASE m.aggregation {_QUANTITY} END AS quantity, sum(p.events) AS events
        FROM ({_ROLLUPS} {{edges}}) p
    ) t
"""  # noqa: S608 - put together from constants


class UsageWindow(NamedTuple):
    """A metric of one subscription in one period ``[start, end)``.

    Levels count until `levels_end`, when events of a last instant belong to the period, too; None: until its end.
    """

    subscription_id: UUID
    metric_id: UUID
    period: Period
    levels_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """How a metric's events become a quantity, and what it is called now.

    `keeps_values` says that its different values can be counted without their events.
    """

    name: str
    unit: str | None
    rounding: RoundingFunction | None
    precision: int
    keeps_values: bool
    folding: Aggregation

    def usage(
        self,
        quantity: Decimal,
        events: int,
        *,
        priced: Decimal = Decimal(0),
        charged: tuple[Decimal, int] = (Decimal(0), 0),
        groups: Sequence[GroupUsage] = (),
    ) -> Usage:
        """Round a quantity as the metric says."""
        return Usage(
            quantity=round_quantity(Decimal(quantity), self.rounding, self.precision),
            events=events,
            priced=priced,
            charged_value=charged[0],
            charged_events=charged[1],
            groups=tuple(groups),
            metric_name=self.name,
            unit=self.unit,
        )


@dataclass(frozen=True, slots=True)
class Total:
    """What a window has: its number of events, and its unrounded quantity where rollups and edges give it."""

    measure: Measure
    quantity: Decimal | None
    events: int


async def totals_of(connection: AsyncConnection, windows: Sequence[UsageWindow]) -> dict[UsageWindow, Total]:
    """Return what windows have, in one statement; exact to the last committed event. Unknown metrics are absent."""
    if not windows:
        return {}
    (rows,) = await run_together(connection, totals_statement(windows))
    return read_totals(windows, rows)


def totals_statement(windows: Sequence[UsageWindow], more: str = "") -> Asked:
    """Return the statement for some windows, to be sent together with others; `read_totals` reads its rows.

    `more` is an expression over `q` (subscription_id, metric_id) that becomes each row's last column.
    """
    cut = [window_of(each.period.start, each.period.end) for each in windows]
    # A window of whole days costs no look at the events, nor at their partitions.
    has_head = any(window.head_end is not None for window in cut)
    has_tail = any(window.tail_start is not None for window in cut)
    return _statement(has_head, has_tail, more), {
        "subscriptions": uuids(each.subscription_id for each in windows),
        "metrics": uuids(each.metric_id for each in windows),
        "starts": moments(window.start for window in cut),
        "first_days": moments(window.first_day for window in cut),
        "end_days": moments(window.end_day for window in cut),
        "head_ends": moments(window.head_end for window in cut),
        "tail_starts": moments(window.tail_start for window in cut),
        "ends": moments(window.end for window in cut),
    }


@lru_cache
def _statement(has_head: bool, has_tail: bool, more: str) -> str:
    edges = (_HEAD if has_head else "") + (_TAIL if has_tail else "")
    return _TOTALS.format(edges=edges, more=f", {more}" if more else "")


def read_totals(windows: Sequence[UsageWindow], rows: Sequence[tuple[Any, ...]]) -> dict[UsageWindow, Total]:
    """Return the totals that the rows of `totals_statement` hold; a column after its own is left alone."""
    return {windows[row[0] - 1]: Total(_measure(*row[3:14]), row[1], int(row[2])) for row in rows}


async def measures_of(connection: AsyncConnection, metric_ids: Iterable[UUID]) -> dict[UUID, Measure]:
    """Return how metrics measure, keyed by metric."""
    (rows,) = await run_together(connection, (_MEASURES, {"metrics": uuids(metric_ids)}))
    return {row[0]: _measure(*row[1:]) for row in rows}


@lru_cache(maxsize=4096)
def _measure(
    name: str, unit: str | None, rounding: RoundingFunction | None, precision: int | None, keeps: bool, *columns: Any
) -> Measure:
    return Measure(name, unit, rounding, precision or 0, keeps, configured(*columns))
