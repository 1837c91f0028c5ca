"""The sum of the values, each weighted by the part of the period that it was in force."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Final, Literal

from billing.aggregating import CarryOverAggregation, EventValue
from billing.numbers import rounded_ratio
from billing.period import Period

_MICROSECOND: Final = timedelta(microseconds=1)


class WeightedSum(CarryOverAggregation):
    """Add up the values, each weighted by the time from its event to the end of the period, over the whole period.

    An event changes a level by its value: +10 at the start and -10 after half of the period is 10 for one half, that is
    10 x 1 - 10 x 1/2 = 5. The level starts at 0 in each period, or with `carry_over` at what it was when the period
    before ended: the sum of all earlier changes, in force from the start. Rounded half away from zero to 18 decimals.
    """

    needs_field: ClassVar[bool] = True
    recurs: ClassVar[bool] = False
    from_events: ClassVar[str] = (
        "coalesce(round("
        "CAST(sum(value * extract(epoch FROM CAST(:end AS timestamptz)"
        " - greatest(occurred_at, CAST(:start AS timestamptz)))) AS numeric(100, 40))"
        " / nullif(extract(epoch FROM CAST(:end AS timestamptz) - CAST(:start AS timestamptz)), 0), 18), 0)"
    )
    sql_parameters: ClassVar[tuple[str, ...]] = ("start", "end")

    kind: Literal["weighted_sum"] = "weighted_sum"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        weighted = (
            Fraction(event.value) * ((period.end - max(event.occurred_at, period.start)) // _MICROSECOND)
            for event in events
            if event.value is not None
        )
        whole = period.duration // _MICROSECOND
        return rounded_ratio(sum(weighted, Fraction(0)) / whole) if whole else Decimal(0)
