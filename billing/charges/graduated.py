"""Each unit at the price of the tier it falls into."""

from typing import ClassVar, Literal

from billing.pricing import Step, TieredModel, slices, tier_name
from billing.usage import Usage


class Graduated(TieredModel):
    """Price each unit by the tier it falls into (R3, R4, B30).

    Tiers 0 to 100,000 free, to 1,000,000 at 0.0001, above at 0.00005; 1,200,000 calls cost
    100,000 x 0 + 900,000 x 0.0001 + 200,000 x 0.00005 = 0 + 90 + 10 = 100.00.
    """

    word: ClassVar[str] = "tiered usage"
    plan_name: ClassVar[str | None] = "tiered"

    kind: Literal["graduated"] = "graduated"

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step for each tier that the quantity enters.

        A tier's flat fee is due when the quantity enters it; the first tier's also at zero usage (R4).
        """
        return tuple(
            Step.of(
                tier_name(index + 1, lower, self.tiers[index].up_to),
                units=units,
                unit_price=self.tiers[index].unit_price,
                flat_fee=self.tiers[index].flat_fee,
                from_=lower,
                up_to=self.tiers[index].up_to,
            )
            for index, lower, units in slices(self.tiers, usage.billable)
        )
