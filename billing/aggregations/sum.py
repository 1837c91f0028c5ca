"""The sum of the values."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import Aggregation, EventValue, values
from billing.numbers import exact
from billing.period import Period


class Sum(Aggregation):
    """Add up the values; 1, 2 and 3.5 -> 6.5 (B47). An event without a value adds nothing."""

    needs_field: ClassVar[bool] = True
    is_additive: ClassVar[bool] = True
    grows_only: ClassVar[bool] = True
    is_reservable: ClassVar[bool] = True
    rollup_column = "value_sum"
    from_events: ClassVar[str] = "coalesce(sum(value), 0)"

    kind: Literal["sum"] = "sum"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        with exact():
            return sum(values(events), Decimal(0))
