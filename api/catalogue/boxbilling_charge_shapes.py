"""BoxBilling's charge models: their properties as charge models of billing.charges, and back.

Amounts in properties are major units (design section 9). A range covers (from, up_to]: `from_value` 100 and 101 both
continue a range that ends at 100. The properties come from the classes in billing.charges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from api.http.fields import nested_problem
from billing.charges import (
    CHARGE_MODELS,
    ChargeModel,
    Flat,
    Graduated,
    IncludedOverage,
    Percentage,
    PerUnit,
    PricingModel,
    Tier,
)
from billing.numbers import FixedPrice, NonNegative, UnitPrice, plain
from billing.pricing import MOST_TIERS
from models.problems import invalid

_Body = TypeVar("_Body", bound=BaseModel)

#: What BoxBilling calls a model and its fields, where it is neither their name here nor their name in JSON.
_NAMES: Final[Mapping[type[PricingModel], tuple[str, Mapping[str, str]]]] = {
    PerUnit: ("standard", {"unit_price": "amount"}),
    Percentage: ("percentage", {"fixed_fee": "fixed_amount"}),
}
_RANGE_NAMES: Final = {"unit_price": "per_unit_amount", "flat_fee": "flat_amount"}
#: Models that BoxBilling has no word for: they are shown as another one.
_SHOWN_OTHERWISE: Final = (Flat, IncludedOverage)


@dataclass(frozen=True)
class _Shape:
    """A charge model as BoxBilling writes it: the model of its properties, and their names by field."""

    name: str
    model: type[PricingModel]
    names: Mapping[str, str]
    properties: type[BaseModel]

    def read(self, properties: Mapping[str, Any], path: str) -> ChargeModel:
        """Return the charge model. Raises `Problem` 422, which names the field with its whole path."""
        found = _read(self.properties, properties, path)
        given = {field: getattr(found, shown) for field, shown in self.names.items()}
        if self.model.tiered_by is not None:
            ranges, shown = given[self.model.tiered_by], self.names[self.model.tiered_by]
            _check_contiguous(ranges, f"{path}.{shown}")
            given[self.model.tiered_by] = [_without_bounds(item) for item in ranges]
        try:
            return cast(ChargeModel, self.model(**{name: value for name, value in given.items() if value is not None}))
        except ValidationError as error:
            raise invalid(path, str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None

    def shown(self, model: PricingModel) -> dict[str, Any]:
        """Return the properties of a model of this class; amounts are major units, as decimal strings."""
        written = model.model_dump(mode="json", by_alias=False, exclude_none=True)
        given = {shown: written[field] for field, shown in self.names.items() if field in written}
        if self.model.tiered_by is not None:
            given[self.names[self.model.tiered_by]] = _ranges(getattr(model, self.model.tiered_by))
        return given


def _shape(model: type[PricingModel]) -> _Shape:
    """Derive BoxBilling's form of a charge model from its class."""
    name, renamed = _NAMES.get(model, (str(model.model_fields["kind"].default), {}))
    hints = get_type_hints(model, include_extras=True)
    names: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        if field == "kind":
            continue
        if field == model.tiered_by:
            names[field] = f"{name}_ranges"
            ranges: Any = list[_range(info.annotation)]  # type: ignore[misc]
            fields[names[field]] = (Annotated[ranges, Field(min_length=1, max_length=MOST_TIERS)], ...)
        else:
            names[field] = renamed.get(field) or info.alias or field
            fields[names[field]] = (hints[field], ... if info.is_required() else info.default)
    properties: Any = create_model(f"{model.__name__}Properties", __config__=_STRICT, **fields)
    return _Shape(name, model, names, properties)


def _range(tiers: Any) -> type[BaseModel]:
    """Derive the model of a range from that of a tier: `from_value` and `to_value` take the place of `up_to`."""
    item: type[BaseModel] = get_args(tiers)[0]
    hints = get_type_hints(item, include_extras=True)
    own: dict[str, Any] = {
        _RANGE_NAMES.get(name, name): (hints[name], ... if info.is_required() else info.default)
        for name, info in item.model_fields.items()
        if name != "up_to"
    }
    bounds: dict[str, Any] = {"from_value": (NonNegative, ...), "to_value": (NonNegative | None, ...)}
    return create_model(f"{item.__name__}Range", __config__=_STRICT, **bounds, **own)


def _without_bounds(item: BaseModel) -> dict[str, Any]:
    """Turn a range into a tier or band."""
    names = {shown: name for name, shown in _RANGE_NAMES.items()} | {"to_value": "up_to"}
    return {names.get(name, name): value for name, value in item.model_dump(exclude={"from_value"}).items()}


_STRICT: Final = ConfigDict(extra="forbid")


class _Custom(BaseModel):
    """A unit price, or a fixed price whatever was used: one open tier that is entered at zero usage already (R4)."""

    unit_price: UnitPrice | None = None
    custom_amount: FixedPrice | None = None

    model_config = _STRICT

    def read_model(self, path: str) -> ChargeModel:
        if (self.unit_price is None) == (self.custom_amount is None):
            raise invalid(f"{path}.unit_price", "send either unit_price or custom_amount")
        if self.unit_price is not None:
            return PerUnit(unit_price=self.unit_price)
        assert self.custom_amount is not None
        return Graduated(tiers=(Tier(up_to=None, unit_price=Decimal(0), flat_fee=self.custom_amount),))


_SHAPES: Final = {shape.name: shape for shape in map(_shape, CHARGE_MODELS) if shape.model not in _SHOWN_OTHERWISE}
_CUSTOM: Final = "custom"
CHARGE_MODEL_NAMES: Final = (*_SHAPES, _CUSTOM)
"""What a charge's `charge_model` may be."""


def model_of_properties(charge_model: str, properties: Mapping[str, Any], path: str) -> ChargeModel:
    """Read the properties of a charge. Raises `Problem` 422, which names the field with its whole path."""
    if charge_model == _CUSTOM:
        return _read(_Custom, properties, path).read_model(path)
    return _SHAPES[charge_model].read(properties, path)


def _read(shape: type[_Body], properties: Mapping[str, Any], path: str) -> _Body:
    try:
        return shape.model_validate(dict(properties))
    except ValidationError as error:
        raise nested_problem(error, path) from None


def _check_contiguous(ranges: Sequence[Any], path: str) -> None:
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


def charge_model_of(model: ChargeModel) -> tuple[str, dict[str, Any]]:
    """Return BoxBilling's name and properties of any charge model; amounts are major units, as decimal strings."""
    match model:
        case Flat():
            return "standard", {"amount": plain(model.fee)}
        case IncludedOverage():
            free = () if not model.included else (Tier(up_to=model.included, unit_price=Decimal(0)),)
            return charge_model_of(Graduated(tiers=(*free, Tier(up_to=None, unit_price=model.unit_price))))
    shape = next(shape for shape in _SHAPES.values() if isinstance(model, shape.model))
    return shape.name, shape.shown(model)


def _ranges(tiers: Sequence[Any]) -> list[dict[str, Any]]:
    starts = [Decimal(0), *(tier.up_to for tier in tiers if tier.up_to is not None)]
    prices = (tier.model_dump(mode="json", exclude={"up_to"}) for tier in tiers)
    named = ({_RANGE_NAMES.get(name, name): amount for name, amount in price.items()} for price in prices)
    return [
        {"from_value": start, "to_value": tier.up_to, **price}
        for start, tier, price in zip(starts, tiers, named, strict=True)
    ]
