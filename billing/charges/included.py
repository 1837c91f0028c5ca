"""Included units, then a price for each unit above them."""

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Literal

from billing.numbers import NonNegative, UnitPrice, exact
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class IncludedOverage(PricingModel):
    """Price only the units above the included ones (R8, B34).

    10,000 included at 0.01: 12,000 units cost 2,000 x 0.01 = 20.00; 10,001 cost 0.01; 10,000 cost nothing.
    """

    word: ClassVar[str] = "usage"
    plan_name: ClassVar[str | None] = "included_overage"
    plan_names: ClassVar[Mapping[str, str]] = {"included": "included_units", "unit_price": "overage_unit_price"}

    kind: Literal["included"] = "included"
    included: NonNegative
    unit_price: UnitPrice

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return a step for the included units, and one for the units above them when there are any."""
        free = min(usage.billable, self.included)
        steps = (Step.of("included", units=free, unit_price=Decimal(0), from_=Decimal(0), up_to=self.included),)
        if usage.billable <= self.included:
            return steps
        with exact():
            over = usage.billable - self.included
        return (*steps, Step.of("above the included", units=over, unit_price=self.unit_price, from_=self.included))
