"""The smallest value."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import Aggregation, EventValue, values
from billing.period import Period


class Min(Aggregation):
    """Take the smallest value: 5, 2, 5, 1 -> 1."""

    needs_field: ClassVar[bool] = True
    rollup_column = "value_min"
    rollup_fold = "min"
    from_events: ClassVar[str] = "coalesce(min(value), 0)"

    kind: Literal["min"] = "min"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        return min(values(events), default=Decimal(0))
