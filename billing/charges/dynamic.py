"""A price that each event brings along."""

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from billing.aggregating import number_of
from billing.numbers import exact
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class Dynamic(PricingModel):
    """Charge the sum of price x quantity over the events, each from the event's own properties.

    Events (price 0.10, quantity 3) and (price 0.25, quantity 2) cost 0.30 + 0.50 = 0.80. Prices are in major units; the
    two fields name properties; whoever folds the events puts the sum into `Usage.priced`. A negative sum is 0 (R10).
    """

    word: ClassVar[str] = "usage"

    kind: Literal["dynamic"] = "dynamic"
    price_field: str = Field(default="price", min_length=1)
    quantity_field: str = Field(default="quantity", min_length=1)

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Give one step: what the events cost by their own prices."""
        priced = max(usage.priced, Decimal(0))
        return (Step.of("priced by each event", units=Decimal(1), unit_price=priced),)

    def cost_of(self, value: Decimal | None, properties: Mapping[str, object]) -> Decimal:
        """Give what one event costs in major units, unrounded: its price x its quantity, else x its value.

        An event without a price costs nothing. The statement that folds stored events says the same in SQL.
        """
        price, quantity = number_of(properties.get(self.price_field)), number_of(properties.get(self.quantity_field))
        quantity = value if quantity is None else quantity
        with exact():
            return Decimal(0) if price is None or quantity is None else price * quantity
