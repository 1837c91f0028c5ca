"""The quantity of events of a metric by the aggregation's own SQL over the indexed events of a period.

For what rollups do not hold: aggregations that are not put together from parts, the events of one customer, those of
one bucket and one event more.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.event_scope import DEFAULT_BUCKET, bucket_expression, group_expressions
from adapters.postgres.usage.fold_bindings import fold_bindings
from adapters.postgres.usage.quantity_store import Measure
from adapters.postgres.usage.usage_window import BEGINNING
from billing.charges import Charge
from billing.period import Period
from billing.scope import group_of
from billing.usage import Usage
from models.identifiers import new_id

_FOLDED: Final = """
    SELECT {quantity} AS quantity, count(*) FILTER (WHERE occurred_at >= :counted_from) AS events FROM (
        SELECT id, value, properties, occurred_at, received_at FROM events
        WHERE status = 'counted' AND subscription_id = :subscription AND metric_id = :metric
          AND occurred_at >= :from AND occurred_at < :until AND {chosen} {more}
    ) part
"""
_ONE_MORE: Final = """
    UNION ALL SELECT CAST(:own_id AS uuid), CAST(:own_value AS numeric), CAST(:own_properties AS jsonb),
                     CAST(:own_time AS timestamptz), clock_timestamp()
"""
_JSON: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class UnstoredEvent:
    """An event that is not stored: what it would count for, and when."""

    value: Decimal | None
    properties: Mapping[str, object]
    at: datetime


@dataclass(frozen=True)
class EventSlice:
    """Some events of a metric of a subscription: those for which a condition over rows of `events` holds.

    Levels count until `levels_end`, else until the period's end.
    """

    subscription_id: UUID
    metric_id: UUID
    measure: Measure
    period: Period
    levels_end: datetime | None = None
    condition: str = "true"
    binds: Mapping[str, Any] = field(default_factory=dict)

    def of_customer(self, customer: str) -> "EventSlice":
        """Choose the events that named a customer."""
        return replace(self, condition="customer_ref = :chosen_customer", binds={"chosen_customer": customer})

    def priced_together(self, charge: Charge, properties: Mapping[str, object]) -> "EventSlice":
        """Choose the events that a charge prices together with one of these properties: its bucket and its group."""
        conditions: list[str] = []
        binds: dict[str, Any] = {}
        if charge.scope is not None:
            bucket, binds = bucket_expression(charge.scope.buckets)
            own = DEFAULT_BUCKET if charge.scope.bucket is None else charge.scope.bucket
            conditions.append(f"{bucket} = {own}")
        groups, group_binds = group_expressions(charge.group_by)
        for place, (expression, (_, value)) in enumerate(
            zip(groups, group_of(charge.group_by, properties), strict=True)
        ):
            conditions.append(f"{expression} IS NOT DISTINCT FROM CAST(:own_group_{place} AS text)")
            binds |= {f"own_group_{place}": value}
        condition = " AND ".join(conditions) or "true"
        return replace(self, condition=condition, binds={**binds, **group_binds})


async def usage_of_part(connection: AsyncConnection, part: EventSlice, more: UnstoredEvent | None = None) -> Usage:
    """Return the usage of chosen events, as their metric rounds it; `more` is counted as if it were one of them."""
    period, folding = part.period, part.measure.folding
    names: dict[str, Any] = {
        "subscription": part.subscription_id,
        "metric": part.metric_id,
        "from": BEGINNING if folding.carries else period.start,
        "until": period.end,
        "counted_from": period.start,
        **await fold_bindings(connection, part.subscription_id, folding, period, part.levels_end),
        **part.binds,
    }
    if more is not None:
        properties = _JSON.encode(dict(more.properties)).decode()
        names |= {"own_id": new_id(), "own_value": more.value, "own_properties": properties, "own_time": more.at}
    statement = _FOLDED.format(
        quantity=folding.from_events, chosen=part.condition, more="" if more is None else _ONE_MORE
    )
    row = (await connection.execute(text(statement), names)).one()
    return part.measure.usage(row.quantity, row.events)
