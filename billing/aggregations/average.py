"""The mean of the values."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Literal

from billing.aggregating import Aggregation, EventValue, values
from billing.numbers import rounded_ratio
from billing.period import Period


class Average(Aggregation):
    """Take the mean of the values, rounded half away from zero to 18 decimals: 5, 2, 5, 1 -> 3.25 (B48).

    Not additive: the mean of a period is not a function of the means of its days.
    """

    needs_field: ClassVar[bool] = True
    # Dividing with 40 decimals first makes rounding twice the same as rounding once for fewer than 10^21 events.
    from_events: ClassVar[str] = (
        "coalesce(round(CAST(sum(value) AS numeric(100, 40)) / nullif(count(value), 0), 18), 0)"
    )

    kind: Literal["average"] = "average"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        numbers = [Fraction(value) for value in values(events)]
        return rounded_ratio(sum(numbers, Fraction(0)) / len(numbers)) if numbers else Decimal(0)
