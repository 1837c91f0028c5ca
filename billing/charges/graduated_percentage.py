"""Each part of the value at the percentage of the band it falls into."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from billing.numbers import NonNegative, UnitPrice, exact, grouped
from billing.pricing import MOST_TIERS, PricingModel, Step, check_bounds, slices, tier_name
from billing.usage import Usage


class Band(BaseModel):
    """The value in (previous up_to, up_to], at one rate in percent; entering costs a flat fee in major units (R3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    up_to: NonNegative | None
    rate: NonNegative
    flat_fee: UnitPrice = Decimal(0)


class GraduatedPercentage(PricingModel):
    """Charge a percentage of the total value, each part by the band it falls into.

    Bands to 100 at 2 %, above at 1 % with a flat fee of 10: a value of 101 costs 100 x 2 % + 1 x 1 % + 10 = 12.01.
    """

    word: ClassVar[str] = "usage"
    tiered_by: ClassVar[str | None] = "bands"

    kind: Literal["graduated_percentage"] = "graduated_percentage"
    bands: Annotated[tuple[Band, ...], Field(max_length=MOST_TIERS)]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.bands)
        return self

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return one step for each band that the value enters; flat fees as in a graduated price (R4)."""
        return tuple(self._step(index, lower, units) for index, lower, units in slices(self.bands, usage.billable))

    def _step(self, index: int, lower: Decimal, units: Decimal) -> Step:
        band = self.bands[index]
        with exact():
            share = band.rate.scaleb(-2)
        return Step.of(
            f"{grouped(band.rate)} % in {tier_name(index + 1, lower, band.up_to)}",
            units=units,
            unit_price=share,
            flat_fee=band.flat_fee,
            from_=lower,
            up_to=band.up_to,
        )
