"""What an aggregation's own SQL is bound to: the period, the full period that it is a part of, the configuration."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.aggregations import Aggregation
from billing.period import BillingCycle, Period

_MICROSECOND: Final = timedelta(microseconds=1)
_FULL_SECONDS: Final = "full_seconds"
_CYCLE: Final = text("""
    SELECT interval, greatest(anchor, starts_at, trial_ends_at) AS anchor, timezone, alignment
    FROM subscriptions WHERE id = :subscription
""")


async def fold_bindings(
    connection: AsyncConnection,
    subscription_id: UUID,
    folding: Aggregation,
    period: Period,
    levels_end: datetime | None = None,
) -> Mapping[str, Any]:
    """Return the binds of `from_events` for a period; levels count until `levels_end`, else until its end."""
    weighed = period if levels_end is None else Period(start=period.start, end=max(levels_end, period.start))
    known: dict[str, Any] = {"start": weighed.start, "end": weighed.end, **folding.bindings}
    if _FULL_SECONDS in folding.sql_parameters:
        full = await _full_period(connection, subscription_id, weighed) if folding.prorates else weighed
        known[_FULL_SECONDS] = str(Decimal(full.duration // _MICROSECOND).scaleb(-6))
    return {name: known[name] for name in folding.sql_parameters}


async def _full_period(connection: AsyncConnection, subscription_id: UUID, period: Period) -> Period:
    """Return the uncut billing period that a period is a part of (R14); itself if it is a part of none."""
    row = (await connection.execute(_CYCLE, {"subscription": subscription_id})).one_or_none()
    if row is None:
        return period
    full = BillingCycle.model_validate(row, from_attributes=True).full_period_containing(period.start)
    return full if full.covers(period) else period
