"""The quantity of usage: THE functions that closing, previews, current usage and the relay's totals share.

What is additive (sum, count, max, min) is read from the rollups for the whole UTC days of a period, and from the events
themselves for the partial days at its edges; different values are counted the same way (unique_count_store.py). Every
other aggregation runs its own SQL over the indexed events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.metric_aggregation import COLUMNS, KEEPS_VALUES, configured
from adapters.postgres.usage.unique_count_store import Values, unique_count
from adapters.postgres.usage.usage_bucket_store import Measure, is_split, split_usages
from adapters.postgres.usage.usage_window import BEGINNING, window_of
from billing.aggregations import AGGREGATIONS, Aggregation
from billing.charges import Charge
from billing.period import Period
from billing.usage import NO_USAGE, Usage

_QUANTITY: Final = " ".join(
    ["CASE m.aggregation"]
    + [f"WHEN '{kind}' THEN {model.from_rollup}" for kind, model in AGGREGATIONS.items() if model.from_rollup]
    + ["END"]
)

_FROM_ROLLUPS: Final = """
    SELECT metric_id, value_sum, event_count, value_max, value_min FROM usage_rollups
    WHERE subscription_id = %(subscription)s AND metric_id = ANY(%(metrics)s)
      AND day >= %(first_day)s AND day < %(end_day)s
"""

_FROM_EDGE: Final = """
    SELECT metric_id, coalesce(sum(value), 0) AS value_sum, count(*) AS event_count,
           max(value) AS value_max, min(value) AS value_min
    FROM events
    WHERE status = 'counted' AND subscription_id = %(subscription)s AND metric_id = ANY(%(metrics)s)
      AND occurred_at >= %({0}_start)s AND occurred_at < %({0}_end)s
    GROUP BY metric_id
"""

_TOTALS: Final = """
    SELECT m.id, m.name, m.unit, {columns},
           m.rounding_function, m.rounding_precision, {quantity} AS quantity,
           coalesce(sum(p.event_count), 0) AS event_count, {keeps_values}
    FROM metrics m LEFT JOIN ({parts}) p ON p.metric_id = m.id
    WHERE m.id = ANY(%(metrics)s)
    GROUP BY m.id
"""

_EVENTS_OF_PERIOD: Final = """
    SELECT id, value, properties, occurred_at, received_at FROM events
    WHERE status = 'counted' AND subscription_id = :subscription AND metric_id = :metric
      AND occurred_at >= :from AND occurred_at < :until
"""


async def usages(
    connection: AsyncConnection,
    subscription_id: UUID,
    charges: Sequence[Charge],
    period: Period,
    *,
    through: datetime | None = None,
) -> dict[UUID, Usage]:
    """Return the usage of every metered charge in the period ``[start, end)``, keyed by charge id; 0 without events.

    ``through`` (exclusive) leaves out events that occurred at or after it, for a bill in the middle of a period.
    The event's own time decides (R11); quantities are rounded as their metric says. Exact to the last committed event.
    Raises `TooManyGroups` for a charge whose group_by is absurd.
    """
    metered = [charge for charge in charges if charge.metered]
    end = period.end if through is None else min(period.end, through)
    if not metered or end <= period.start:
        return {charge.id: NO_USAGE for charge in metered}
    counted = Period(start=period.start, end=end)
    metrics = list({charge.metric_id for charge in metered if charge.metric_id is not None})
    totals = await _totals(connection, subscription_id, metrics, counted)
    split = [charge for charge in metered if is_split(charge)]
    counting_all = {charge.id: charge.metric_id for charge in metered if charge.metric_id and not is_split(charge)}
    wanted = {metric: totals[metric] for metric in set(counting_all.values())}
    whole = await _whole(connection, subscription_id, wanted, counted)
    found = {charge: whole[metric] for charge, metric in counting_all.items()}
    measures = {metric: each.measure for metric, each in totals.items()}
    return found | (await split_usages(connection, subscription_id, split, measures, counted) if split else {})


async def metric_usages(
    connection: AsyncConnection, subscription_id: UUID, metric_ids: Sequence[UUID], period: Period
) -> dict[UUID, Usage]:
    """Return the usage of some metrics of one subscription in ``[start, end)``, keyed by metric id."""
    totals = await _totals(connection, subscription_id, metric_ids, period)
    return await _whole(connection, subscription_id, totals, period)


@dataclass(frozen=True)
class _Total:
    """What one metric has in a period: its number of events, and its quantity where rollups can give it.

    `keeps_values` says that its different values can be counted without their events.
    """

    measure: Measure
    quantity: Decimal | None
    events: int
    keeps_values: bool


async def _totals(
    connection: AsyncConnection, subscription_id: UUID, metric_ids: Sequence[UUID], period: Period
) -> dict[UUID, _Total]:
    """Read the metrics and what rollups and edges say about them, in one statement."""
    window = window_of(period.start, period.end)
    parameters: dict[str, Any] = {
        "subscription": subscription_id,
        "metrics": list(metric_ids),
        "first_day": window.first_day,
        "end_day": window.end_day,
    }
    parts = [_FROM_ROLLUPS]
    for name, (start, end) in zip(("head", "tail"), window.edges, strict=False):
        parts.append(_FROM_EDGE.format(name))
        parameters |= {f"{name}_start": start, f"{name}_end": end}
    statement = _TOTALS.format(
        columns=COLUMNS, keeps_values=KEEPS_VALUES, quantity=_QUANTITY, parts=" UNION ALL ".join(parts)
    )
    cursor = await (await driver(connection)).execute(statement.encode(), parameters, prepare=True)
    return {row[0]: _total(row) for row in await cursor.fetchall()}


def _total(row: tuple[Any, ...]) -> _Total:
    _, name, unit, *columns, function, precision, quantity, events, keeps = row
    measure = Measure(name, unit, configured(*columns), function, precision or 0)
    return _Total(measure, quantity, int(events), bool(keeps))


async def _whole(
    connection: AsyncConnection, subscription_id: UUID, totals: Mapping[UUID, _Total], period: Period
) -> dict[UUID, Usage]:
    """Return the usage of metrics over all of their events; what carries over is read from the beginning."""
    carried = [metric for metric, each in totals.items() if each.measure.folding.carries and each.quantity is not None]
    since_ever: Mapping[UUID, _Total] = {}
    if carried:
        since_ever = await _totals(connection, subscription_id, carried, Period(start=BEGINNING, end=period.end))
    found = {}
    for metric, each in totals.items():
        quantity = since_ever.get(metric, each).quantity
        if quantity is None and each.keeps_values:
            window = window_of(period.start, period.end)
            field = each.measure.folding.field
            values = Values(subscription_id, metric, field, window.first_day, window.end_day, window.edges)
            quantity = await unique_count(connection, values)
        if quantity is None:
            quantity = await _folded(connection, subscription_id, metric, each.measure.folding, period)
        found[metric] = each.measure.usage(quantity, each.events)
    return found


async def _folded(
    connection: AsyncConnection, subscription_id: UUID, metric_id: UUID, folding: Aggregation, period: Period
) -> Decimal:
    """Run an aggregation's own SQL over the events of the period, or of all time before its end if it carries."""
    binds: Mapping[str, Any] = {"start": period.start, "end": period.end, **folding.bindings}
    statement = text(f"SELECT {folding.from_events} FROM ({_EVENTS_OF_PERIOD}) period_events")  # noqa: S608
    row = await connection.execute(
        statement,
        {
            "subscription": subscription_id,
            "metric": metric_id,
            "from": BEGINNING if folding.carries else period.start,
            "until": period.end,
            **{name: binds[name] for name in folding.sql_parameters},
        },
    )
    return Decimal(row.scalar_one())
