"""The number of events."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import Carrying, EventValue
from billing.period import Period


class Count(Carrying):
    """Count the events, whatever their values are: 5, 2, 5, 1 -> 4 (B48). With `carry_over` all there ever were."""

    additive: ClassVar[bool] = True
    from_rollup: ClassVar[str | None] = "coalesce(sum(event_count), 0)"
    from_events: ClassVar[str] = "count(*)"

    kind: Literal["count"] = "count"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        return Decimal(len(events))
