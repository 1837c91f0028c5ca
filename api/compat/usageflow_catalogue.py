"""UsageFlow's catalogue: metrics and plans in camelCase, statuses and cycles in upper case (seed 003, C6, C22)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.catalogue import metric_store, plan_store, plan_write_store
from adapters.postgres.journal import changing
from adapters.postgres.resolver import PLAN, required
from adapters.postgres.resources import Metric
from api.catalogue.metric_shapes import MetricAnswer, MetricBody, new_columns
from api.catalogue.plan_drafts import resolve_charges
from api.catalogue.plan_responses import shown_plan
from api.catalogue.plan_shapes import PlanBody, included_charge, new_plan, with_charges
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import AnyCase, ClientId, Currency, Name, Prose, Ref
from api.http.pagination import LISTED, PageDep, listed, listed_as
from api.http.responses import created
from api.http.routing import resource_router
from billing.numbers import FixedPrice, NonNegative, UnitPrice
from billing.period import Interval
from models.problems import conflict

router = resource_router("UsageFlow", area="")


class UsageFlowMetric(BaseModel):
    """A metric; it sums the events' amounts."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"name": "API Calls", "key": "API_CALL", "unit": "calls"}]}
    )

    name: Name
    key: ClientId
    unit: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    description: Prose | None = None


class UsageFlowPlan(BaseModel):
    """A plan: a price for each billing cycle, in major units; metrics are attached to it afterwards."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"name": "Pro", "basePrice": 100, "billingCycle": "MONTHLY", "currency": "usd"}]
        },
    )

    name: Name
    base_price: FixedPrice = Field(alias="basePrice")
    billing_cycle: Annotated[Interval, AnyCase] = Field(default="monthly", alias="billingCycle")
    currency: Currency | None = None
    description: Prose | None = None


class AttachedMetric(BaseModel):
    """Units of a metric that the plan includes, and the price of each unit above them, in major units (B34)."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"metric": "API_CALL", "includedUnits": 10000, "overagePrice": "0.01"}]},
    )

    metric: Ref
    included_units: NonNegative = Field(alias="includedUnits")
    overage_price: UnitPrice = Field(alias="overagePrice")


class _Metric(MetricAnswer):
    made_at: datetime = Field(serialization_alias="createdAt")
    changed_at: datetime = Field(serialization_alias="updatedAt")

    @classmethod
    def of(cls, metric: Metric) -> Self:
        shown, at = MetricAnswer.of(metric), {"made_at": metric.created_at, "changed_at": metric.updated_at}
        return cls.showing(shown, status=metric.status.upper(), **at)


def _plan(found: plan_store.PlanDetail) -> dict[str, Any]:
    shown, plan = shown_plan(found), found.plan
    return {
        **shown,
        "status": plan.status.upper(),
        "basePrice": plan.base_amount,
        "billingCycle": plan.interval.upper(),
        "metrics": [_attached(charge) for charge in shown["charges"] if charge["metric_key"] is not None],
        "createdAt": plan.created_at,
        "updatedAt": plan.updated_at,
    }


def _attached(charge: dict[str, Any]) -> dict[str, Any]:
    return {
        "metric": charge["metric_key"],
        "includedUnits": charge.get("included_units", Decimal(0)),
        "overagePrice": charge.get("overage_unit_price", charge.get("unit_price")),
    }


@router.post("/metrics", status_code=201, operation_id="usageflow_create_metric", summary="Create metric")
async def create_metric(body: UsageFlowMetric, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a metric; 409 for a key in use."""
    columns = new_columns(MetricBody.model_validate(body.model_dump(exclude_none=True)))
    async with caller.begin(database) as tx:
        row = await changing.create(tx, metric_store.RESOURCE, columns)
    return created(_Metric.of(row))


@router.get("/metrics", responses=LISTED, operation_id="usageflow_list_metrics", summary="List metrics")
async def list_metrics(request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep) -> Response:
    """List metrics, newest first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await metric_store.listed(connection, caller.project_id, page, {})
    return listed_as(_Metric.of, page, rows, total, request)


@router.post("/plans", status_code=201, operation_id="usageflow_create_plan", summary="Create plan")
async def create_plan(body: UsageFlowPlan, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a plan with a base price (B34)."""
    given = {
        "name": body.name,
        "description": body.description,
        "currency": body.currency,
        "billing_period": body.billing_cycle,
        "base_price": body.base_price,
    }
    plan = new_plan(PlanBody.model_validate({name: value for name, value in given.items() if value is not None}))
    async with caller.begin(database) as tx:
        found = await plan_write_store.create(tx, plan.version, code=None)
    return created(_plan(found))


@router.get("/plans", responses=LISTED, operation_id="usageflow_list_plans", summary="List plans")
async def list_plans(request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep) -> Response:
    """List plans with their current versions, newest first."""
    async with database.transaction(caller.scope) as connection:
        found, total = await plan_store.listed(connection, caller.project_id, page)
    return listed(page, [_plan(plan) for plan in found], total, request, last=found[-1].plan.id if found else None)


@router.post(
    "/plans/{plan_id}/metrics", status_code=201, operation_id="usageflow_attach_metric", summary="Attach metric to plan"
)
async def attach_metric(plan_id: Ref, body: AttachedMetric, caller: CallerDep, database: DatabaseDep) -> Response:
    """Add a charge to the plan, which makes its next version; 409 if the plan charges on the metric already (B35)."""
    async with caller.begin(database) as tx:
        row = await required(tx.connection, caller.project_id, PLAN, plan_id)
        current = await plan_write_store.locked(tx.connection, row)
        before = plan_write_store.draft_of(current)
        priced = included_charge(body.metric, body.included_units, body.overage_price, "metric")
        (charge,) = await resolve_charges(tx.connection, caller.project_id, (priced,))
        if any(existing.metric_id == charge.metric_id for existing in before.charges):
            raise conflict("metric_already_attached", f"This plan charges on {body.metric!r} already.")
        found = await plan_write_store.change(
            tx,
            current,
            draft=with_charges(before, (*before.charges, charge)),
            plan_values={},
        )
    return created({**_attachment(body, found), "plan": _plan(found)})


def _attachment(body: AttachedMetric, found: plan_store.PlanDetail) -> dict[str, Any]:
    names = {"plan_id": found.plan.code, "planId": found.plan.code, "metric": body.metric}
    units = {"included_units": body.included_units, "includedUnits": body.included_units}
    prices = {"overage_unit_price": body.overage_price, "overagePrice": body.overage_price}
    return {**names, **units, **prices, "version": found.plan.version}
