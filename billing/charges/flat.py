"""A fixed fee for each period, whatever was used."""

from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from billing.numbers import FixedPrice
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class Flat(PricingModel):
    """Charge one fixed amount, in major units, for each period: 49.00 -> a line of 4900 cents, quantity 1 (B32).

    The field is `amount` in JSON and `fee` in Python, where `amount` is the method that prices.
    """

    word: ClassVar[str] = ""
    metered: ClassVar[bool] = False
    plan_name: ClassVar[str | None] = "flat_fee"

    kind: Literal["flat"] = "flat"
    fee: FixedPrice = Field(alias="amount")

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step: the fee, once; the usage does not matter."""
        del usage
        return (Step.of("fixed fee", units=Decimal(1), unit_price=self.fee),)

    @property
    def unit_amount(self) -> Decimal:
        """The fee."""
        return self.fee

    @property
    def period_fee(self) -> Decimal:
        """The fee."""
        return self.fee
