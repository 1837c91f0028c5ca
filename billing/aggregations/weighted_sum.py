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
    """Add up the values, each weighted by the time from its event to the end of the period, over the full period.

    A period that the subscription's start or end cuts is weighed against the uncut one (R14): ten days of 300 in a
    month of thirty are 100. With `partial_period` "full" it is weighed against itself: 300.

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
        " / nullif(CAST(:full_seconds AS numeric), 0), 18), 0)"
    )
    sql_parameters: ClassVar[tuple[str, ...]] = ("start", "end", "full_seconds")

    kind: Literal["weighted_sum"] = "weighted_sum"
    partial_period: Literal["prorate", "full"] = "prorate"
    """What a level of a part of a period counts: its share of the full period, or as much as in a full one."""

    @property
    def prorates(self) -> bool:
        """Return whether a part of a period is weighed against the full period, not against itself (R14)."""
        return self.partial_period == "prorate"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        return self._fold_part(events, period, period)

    def _fold_part(self, events: Sequence[EventValue], period: Period, full: Period) -> Decimal:
        weighted = (
            Fraction(event.value) * ((period.end - max(event.occurred_at, period.start)) // _MICROSECOND)
            for event in events
            if event.value is not None
        )
        whole = (full if self.prorates else period).duration // _MICROSECOND
        return rounded_ratio(sum(weighted, Fraction(0)) / whole) if whole else Decimal(0)
