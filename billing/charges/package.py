"""Started packages of units, after some free units."""

from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from billing.numbers import FixedPrice, NonNegative, Positive, exact, grouped
from billing.pricing import PricingModel, Step
from billing.usage import Usage


class Package(PricingModel):
    """Price whole packages; a started one counts as whole (R6).

    5 free units, packages of 10 at 500.00: 100 units leave 95, that is 10 packages, 5000.00. Free units above the usage
    give 0, never a negative amount. The price of one package is `amount` in JSON and `package_price` in Python.
    """

    word: ClassVar[str] = "usage"

    kind: Literal["package"] = "package"
    package_price: FixedPrice = Field(alias="amount")
    package_size: Positive = Decimal(1)
    free_units: NonNegative = Decimal(0)

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step: the packages started, in integer arithmetic, each at the package's price (R6)."""
        with exact():
            charged = max(usage.billable - self.free_units, Decimal(0))
            # Not a division: the quotient of two decimals may have endless digits, a remainder never has.
            whole, rest = divmod(charged, self.package_size)
            packages = whole + 1 if rest else whole
        description = f"started packages of {grouped(self.package_size)}"
        if self.free_units:
            description += f" after {grouped(self.free_units)} free"
        return (Step.of(description, units=packages, unit_price=self.package_price),)
