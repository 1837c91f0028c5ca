"""All units at the price of the tier that the total falls into."""

from decimal import Decimal
from typing import ClassVar, Literal

from billing.pricing import Step, TieredModel, slices, tier_name
from billing.usage import Usage


class Volume(TieredModel):
    """Price all units by the one tier that holds the total quantity, plus that tier's flat fee (R5).

    Tiers to 100 at 2, above at 1 with a flat fee of 50: 100 units cost 200.00, 101 units cost 101 + 50 = 151.00.
    Entering a cheaper tier can lower the whole price; that is what this model means.
    """

    word: ClassVar[str] = "usage"

    kind: Literal["volume"] = "volume"

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step: all units in the tier of the total; the first tier's flat fee is due at zero usage too."""
        index, lower, _ = slices(self.tiers, usage.billable)[-1]
        tier = self.tiers[index]
        return (
            Step.of(
                f"all units in {tier_name(index + 1, lower, tier.up_to)}",
                units=usage.billable,
                unit_price=tier.unit_price,
                flat_fee=tier.flat_fee,
                from_=Decimal(lower),
                up_to=tier.up_to,
            ),
        )
