"""Each unit at the same price."""

from decimal import Decimal
from typing import ClassVar, Literal

from billing.numbers import UnitPrice
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class PerUnit(PricingModel):
    """Price every unit the same, in major units: 3 x 0.005 = 0.015, a line of 2 cents (B102)."""

    word: ClassVar[str] = "usage"

    kind: Literal["per_unit"] = "per_unit"
    unit_price: UnitPrice

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step: all units at the unit price; fractions of a unit are priced in proportion (R3)."""
        return (Step.of("each unit", units=usage.billable, unit_price=self.unit_price),)

    @property
    def unit_amount(self) -> Decimal:
        """The price of each unit."""
        return self.unit_price
