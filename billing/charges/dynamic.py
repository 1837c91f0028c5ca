"""A price that each event brings along."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal

from pydantic import StringConstraints

from billing.aggregating import number_of
from billing.numbers import exact
from billing.pricing import EventSql, PricingModel, Step
from billing.usage import Usage

PropertyName = Annotated[str, StringConstraints(min_length=1, max_length=255, strip_whitespace=True)]

PRICE_NOT_NUMERIC: Final = "price_not_numeric"
QUANTITY_NOT_NUMERIC: Final = "quantity_not_numeric"
LARGEST_COST: Final = Decimal(10) ** 12
"""The most that one event may cost, in major units."""

_NUMBER_GRAMMAR: Final = "^[+-]?[0-9]{1,20}([.][0-9]{1,18})?$"


def _number_sql(name: str) -> str:
    return f"CASE WHEN properties ->> :{name} ~ :grammar THEN CAST(properties ->> :{name} AS numeric) END"


class Dynamic(PricingModel):
    """Charge the sum of price x quantity over the events, each from the event's own properties.

    Events (price 0.10, quantity 3) and (price 0.25, quantity 2) cost 0.30 + 0.50 = 0.80. Prices are in major units; the
    two fields name properties; whoever folds the events puts the sum into `Usage.priced`. A negative sum is 0 (R10).
    """

    word: ClassVar[str] = "usage"
    quantity_only: ClassVar[bool] = False

    kind: Literal["dynamic"] = "dynamic"
    price_field: PropertyName = "price"
    quantity_field: PropertyName = "quantity"

    @property
    def prices_events(self) -> bool:
        """True: the price is in the events."""
        return True

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step: what the events cost by their own prices."""
        priced = max(usage.priced, Decimal(0))
        return (Step.of("priced by each event", units=Decimal(1), unit_price=priced),)

    def cost_of(self, value: Decimal | None, properties: Mapping[str, object], *, count: int = 1) -> Decimal:
        """Return their price x their quantity in major units, unrounded; else x their value, or 0 without a price."""
        price, quantity = number_of(properties.get(self.price_field)), number_of(properties.get(self.quantity_field))
        with exact():
            units = value if quantity is None else quantity * count
            return Decimal(0) if price is None or units is None else price * units

    def refusal_of(self, value: Decimal | None, properties: Mapping[str, object]) -> str | None:
        """Return why an event cannot be priced: `price_not_numeric` or `quantity_not_numeric`; None if it can.

        A quantity that is not there is the event's value; a price must be there. A cost that no invoice holds counts as
        a price that cannot be read.
        """
        price = number_of(properties.get(self.price_field))
        if price is None:
            return PRICE_NOT_NUMERIC
        if self.quantity_field in properties and number_of(properties[self.quantity_field]) is None:
            return QUANTITY_NOT_NUMERIC
        return PRICE_NOT_NUMERIC if abs(self.cost_of(value, properties)) > LARGEST_COST else None

    def events_sql(self, worth_sql: str, groups: Sequence[str]) -> EventSql:
        """Return the SQL of `cost_of`: properties are numbers by the grammar of R1, or none."""
        del worth_sql, groups
        total = f"sum({_number_sql('price')} * coalesce({_number_sql('quantity')}, value))"
        return EventSql(
            priced=f"coalesce({total} FILTER (WHERE occurred_at >= :counted_from), 0)",
            binds={"price": self.price_field, "quantity": self.quantity_field, "grammar": _NUMBER_GRAMMAR},
        )
