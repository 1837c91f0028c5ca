"""Plans as all systems show them: the union of ABAXUS's, UsageBox's and BoxBilling's answers."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.catalogue.plan_store import PlanDetail, shown_charges
from adapters.postgres.resolver import Found
from api.catalogue.boxbilling_charge_shapes import charge_model_of
from api.http.fields import ExactNumber
from billing.charges import CHARGE_MODEL, ChargeModel
from billing.money import to_minor
from models.identifiers import shown_id


class ChargeAnswer(BaseModel):
    """A charge; further fields are those of its pricing model, as in the request."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=["chg_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    plan_id: str
    billable_metric_id: str | None
    metric_key: str | None
    pricing_model: str = Field(examples=["tiered"])
    charge_model: str = Field(examples=["graduated"])
    properties: dict[str, Any]
    filters: list[dict[str, Any]]
    group_by: list[str] = Field(examples=[["region"]])
    description: str | None
    created_at: str
    updated_at: str


class PlanAnswer(BaseModel):
    """A plan with one of its versions."""

    id: str = Field(examples=["plan_growth"])
    uuid: UUID
    code: str
    version: int
    name: str
    description: str | None
    status: Literal["active", "archived"]
    currency: str = Field(examples=["usd"])
    billing_period: str = Field(examples=["monthly"])
    billing_cadence: str
    interval: str
    base_price: ExactNumber = Field(description="Each period's base fee, in major units.")
    amount_cents: int = Field(description="The same in minor units.")
    trial_period_days: int
    product_id: str | None
    charges: list[ChargeAnswer]
    entitlements: dict[str, Any]
    created_at: str
    updated_at: str


def shown_plan(found: PlanDetail) -> dict[str, Any]:
    """Show a plan with one version; the base fee is `base_price`, not a charge."""
    plan = found.plan
    return {
        "id": plan.code,
        "uuid": plan.id,
        "code": plan.code,
        "version": plan.version,
        "name": plan.name,
        "description": plan.description,
        "status": plan.status,
        "currency": plan.currency,
        "billing_period": plan.interval,
        "billing_cadence": plan.interval,
        "interval": plan.interval,
        "base_price": plan.base_amount,
        "amount_cents": to_minor(plan.base_amount, plan.currency),
        "trial_period_days": plan.trial_period_days,
        "product_id": None if plan.product_id is None else shown_id("product", plan.product_id),
        "charges": [shown_charge(row, plan.code) for row in shown_charges(found)],
        "entitlements": found.entitlements,
        "created_at": plan.created_at,
        "updated_at": plan.updated_at,
    }


def shown_version(found: PlanDetail) -> dict[str, Any]:
    """Show one version of a plan, with the instant at which it was made."""
    return {
        **shown_plan(found),
        "current": found.plan.version == found.plan.current_version,
        "version_uuid": found.plan.version_id,
        "created_at": found.plan.version_created_at,
    }


def shown_charge(row: Found, plan_id: str) -> dict[str, Any]:
    """Show a charge in both forms: ABAXUS's fields, and BoxBilling's model with its properties as they were sent."""
    model: ChargeModel = CHARGE_MODEL.validate_python(row.model)
    name, properties = charge_model_of(model)
    return {
        **abaxus_fields(model),
        "id": shown_id("charge", row.id),
        "uuid": row.id,
        "plan_id": plan_id,
        "billable_metric_id": None if row.metric_id is None else shown_id("metric", row.metric_id),
        "metric_key": row.metric_key,
        "charge_model": row.supplied.get("charge_model") or name,
        "properties": row.supplied.get("properties") or properties,
        "filters": [_shown_filter(item, priced_abaxus="pricing_model" in row.supplied) for item in row.filters],
        "group_by": list(row.group_by),
        "description": row.description,
        "created_at": row.created_at,
        "updated_at": row.created_at,
    }


def _shown_filter(item: dict[str, Any], *, priced_abaxus: bool) -> dict[str, Any]:
    """Show a filter: BoxBilling's fields name its first property, `match` has them all; its price as it was sent."""
    first, model = item["matches"][0], CHARGE_MODEL.validate_python(item["model"])
    prices = {name: value for name, value in abaxus_fields(model).items() if name != "pricing_model"}
    return {
        **(prices if priced_abaxus else {}),
        "billable_metric_filter_id": shown_id("metric_filter", UUID(first["metric_filter_id"])),
        "key": first["key"],
        "values": first["values"],
        "match": {match["key"]: match["values"] for match in item["matches"]},
        "properties": item["supplied"].get("properties") or charge_model_of(model)[1],
        "invoice_display_name": item["name"],
    }


def abaxus_fields(model: ChargeModel) -> dict[str, Any]:
    """Return ABAXUS's `pricing_model` of any charge model and the fields that it has; prices in major units."""
    found = {shown: getattr(model, name) for name, shown in model.plan_fields().items()}
    given = {shown: _plain(value) for shown, value in found.items() if value is not None}
    return {"pricing_model": model.pricing_name(), **given}


def _plain(value: Any) -> Any:
    return [item.model_dump() for item in value] if isinstance(value, tuple) else value
