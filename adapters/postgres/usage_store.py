"""The quantity of usage: THE functions that closing, previews, current usage and the relay's totals share.

What is additive (sum, count, max, min) is read from the rollups for the whole UTC days of a period, and from the events
themselves for the partial days at its edges; every other aggregation runs its own SQL over the indexed events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.event_scope import scope_condition
from billing.aggregations import AGGREGATIONS, Aggregation, aggregation, round_quantity
from billing.charges import Charge, Dynamic
from billing.numbers import RoundingFunction
from billing.period import Period
from billing.usage import NO_USAGE, Usage

_DAY: Final = timedelta(days=1)

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
    SELECT m.id, m.aggregation, m.field_name, m.expression, m.rounding_function, m.rounding_precision,
           {quantity} AS quantity, coalesce(sum(p.event_count), 0) AS event_count
    FROM metrics m LEFT JOIN ({parts}) p ON p.metric_id = m.id
    WHERE m.id = ANY(%(metrics)s)
    GROUP BY m.id
"""

_EVENTS_OF_PERIOD: Final = """
    SELECT id, value, properties, occurred_at, received_at FROM events
    WHERE status = 'counted' AND subscription_id = :subscription AND metric_id = :metric
      AND occurred_at >= :from AND occurred_at < :until
"""

_NUMBER_GRAMMAR: Final = "^[+-]?[0-9]{1,20}([.][0-9]{1,18})?$"


@dataclass(frozen=True)
class Window:
    """The part of a period that is counted: whole UTC days ``[first_day, end_day)`` and up to two partial days."""

    start: datetime
    end: datetime
    first_day: date
    end_day: date
    edges: tuple[tuple[datetime, datetime], ...]


def window_of(start: datetime, end: datetime) -> Window:
    """Cut ``[start, end)`` into whole UTC days, which the rollups hold, and the partial days at its edges."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    head = _midnight(start) if start == _midnight(start) else _midnight(start) + _DAY
    tail = _midnight(end)
    if head > tail:
        return Window(start, end, head.date(), head.date(), ((start, end),) if start < end else ())
    edges = tuple((a, b) for a, b in ((start, head), (tail, end)) if a < b)
    return Window(start, end, head.date(), tail.date(), edges)


def _midnight(instant: datetime) -> datetime:
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)


async def usages(
    connection: AsyncConnection,
    subscription_id: UUID,
    charges: Sequence[Charge],
    period: Period,
    *,
    through: datetime | None = None,
) -> dict[UUID, Usage]:
    """Give the usage of every metered charge in the period ``[start, end)``, keyed by charge id; 0 without events.

    ``through`` (exclusive) leaves out events that occurred at or after it, for a bill in the middle of a period.
    The event's own time decides (R11); quantities are rounded as their metric says. Exact to the last committed event.
    """
    metered = [charge for charge in charges if charge.metered]
    end = period.end if through is None else min(period.end, through)
    if not metered or end <= period.start:
        return {charge.id: NO_USAGE for charge in metered}
    metrics = list({charge.metric_id for charge in metered if charge.metric_id is not None})
    by_metric = await metric_usages(connection, subscription_id, metrics, Period(start=period.start, end=end))
    found = {charge.id: by_metric.get(charge.metric_id, NO_USAGE) for charge in metered if charge.metric_id}
    for charge in metered:
        if charge.scope is not None:
            found[charge.id] = await _scoped(connection, subscription_id, charge, Period(start=period.start, end=end))
        if isinstance(charge.model, Dynamic):
            priced = await _priced(connection, subscription_id, charge, Period(start=period.start, end=end))
            found[charge.id] = found[charge.id].model_copy(update={"priced": priced})
    return found


async def metric_usages(
    connection: AsyncConnection, subscription_id: UUID, metric_ids: Sequence[UUID], period: Period
) -> dict[UUID, Usage]:
    """Give the usage of some metrics of one subscription in ``[start, end)``, keyed by metric id."""
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
    statement = _TOTALS.format(quantity=_QUANTITY, parts=" UNION ALL ".join(parts))
    cursor = await (await driver(connection)).execute(statement.encode(), parameters, prepare=True)
    found: dict[UUID, Usage] = {}
    for metric, kind, field, expression, function, precision, additive, events in await cursor.fetchall():
        quantity = additive
        if quantity is None:
            folding = aggregation(kind, field=field, expression=expression)
            quantity = await _folded(connection, subscription_id, metric, folding, period)
        found[metric] = _usage(quantity, events, function, precision)
    return found


def _usage(quantity: Decimal, events: Decimal, function: RoundingFunction | None, precision: int | None) -> Usage:
    return Usage(quantity=round_quantity(Decimal(quantity), function, precision or 0), events=int(events))


async def _folded(
    connection: AsyncConnection, subscription_id: UUID, metric_id: UUID, folding: Aggregation, period: Period
) -> Decimal:
    """Run an aggregation's own SQL over the events of the period."""
    binds: Mapping[str, Any] = {"start": period.start, "end": period.end, **folding.bindings}
    statement = text(f"SELECT {folding.from_events} FROM ({_EVENTS_OF_PERIOD}) period_events")  # noqa: S608
    row = await connection.execute(
        statement,
        {
            "subscription": subscription_id,
            "metric": metric_id,
            "from": period.start,
            "until": period.end,
            **{name: binds[name] for name in folding.sql_parameters},
        },
    )
    return Decimal(row.scalar_one())


async def _scoped(connection: AsyncConnection, subscription_id: UUID, charge: Charge, period: Period) -> Usage:
    """Fold the events of the period that lie in the charge's scope; rollups do not keep properties apart (B51)."""
    configured = text(
        "SELECT aggregation, field_name, expression, rounding_function, rounding_precision FROM metrics WHERE id = :id"
    )
    metric = (await connection.execute(configured, {"id": charge.metric_id})).one()
    folding = aggregation(metric.aggregation, field=metric.field_name, expression=metric.expression)
    condition, binds = scope_condition(charge.scope)
    configuration: Mapping[str, Any] = {"start": period.start, "end": period.end, **folding.bindings}
    row = await connection.execute(
        text(
            f"SELECT {folding.from_events} AS quantity, count(*) AS events "  # noqa: S608
            f"FROM ({_EVENTS_OF_PERIOD}{condition}) period_events"
        ),
        {
            "subscription": subscription_id,
            "metric": charge.metric_id,
            "from": period.start,
            "until": period.end,
            **{name: configuration[name] for name in folding.sql_parameters},
            **binds,
        },
    )
    quantity, events = row.one()
    return _usage(quantity, events, metric.rounding_function, metric.rounding_precision)


def _property(name: str) -> str:
    """Give the SQL that reads a property as a number by the grammar of R1; NULL if it is none."""
    return f"CASE WHEN properties ->> :{name} ~ :grammar THEN CAST(properties ->> :{name} AS numeric) END"


async def _priced(connection: AsyncConnection, subscription_id: UUID, charge: Charge, period: Period) -> Decimal:
    """Add up price x quantity over the events, each from the event's own properties; major units."""
    assert isinstance(charge.model, Dynamic)
    quantity = f"coalesce({_property('quantity')}, value)"
    condition, binds = scope_condition(charge.scope)
    statement = text(
        f"SELECT coalesce(sum({_property('price')} * {quantity}), 0) "  # noqa: S608
        f"FROM ({_EVENTS_OF_PERIOD}{condition}) period_events"
    )
    row = await connection.execute(
        statement,
        {
            "subscription": subscription_id,
            "metric": charge.metric_id,
            "from": period.start,
            "until": period.end,
            "price": charge.model.price_field,
            "quantity": charge.model.quantity_field,
            "grammar": _NUMBER_GRAMMAR,
            **binds,
        },
    )
    return Decimal(row.scalar_one())


@dataclass(frozen=True)
class MetricTotal:
    """The cumulative usage of one metric in a subscription's current period."""

    metric_id: UUID
    metric_key: str
    quantity: Decimal
    events: int


@dataclass(frozen=True)
class CurrentTotals:
    """What one subscription used so far in its current period; ``version`` grows with every ingest transaction."""

    subscription_id: UUID
    version: int
    period_start: datetime
    period_end: datetime
    totals: tuple[MetricTotal, ...]


_DIRTY_PERIODS: Final = """
    SELECT s.id, k.version, s.current_period_start, s.current_period_end
    FROM usage_marks k JOIN subscriptions s ON s.id = k.subscription_id
    WHERE k.subscription_id = ANY(%(subscriptions)s)
      AND s.current_period_start IS NOT NULL AND s.current_period_end IS NOT NULL
"""

_USED_METRICS: Final = """
    SELECT DISTINCT r.metric_id, m.key FROM usage_rollups r JOIN metrics m ON m.id = r.metric_id
    WHERE r.subscription_id = %(subscription)s AND r.day >= %(first)s AND r.day <= %(last)s
"""


async def current_totals(connection: AsyncConnection, subscription_ids: Sequence[UUID]) -> list[CurrentTotals]:
    """Give the cumulative totals of the current period of subscriptions that have usage marks, for the relay's signal.

    The version is read before the totals, so a total may be ahead of its version and never behind it. Subscriptions
    without a current period are absent. Works in a tenant's scope and in the system's.
    """
    raw = await driver(connection)
    cursor = await raw.execute(_DIRTY_PERIODS, {"subscriptions": list(subscription_ids)}, prepare=True)
    answers = []
    for subscription, version, start, end in await cursor.fetchall():
        last = (end - timedelta(microseconds=1)).astimezone(UTC).date()
        span = {"subscription": subscription, "first": start.astimezone(UTC).date(), "last": last}
        keys = dict(await (await raw.execute(_USED_METRICS, span, prepare=True)).fetchall())
        by_metric = await metric_usages(connection, subscription, list(keys), Period(start=start, end=end))
        totals = tuple(
            MetricTotal(metric, keys[metric], usage.quantity, usage.events)
            for metric, usage in sorted(by_metric.items())
        )
        answers.append(CurrentTotals(subscription, version, start, end, totals))
    return answers
