"""Charges at the API's edge: ABAXUS's pricing models and BoxBilling's charge models as one body (design section 9).

The fields come from the classes in billing.charges, so that a new charge model needs nothing here. Prices are major
units in both. What comes out is a charge model of billing.charges, and what the creator sent, to be
echoed. An unknown field of a charge is refused: a price that ignores part of its configuration would be wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from api.catalogue.boxbilling_charge_shapes import CHARGE_MODEL_NAMES, model_of_properties
from api.http.fields import AnyCase, JsonObject, Name, Ref, nested_problem
from billing.charges import CHARGE_MODELS, ChargeModel, PricingModel
from billing.scope import MOST_GROUP_KEYS
from models.problems import invalid

MODELS: Final = {model.pricing_name(): model for model in CHARGE_MODELS}
"""The classes of all charge models, by what a plan calls them."""

_PRICING_NAMES: Final = tuple(MODELS)
PricingModelName = Literal[_PRICING_NAMES]  # type: ignore[valid-type]
ChargeModelName = Literal[CHARGE_MODEL_NAMES]  # type: ignore[valid-type]
MOST_CHARGES: Final = 100
MOST_MATCHES: Final = 10


def _price_fields() -> dict[str, Any]:
    """Return the fields of all pricing models by their names in a plan, with the types that their classes give them."""
    fields: dict[str, Any] = {}
    for model in CHARGE_MODELS:
        hints = get_type_hints(model, include_extras=True)
        for name, shown in model.plan_fields().items():
            fields[shown] = hints[name] | None if shown not in fields else fields[shown] | hints[name]
    return fields


_PRICE_FIELDS: Final = _price_fields()


class _Priced(BaseModel):
    """BoxBilling's price of a charge."""

    model_config = ConfigDict(extra="forbid")

    properties: JsonObject | None = None


if TYPE_CHECKING:
    _PriceFields = _Priced
else:
    _PriceFields = create_model(
        "_PriceFields", __base__=_Priced, **{name: (hint, None) for name, hint in _PRICE_FIELDS.items()}
    )

FilterValue = str | int | bool | Decimal
FilterValues = Annotated[list[FilterValue], Field(min_length=1, max_length=200)]


class ChargeFilterBody(_PriceFields):
    """The events that match a combination of property values, at a price of their own (B51).

    BoxBilling names one filter of the metric with some of its values and `properties`; `match` names several at once,
    by property: {"region": ["eu"], "tier": "gold"}. The price is written as the charge writes its own.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"match": {"region": ["eu"], "tier": "gold"}, "unit_price": "0.02"}]},
    )

    billable_metric_filter_id: Ref | None = None
    values: Annotated[list[FilterValue], Field(max_length=200)] = Field(default=[])
    match: Annotated[dict[Name, FilterValues | FilterValue], Field(min_length=1, max_length=MOST_MATCHES)] | None = None
    invoice_display_name: Name | None = None


class ChargeBody(_PriceFields):
    """One charge: ABAXUS names `metric_key` and `pricing_model`, BoxBilling `billable_metric_id` and `charge_model`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "metric_key": "api_calls",
                    "pricing_model": "tiered",
                    "tiers": [
                        {"up_to": 100000, "unit_price": 0},
                        {"up_to": 1000000, "unit_price": "0.0001"},
                        {"up_to": None, "unit_price": "0.00005"},
                    ],
                },
                {"metric_key": None, "pricing_model": "flat_fee", "amount": "49.00", "description": "Growth base fee"},
                {
                    "metric_key": "gb",
                    "pricing_model": "per_unit",
                    "unit_price": "1.00",
                    "filters": [{"match": {"region": "eu", "tier": "gold"}, "unit_price": "0.25"}],
                    "group_by": ["user"],
                },
                {
                    "billable_metric_id": "met_01kaqs2v8yf0y8f7bn1qv0c5te",
                    "charge_model": "package",
                    "properties": {"amount": "500", "package_size": 10, "free_units": 0},
                },
            ]
        },
    )

    metric_key: Ref | None = None
    billable_metric_id: Ref | None = Field(default=None, description="A synonym of `metric_key`.")
    meter_id: Ref | None = Field(default=None, description="A synonym of `metric_key`.")
    pricing_model: Annotated[PricingModelName, AnyCase] | None = None
    description: Name | None = Field(default=None, description="Names the invoice line.")
    charge_model: Annotated[ChargeModelName, AnyCase] | None = None
    filters: Annotated[list[ChargeFilterBody], Field(max_length=50)] = Field(default=[])
    group_by: Annotated[list[Name], Field(max_length=MOST_GROUP_KEYS)] = Field(
        default=[], description="Event properties: each of their values gets an invoice line, priced by itself."
    )
    invoice_display_name: Name | None = Field(default=None, description="A synonym of `description`.")


@dataclass(frozen=True)
class PricedFilter:
    """A filter of a charge whose references are still to be resolved.

    `matches` are the metric's filters, by id or property, with the values of them that it takes; none means all.
    """

    path: str
    matches: tuple[tuple[str, tuple[object, ...]], ...]
    model: ChargeModel
    supplied: Mapping[str, Any]
    name: str | None


@dataclass(frozen=True)
class PricedCharge:
    """A charge whose metric is still to be resolved; `path` is where the body has it."""

    path: str
    metric_ref: str | None
    model: ChargeModel
    description: str | None
    supplied: Mapping[str, Any]
    filters: tuple[PricedFilter, ...] = ()
    group_by: tuple[str, ...] = ()


def priced(body: ChargeBody, path: str) -> PricedCharge:
    """Read a charge. Raises `Problem` 422, which names the field with its whole path (charges.0.tiers.1.up_to)."""
    if (body.pricing_model is None) == (body.charge_model is None):
        raise invalid(f"{path}.pricing_model", "send either pricing_model (ABAXUS) or charge_model (BoxBilling)")
    metric_ref = body.metric_key or body.billable_metric_id or body.meter_id
    model = _model(body, body, path)
    if not model.metered and (body.filters or body.group_by):
        raise invalid(f"{path}.filters" if body.filters else f"{path}.group_by", "a fixed fee prices no events")
    if model.metered and metric_ref is None:
        raise invalid(f"{path}.metric_key", "a charge of this model needs a metric")
    if not model.metered and metric_ref is not None:
        raise invalid(f"{path}.metric_key", "a fixed fee has no metric; send null")
    return PricedCharge(
        path=path,
        metric_ref=metric_ref,
        model=model,
        description=body.description or body.invoice_display_name,
        supplied=body.model_dump(mode="python", exclude_unset=True, exclude={"filters", "group_by"}),
        filters=tuple(_filter(body, part, f"{path}.filters.{index}") for index, part in enumerate(body.filters)),
        group_by=_group_by(body.group_by, f"{path}.group_by"),
    )


def _group_by(names: list[str], path: str) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise invalid(path, "names a property twice")
    return tuple(names)


def _model(charge: ChargeBody, prices: ChargeBody | ChargeFilterBody, path: str) -> ChargeModel:
    """Read the price of a charge, or of one of its filters, in the way in which the charge writes its own."""
    if charge.charge_model is not None:
        return _boxbilling_model(charge.charge_model, prices, path)
    assert charge.pricing_model is not None
    return _abaxus_model(charge.pricing_model, prices, path)


def _abaxus_model(pricing_model: str, body: ChargeBody | ChargeFilterBody, path: str) -> ChargeModel:
    model = MODELS[pricing_model]
    names = model.plan_fields()
    for shown in (*_PRICE_FIELDS, "properties"):
        if getattr(body, shown) is not None and shown not in names.values():
            raise invalid(f"{path}.{shown}", f"does not belong to the pricing_model {pricing_model}")
    given = {name: getattr(body, shown) for name, shown in names.items() if getattr(body, shown) is not None}
    if model.tiered_by in given:
        check_bounds(given[model.tiered_by], f"{path}.{names[model.tiered_by]}")
    return _built(model, given, path, names)


def _boxbilling_model(charge_model: str, body: ChargeBody | ChargeFilterBody, path: str) -> ChargeModel:
    for name in _PRICE_FIELDS:
        if getattr(body, name) is not None:
            raise invalid(f"{path}.{name}", "goes with pricing_model; a charge_model is configured by its properties")
    return model_of_properties(charge_model, body.properties or {}, f"{path}.properties")


def _filter(body: ChargeBody, part: ChargeFilterBody, path: str) -> PricedFilter:
    named = {"billable_metric_filter_id", "values", "match", "invoice_display_name"}
    supplied = part.model_dump(mode="python", exclude_unset=True, exclude=named)
    return PricedFilter(
        path=path,
        matches=_matches(part, path),
        model=_model(body, part, path),
        supplied=supplied,
        name=part.invoice_display_name,
    )


def _matches(part: ChargeFilterBody, path: str) -> tuple[tuple[str, tuple[object, ...]], ...]:
    if (part.match is None) == (part.billable_metric_filter_id is None):
        raise invalid(f"{path}.match", "send either match, or billable_metric_filter_id with values")
    if part.match is None:
        assert part.billable_metric_filter_id is not None
        return ((part.billable_metric_filter_id, tuple(part.values)),)
    if part.values:
        raise invalid(f"{path}.values", "go with billable_metric_filter_id")
    return tuple(
        (key, tuple(values) if isinstance(values, list) else (values,)) for key, values in sorted(part.match.items())
    )


def _built(model: type[PricingModel], given: Mapping[str, Any], path: str, names: Mapping[str, str]) -> ChargeModel:
    """Validate a charge model; errors name the field as the client knows it. Raises `Problem` 422."""
    try:
        return cast(ChargeModel, model(**given))
    except ValidationError as error:
        first = nested_problem(error, "").errors[0]
        own = {field.alias or name: names[name] for name, field in model.model_fields.items() if name in names}
        own |= names
        parts = [own.get(part, part) for part in first.field.split(".") if part]
        raise invalid(".".join([path, *parts]), first.message) from None


def check_bounds(tiers: Sequence[Any], path: str) -> None:
    """Refuse bounds that do not ascend, or of which not just the last one is open (B31). Raises `Problem` 422."""
    if not tiers:
        raise invalid(path, "needs at least one entry; a single one has up_to null")
    floor = Decimal(0)
    for index, tier in enumerate(tiers):
        last = index == len(tiers) - 1
        if (tier.up_to is None) != last:
            message = "must be null, so that all usage has a price" if last else "may be null in the last entry only"
            raise invalid(f"{path}.{index}.up_to", message, "tiers_incomplete")
        if tier.up_to is not None and tier.up_to <= floor:
            message = f"must be more than {floor}, where the entry before ends; tiers must not overlap"
            raise invalid(f"{path}.{index}.up_to", message, "tiers_overlap")
        floor = tier.up_to if tier.up_to is not None else floor
