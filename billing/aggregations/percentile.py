"""The value below or at which a given percentage of the values lie."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from billing.aggregating import Aggregation, EventValue, values
from billing.numbers import Positive, plain
from billing.period import Period

DEFAULT_PERCENTILE: Final = Decimal(95)
"""What is taken when a metric does not say which percentile."""


class Percentile(Aggregation):
    """Take the smallest value that at least `percentile` percent of the values do not exceed (the nearest rank).

    The 95th of 1, 2, ..., 100 is 95; the 50th of 5, 2, 5, 1 is 2. It is always one of the values, never between two.
    """

    needs_field: ClassVar[bool] = True
    # percentile_disc() would take its fraction as a float, and 0.07 of 100 values would be the eighth.
    from_events: ClassVar[str] = (
        "coalesce((array_agg(value ORDER BY value) FILTER (WHERE value IS NOT NULL))"
        "[CAST(ceil(count(value) * CAST(:percentile AS numeric) / 100) AS integer)], 0)"
    )
    sql_parameters: ClassVar[tuple[str, ...]] = ("percentile",)

    kind: Literal["percentile"] = "percentile"
    percentile: Annotated[Positive, Field(le=100)] = DEFAULT_PERCENTILE

    @property
    def bindings(self) -> Mapping[str, str | None]:
        """The percentile, as text, because a driver might send a number as a float."""
        return {"percentile": plain(self.percentile)}

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        ranked = sorted(values(events))
        return ranked[ceil(Fraction(self.percentile) * len(ranked) / 100) - 1] if ranked else Decimal(0)
