"""The sum of an arithmetic expression over the properties of each event."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from billing.aggregating import NOT_NUMERIC, Aggregation, EventValue, Reading, number_of
from billing.arithmetic import check, compute, names_in
from billing.numbers import INTEGER_DIGITS, exact, rounded_ratio
from billing.period import Period

OWN_VALUE: Final = "value"
"""The name by which an expression reads the value that the event came with, unless a property has that name."""


class Expression(Aggregation):
    """Apply an expression to each event and add up: "v * 2" on 10, 5, 5 and 2.5 -> 45.

    The expression is computed once, when an event is accepted (`value_of`), and stored as its value; it is therefore as
    additive as a sum. An event for which it has no value (a property is missing, a divisor is 0) adds nothing.
    """

    is_additive: ClassVar[bool] = True
    grows_only: ClassVar[bool] = True
    computes_value: ClassVar[bool] = True
    rollup_column = "value_sum"
    from_events: ClassVar[str] = "coalesce(sum(value), 0)"

    kind: Literal["custom"] = "custom"
    expression: Annotated[str, AfterValidator(check), Field(min_length=1)]

    def value_of(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Decimal | None:
        """Return the expression's result for one event, rounded half away from zero to 18 decimals.

        None when it has no result, or one of more than 20 digits before the point.
        """
        names = {name: number_of(properties.get(name)) for name in names_in(self.expression)}
        if OWN_VALUE not in properties:
            names[OWN_VALUE] = value
        result = compute(self.expression, names)
        if result is None or abs(result) >= 10**INTEGER_DIGITS:
            return None
        return rounded_ratio(result)

    @property
    def takes_value_as_sent(self) -> bool:
        """False: what is stored is the expression's result."""
        return False

    def read(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Reading:
        """Return the expression's result for one event, and the reason if it has none."""
        found = self.value_of(value=value, properties=properties)
        return Reading(found, NOT_NUMERIC if found is None else None)

    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        del period
        with exact():
            return sum((value for event in events if (value := self._value(event)) is not None), Decimal(0))

    def _value(self, event: EventValue) -> Decimal | None:
        """Take the result stored when the event was accepted; an event not stored yet is computed."""
        if event.value is not None:
            return event.value
        return self.value_of(value=None, properties=event.properties)
