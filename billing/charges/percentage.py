"""A percentage of the value, plus a fixed fee for each event."""

from decimal import Decimal
from typing import ClassVar, Literal

from billing.numbers import NonNegative, UnitPrice, exact, grouped
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class Percentage(PricingModel):
    """Charge `rate` percent of the value, and `fixed_fee` major units for each event (R7, without allowances).

    2.9 % plus 0.30: 4 events worth 100.00 cost 2.90 + 4 x 0.30 = 4.10. The quantity of the metric is the value, in
    major units. Allowances and limits of R7 need each event's value and are no part of this model.
    """

    word: ClassVar[str] = "usage"

    kind: Literal["percentage"] = "percentage"
    rate: NonNegative
    fixed_fee: UnitPrice = Decimal(0)

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Give the step of the rate and, with a fixed fee, the step of the events."""
        with exact():
            share = self.rate.scaleb(-2)
        value = Step.of(f"{grouped(self.rate)} % of the value", units=usage.billable, unit_price=share)
        if not self.fixed_fee:
            return (value,)
        return (value, Step.of("fixed fee for each event", units=Decimal(usage.events), unit_price=self.fixed_fee))
