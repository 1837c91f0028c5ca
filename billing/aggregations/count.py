"""The number of events."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import CarryOverAggregation, EventValue, Reading
from billing.period import Period


class Count(CarryOverAggregation):
    """Count the events, whatever their values are: 5, 2, 5, 1 -> 4 (B48). With `carry_over` all there ever were."""

    is_additive: ClassVar[bool] = True
    grows_only: ClassVar[bool] = True
    is_reservable: ClassVar[bool] = True
    counts_events: ClassVar[bool] = True
    rollup_column = "event_count"
    from_events: ClassVar[str] = "count(*)"
    worth_sql: ClassVar[str] = "CAST(1 AS numeric)"

    kind: Literal["count"] = "count"

    @classmethod
    def worth_of(cls, value: Decimal | None) -> Decimal:
        """Return 1."""
        del value
        return Decimal(1)

    @property
    def takes_value_as_sent(self) -> bool:
        """True: a count does not look at values at all."""
        return True

    def read(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Reading:
        """Return the event's number if it has one; it counts without."""
        return Reading(self.value_of(value=value, properties=properties))

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        return Decimal(len(events))
