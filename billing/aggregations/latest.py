"""The value of the last event."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import CarryOverAggregation, EventValue, values
from billing.period import Period


class Latest(CarryOverAggregation):
    """Take the value of the event that occurred last; of several at that instant, the one that was received last.

    5, 2, 5, 1 -> 1 (B48). Events without a value are passed over. With `carry_over` the last value from
    before the period stands until there is a newer one.
    """

    needs_field: ClassVar[bool] = True
    from_events: ClassVar[str] = (
        "coalesce((array_agg(value ORDER BY occurred_at DESC, received_at DESC, id DESC)"
        " FILTER (WHERE value IS NOT NULL))[1], 0)"
    )

    kind: Literal["latest"] = "latest"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        return (values(events) or [Decimal(0)])[-1]
