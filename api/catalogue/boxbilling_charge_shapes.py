"""BoxBilling's charge models: their properties as charge models of billing.charges, and back.

Amounts in properties are major units (design section 9). A range covers (from, up_to]: `from_value` 100 and 101 both
continue a range that ends at 100.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, assert_never

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.fields import FixedPrice, Name, nested_problem
from billing.charges import (
    Band,
    ChargeModel,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    IncludedOverage,
    Package,
    Percentage,
    PerUnit,
    Tier,
    Volume,
)
from billing.numbers import NonNegative, Positive, UnitPrice, plain
from models.problems import invalid

CHARGE_MODELS: Final = (
    "standard",
    "graduated",
    "volume",
    "package",
    "percentage",
    "graduated_percentage",
    "custom",
    "dynamic",
)


class _Properties(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def model(self, path: str) -> ChargeModel:
        raise AssertionError(f"{type(self).__name__} at {path} has no charge model")


class _Standard(_Properties):
    amount: UnitPrice

    def model(self, path: str) -> ChargeModel:
        del path
        return PerUnit(unit_price=self.amount)


class _Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_value: NonNegative
    to_value: NonNegative | None
    flat_amount: UnitPrice = Decimal(0)


class _PriceRange(_Range):
    per_unit_amount: UnitPrice


class _RateRange(_Range):
    rate: NonNegative


class _Graduated(_Properties):
    graduated_ranges: list[_PriceRange] = Field(min_length=1, max_length=100)

    def model(self, path: str) -> ChargeModel:
        return Graduated(tiers=_tiers(self.graduated_ranges, f"{path}.graduated_ranges"))


class _Volume(_Properties):
    volume_ranges: list[_PriceRange] = Field(min_length=1, max_length=100)

    def model(self, path: str) -> ChargeModel:
        return Volume(tiers=_tiers(self.volume_ranges, f"{path}.volume_ranges"))


class _Package(_Properties):
    amount: UnitPrice
    package_size: Positive = Decimal(1)
    free_units: NonNegative = Decimal(0)

    def model(self, path: str) -> ChargeModel:
        del path
        return Package(package_price=self.amount, package_size=self.package_size, free_units=self.free_units)


class _Percentage(_Properties):
    rate: NonNegative
    fixed_amount: UnitPrice = Decimal(0)
    free_events: int | None = Field(default=None, ge=1)
    free_amount: NonNegative | None = None
    transaction_min: UnitPrice | None = None
    transaction_max: UnitPrice | None = None

    def model(self, path: str) -> ChargeModel:
        limits = self.model_dump(exclude={"rate", "fixed_amount"}, exclude_none=True)
        try:
            return Percentage(rate=self.rate, fixed_fee=self.fixed_amount, **limits)
        except ValidationError as error:
            raise invalid(path, str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


class _GraduatedPercentage(_Properties):
    graduated_percentage_ranges: list[_RateRange] = Field(min_length=1, max_length=100)

    def model(self, path: str) -> ChargeModel:
        ranges = self.graduated_percentage_ranges
        _check_contiguous(ranges, f"{path}.graduated_percentage_ranges")
        bands = (Band(up_to=item.to_value, rate=item.rate, flat_fee=item.flat_amount) for item in ranges)
        return GraduatedPercentage(bands=tuple(bands))


class _Custom(_Properties):
    """A unit price, or a fixed price whatever was used: one open tier that is entered at zero usage already (R4)."""

    unit_price: UnitPrice | None = None
    custom_amount: FixedPrice | None = None

    def model(self, path: str) -> ChargeModel:
        if (self.unit_price is None) == (self.custom_amount is None):
            raise invalid(f"{path}.unit_price", "send either unit_price or custom_amount")
        if self.unit_price is not None:
            return PerUnit(unit_price=self.unit_price)
        assert self.custom_amount is not None
        return Graduated(tiers=(Tier(up_to=None, unit_price=Decimal(0), flat_fee=self.custom_amount),))


class _Dynamic(_Properties):
    price_field: Name = "price"
    quantity_field: Name = "quantity"

    def model(self, path: str) -> ChargeModel:
        del path
        return Dynamic(price_field=self.price_field, quantity_field=self.quantity_field)


_SHAPES: Final[Mapping[str, type[_Properties]]] = {
    "standard": _Standard,
    "graduated": _Graduated,
    "volume": _Volume,
    "package": _Package,
    "percentage": _Percentage,
    "graduated_percentage": _GraduatedPercentage,
    "custom": _Custom,
    "dynamic": _Dynamic,
}


def model_of_properties(charge_model: str, properties: Mapping[str, Any], path: str) -> ChargeModel:
    """Read the properties of a charge. Raises `Problem` 422, which names the field with its whole path."""
    try:
        read = _SHAPES[charge_model].model_validate(dict(properties))
    except ValidationError as error:
        raise nested_problem(error, path) from None
    return read.model(path)


def _tiers(ranges: list[_PriceRange], path: str) -> tuple[Tier, ...]:
    _check_contiguous(ranges, path)
    return tuple(
        Tier(up_to=item.to_value, unit_price=item.per_unit_amount, flat_fee=item.flat_amount) for item in ranges
    )


def _check_contiguous(ranges: list[_PriceRange] | list[_RateRange], path: str) -> None:
    """Refuse gaps, overlaps, and a last range that is not open. Raises `Problem` 422."""
    end = Decimal(0)
    for index, item in enumerate(ranges):
        here, last = f"{path}.{index}", index == len(ranges) - 1
        if item.from_value not in (end, end + 1):
            message = f"must be {plain(end)}, where the range before ends" if index else "must be 0 in the first range"
            raise invalid(f"{here}.from_value", message, "tiers_overlap" if item.from_value < end else "tiers_gap")
        if (item.to_value is None) != last:
            message = "must be null, so that all usage has a price" if last else "may be null in the last range only"
            raise invalid(f"{here}.to_value", message, "tiers_incomplete")
        if item.to_value is not None:
            if item.to_value <= end:
                raise invalid(f"{here}.to_value", f"must be more than {plain(end)}", "tiers_overlap")
            end = item.to_value


def charge_model_of(model: ChargeModel) -> tuple[str, dict[str, Any]]:  # noqa: PLR0911 - one for each model
    """Give BoxBilling's name and properties of any charge model; amounts are major units, as decimal strings."""
    match model:
        case Flat():
            return "standard", {"amount": plain(model.fee)}
        case PerUnit():
            return "standard", {"amount": plain(model.unit_price)}
        case Graduated():
            return "graduated", {"graduated_ranges": _ranges(model.tiers)}
        case Volume():
            return "volume", {"volume_ranges": _ranges(model.tiers)}
        case IncludedOverage():
            free = () if not model.included else (Tier(up_to=model.included, unit_price=Decimal(0)),)
            return "graduated", {"graduated_ranges": _ranges((*free, Tier(up_to=None, unit_price=model.unit_price)))}
        case Package():
            sizes = {"package_size": plain(model.package_size), "free_units": plain(model.free_units)}
            return "package", {"amount": plain(model.package_price), **sizes}
        case Percentage():
            return "percentage", {
                "rate": plain(model.rate),
                "fixed_amount": plain(model.fixed_fee),
                **model.model_dump(mode="json", exclude={"kind", "rate", "fixed_fee"}, exclude_none=True),
            }
        case GraduatedPercentage():
            return "graduated_percentage", {"graduated_percentage_ranges": _rate_ranges(model.bands)}
        case Dynamic():
            return "dynamic", {"price_field": model.price_field, "quantity_field": model.quantity_field}
    assert_never(model)


def _ranges(tiers: tuple[Tier, ...]) -> list[dict[str, Any]]:
    prices = [{"per_unit_amount": plain(tier.unit_price), "flat_amount": plain(tier.flat_fee)} for tier in tiers]
    return [bounds | price for bounds, price in zip(_bounds([tier.up_to for tier in tiers]), prices, strict=True)]


def _rate_ranges(bands: tuple[Band, ...]) -> list[dict[str, Any]]:
    rates = [{"rate": plain(band.rate), "flat_amount": plain(band.flat_fee)} for band in bands]
    return [bounds | rate for bounds, rate in zip(_bounds([band.up_to for band in bands]), rates, strict=True)]


def _bounds(ends: list[Decimal | None]) -> list[dict[str, Any]]:
    starts = [Decimal(0), *(end for end in ends if end is not None)]
    return [{"from_value": start, "to_value": end} for start, end in zip(starts, ends, strict=True)]
