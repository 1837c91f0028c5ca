"""Plans at the API's edge: the bodies of ABAXUS, UsageBox and BoxBilling as one (conflicts C6).

Charges are the normal form. A base price or `amount_cents` becomes the base fee; UsageBox's included usage with overage
and its usage tiers become charges after the listed ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.catalogue.plan_store import PlanDetail
from adapters.postgres.catalogue.plan_write_store import ChargeDraft, VersionDraft
from api.catalogue.charge_shapes import MOST_CHARGES, ChargeBody, PricedCharge, check_bounds, priced
from api.http.fields import (
    AnyCase,
    ClientId,
    Currency,
    Name,
    Prose,
    Ref,
    refuse_reserved,
    same,
)
from billing.charges import Graduated, IncludedOverage, PerUnit, Tier
from billing.money import to_major
from billing.numbers import LARGEST_MAJOR, FixedPrice, NonNegative, UnitPrice
from billing.period import Interval
from models.problems import invalid

#: Words that are routes beside `/plans/{id}` (C37).
RESERVED: Final = frozenset({"subscription_counts", "versions", "simulate"})
_MOST_ENTITLEMENTS: Final = 200

AnyInterval = Annotated[Interval, AnyCase]
TrialDays = Annotated[int, Field(ge=0, le=3650)]
AmountCents = Annotated[int, Field(ge=0, le=LARGEST_MAJOR)]
Entitlement = bool | int | Decimal | Annotated[str, Field(max_length=255)] | None


class IncludedBody(BaseModel):
    """UsageBox: units of a metric that the base price includes."""

    model_config = ConfigDict(extra="forbid")

    metric_key: Ref
    included_units: NonNegative


class OverageBody(BaseModel):
    """UsageBox: the price of each unit above the included ones, in major units."""

    model_config = ConfigDict(extra="forbid")

    metric_key: Ref
    unit_price: UnitPrice


class UsageTiersBody(BaseModel):
    """UsageBox: a metric's usage in tiers."""

    model_config = ConfigDict(extra="forbid")

    metric_key: Ref
    tiers: Annotated[list[Tier], Field(max_length=100)]


class PlanChange(BaseModel):
    """What may be changed of a plan; fields that are not sent stay. Anything a version fixes makes the next version."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Growth 2"}]})

    id: Ref | None = None
    code: Ref | None = None
    name: Name | None = None
    description: Prose | None = None
    currency: Currency | None = None
    billing_period: AnyInterval | None = Field(default=None, description="ABAXUS.")
    billing_cadence: AnyInterval | None = Field(default=None, description="UsageBox's `billing_period`.")
    interval: AnyInterval | None = Field(default=None, description="BoxBilling's `billing_period`.")
    base_price: FixedPrice | None = Field(default=None, description="UsageBox: each period's fee, in major units.")
    amount_cents: AmountCents | None = Field(default=None, description="BoxBilling's `base_price`, in minor units.")
    trial_period_days: TrialDays | None = None
    product_id: Ref | None = None
    charges: Annotated[list[ChargeBody], Field(max_length=MOST_CHARGES)] | None = None
    included_usage: Annotated[list[IncludedBody], Field(max_length=MOST_CHARGES)] | None = None
    overage: Annotated[list[OverageBody], Field(max_length=MOST_CHARGES)] | None = None
    usage_tiers: Annotated[list[UsageTiersBody], Field(max_length=MOST_CHARGES)] | None = None
    entitlements: Annotated[dict[Name, Entitlement], Field(max_length=_MOST_ENTITLEMENTS)] | None = Field(
        default=None, description="Capability switches and quotas (B39).", examples=[{"sso": True, "seats": 10}]
    )


class PlanBody(PlanChange):
    """Any of the bodies that create a plan."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("billing_period", "billing_cadence", "interval")],
            "examples": [
                {
                    "id": "plan_growth",
                    "name": "Growth",
                    "currency": "usd",
                    "billing_period": "monthly",
                    "charges": [
                        {
                            "metric_key": "api_calls",
                            "pricing_model": "tiered",
                            "tiers": [
                                {"up_to": 100000, "unit_price": 0},
                                {"up_to": 1000000, "unit_price": "0.0001"},
                                {"up_to": None, "unit_price": "0.00005"},
                            ],
                        },
                        {
                            "metric_key": None,
                            "pricing_model": "flat_fee",
                            "amount": "49.00",
                            "description": "Growth base fee",
                        },
                    ],
                },
                {
                    "name": "Usage Plus",
                    "code": "plan_usage_plus",
                    "billing_cadence": "monthly",
                    "base_price": 49,
                    "currency": "usd",
                    "included_usage": [{"metric_key": "compute", "included_units": 100}],
                    "overage": [{"metric_key": "compute", "unit_price": "0.01"}],
                    "entitlements": {"sso": True, "seats": 10},
                },
                {
                    "code": "basic",
                    "name": "Basic",
                    "interval": "monthly",
                    "amount_cents": 3000,
                    "charges": [
                        {
                            "billable_metric_id": "met_01kaqs2v8yf0y8f7bn1qv0c5te",
                            "charge_model": "standard",
                            "properties": {"amount": "25"},
                        }
                    ],
                },
            ],
        },
    )

    id: ClientId | None = Field(default=None, description="ABAXUS: your own id.")
    code: ClientId | None = Field(default=None, description="UsageBox, BoxBilling: a synonym of `id`.")
    name: Name


@dataclass(frozen=True)
class NewPlan:
    """A plan to be created, whose metrics, filters and product are still to be resolved."""

    code: str | None
    version: VersionDraft
    charges: tuple[PricedCharge, ...]
    product_ref: str | None
    entitlements: dict[str, Any]


def new_plan(body: PlanBody) -> NewPlan:
    """Read the body of a new plan. Raises `Problem` 422, which names the field."""
    code = same(body.id, body.code, first_name="id", second_name="code")
    refuse_reserved(code, "id" if body.id else "code", RESERVED)
    interval = _interval(body)
    if interval is None:
        raise invalid("billing_period", "is needed: weekly, monthly, quarterly or yearly", "missing")
    currency = body.currency or ("USD" if body.interval is not None else "usd")
    version = VersionDraft(
        name=body.name,
        description=body.description,
        currency=currency,
        interval=interval,
        trial_period_days=body.trial_period_days or 0,
        base_amount=_base_amount(body, currency) or Decimal(0),
    )
    return NewPlan(
        code=code,
        version=version,
        charges=_charges(body) or (),
        product_ref=body.product_id,
        entitlements=dict(body.entitlements or {}),
    )


def changed_version(body: PlanChange, current: PlanDetail, before: VersionDraft) -> VersionDraft:
    """Put a change into the current version, charges left out. Raises `Problem` 422 for another id or code."""
    for name in ("id", "code"):
        value = getattr(body, name)
        if value is not None and value != current.plan.code:
            raise invalid(name, "is stable; create another plan", "immutable")
    currency = body.currency or before.currency
    base_amount = _base_amount(body, currency)
    return VersionDraft(
        name=body.name or before.name,
        description=body.description if "description" in body.model_fields_set else before.description,
        currency=currency,
        interval=_interval(body) or before.interval,
        trial_period_days=before.trial_period_days if body.trial_period_days is None else body.trial_period_days,
        base_amount=before.base_amount if base_amount is None else base_amount,
        charges=before.charges,
    )


def changed_charges(body: PlanChange) -> tuple[PricedCharge, ...] | None:
    """Return the charges that replace those of the current version; None if the body has none."""
    return _charges(body)


def _interval(body: PlanChange) -> Interval | None:
    given = {"billing_period": body.billing_period, "billing_cadence": body.billing_cadence, "interval": body.interval}
    found = {name: value for name, value in given.items() if value is not None}
    if len(set(found.values())) > 1:
        raise invalid(list(found)[-1], f"is a synonym of {next(iter(found))} and must be the same; send one of them")
    return next(iter(found.values()), None)


def _base_amount(body: PlanChange, currency: str) -> Decimal | None:
    """Return the base fee in major units, from whichever field it came."""
    cents = None if body.amount_cents is None else to_major(body.amount_cents, currency)
    if body.base_price is not None and cents is not None and body.base_price != cents:
        raise invalid("amount_cents", "is base_price in minor units and must be the same; send one of them")
    return body.base_price if body.base_price is not None else cents


def _charges(body: PlanChange) -> tuple[PricedCharge, ...] | None:
    """Bring every way to price usage into one list, the listed charges first; None if the body has none of them."""
    if body.charges is None and body.included_usage is None and body.overage is None and body.usage_tiers is None:
        return None
    listed = [priced(charge, f"charges.{index}") for index, charge in enumerate(body.charges or ())]
    tiered = [_usage_tiers(item, f"usage_tiers.{index}") for index, item in enumerate(body.usage_tiers or ())]
    included = _included(body.included_usage or (), body.overage or ())
    both = {charge.metric_ref for charge in tiered} & {charge.metric_ref for charge in included}
    if both:
        raise invalid("usage_tiers", f"{min(map(str, both))} has included usage or overage too; put it into the tiers")
    return (*listed, *tiered, *included)


def _usage_tiers(item: UsageTiersBody, path: str) -> PricedCharge:
    check_bounds(item.tiers, f"{path}.tiers")
    supplied = {"metric_key": item.metric_key, "pricing_model": "tiered"}
    return PricedCharge(path, item.metric_key, Graduated(tiers=tuple(item.tiers)), None, supplied)


def _included(included: Sequence[IncludedBody], overage: Sequence[OverageBody]) -> list[PricedCharge]:
    """Pair each metric's included units with its overage price: units above an allowance are never free by omission."""
    allowances = {item.metric_key: (index, item.included_units) for index, item in enumerate(included)}
    prices = {item.metric_key: (index, item.unit_price) for index, item in enumerate(overage)}
    if len(allowances) < len(included) or len(prices) < len(overage):
        raise invalid("included_usage", "names a metric twice, here or in overage")
    for metric, (index, _) in allowances.items():
        if metric not in prices:
            raise invalid(
                f"included_usage.{index}", f"needs an entry in overage: the price of {metric} above the included"
            )
    charges = []
    for metric, (index, price) in prices.items():
        units = allowances[metric][1] if metric in allowances else Decimal(0)
        charges.append(included_charge(metric, units, price, f"overage.{index}"))
    return charges


def included_charge(metric_ref: str, units: Decimal, price: Decimal, path: str) -> PricedCharge:
    """Make the charge of included units and an overage price in major units (R8, B34)."""
    model = IncludedOverage(included=units, unit_price=price) if units else PerUnit(unit_price=price)
    supplied = {"metric_key": metric_ref, "pricing_model": "included_overage" if units else "per_unit"}
    return PricedCharge(path, metric_ref, model, None, supplied)


def with_charges(version: VersionDraft, charges: Sequence[ChargeDraft]) -> VersionDraft:
    """Return the version with its charges resolved."""
    return VersionDraft(**{**vars(version), "charges": tuple(charges)})
