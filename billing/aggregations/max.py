"""The largest value."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import CarryOverAggregation, EventValue, values
from billing.period import Period


class Max(CarryOverAggregation):
    """Take the largest value: 5, 2, 5, 1 -> 5 (B48); negative values only give a negative maximum.

    With `carry_over` the largest there ever was.
    """

    needs_field: ClassVar[bool] = True
    grows_only: ClassVar[bool] = True
    rollup_column = "value_max"
    rollup_fold = "max"
    from_events: ClassVar[str] = "coalesce(max(value), 0)"

    kind: Literal["max"] = "max"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        return max(values(events), default=Decimal(0))
