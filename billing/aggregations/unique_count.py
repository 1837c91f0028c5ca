"""The number of different values."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from billing.aggregating import MISSING, Aggregation, EventValue, Reading, number_of, text_of
from billing.numbers import plain
from billing.period import Period


def identity_sql(field: str) -> str:
    """Return the SQL of the text by which values are told apart, of a row with `value` and `properties`.

    `field` is the SQL of the property's name, which may be NULL. The result is NULL for an event that counts nothing.
    """
    return (
        f"coalesce(CASE jsonb_typeof(properties -> {field})"
        f" WHEN 'number' THEN trim_scale(CAST(properties ->> {field} AS numeric))::text"
        f" WHEN 'string' THEN properties ->> {field}"
        f" WHEN 'boolean' THEN properties ->> {field}"
        " END, trim_scale(value)::text)"
    )


class UniqueCount(Aggregation):
    """Count the different values of the property `field`, or of the value where the event has no such property.

    5, 2, 5, 1 -> 3 (B48). Equal numbers are equal in any notation: 5, 5.0 and "5" are one value. An event with neither
    counts nothing.
    """

    needs_field: ClassVar[bool] = True
    keeps_values: ClassVar[bool] = True
    from_events: ClassVar[str] = f"count(DISTINCT {identity_sql('CAST(:field AS text)')})"
    sql_parameters: ClassVar[tuple[str, ...]] = ("field",)

    kind: Literal["unique_count"] = "unique_count"

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        return Decimal(len({identity for event in events if (identity := self._identity(event)) is not None}))

    def value_of(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Decimal | None:
        """Return the value that the event came with, else the number in the property; what counts is the identity."""
        if value is not None or self.field is None:
            return value
        return number_of(properties.get(self.field))

    @property
    def takes_value_as_sent(self) -> bool:
        """False: the property is read even where it is none that the metric names."""
        return False

    def read(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Reading:
        """Return the event's number if it has one, and the reason if it has nothing to be told apart by."""
        found = self.value_of(value=value, properties=properties)
        has_identity = found is not None or (self.field is not None and text_of(properties.get(self.field)))
        return Reading(found, None if has_identity else MISSING)

    def _identity(self, event: EventValue) -> str | None:
        own = None if self.field is None else text_of(event.properties.get(self.field))
        if own is None and event.value is not None:
            return plain(event.value)
        return own
