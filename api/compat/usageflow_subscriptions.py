"""Subscriptions on UsageFlow's path: the organization, or one of its customers, on a plan (seed 003, B8, C9)."""

from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import Request, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres import resolver
from adapters.postgres.catalogue import plan_store
from adapters.postgres.customers import customer_store
from adapters.postgres.subscriptions import subscription_store
from adapters.postgres.subscriptions.subscription_store import Subscription, SubscriptionFilter
from adapters.postgres.tenancy import organization_store
from api.http.moments import AnyMoment
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, reply
from api.http.routing import resource_router
from api.subscriptions.subscription_actions import DeskDep, SubscriptionCommandContext
from api.subscriptions.subscription_shapes import NewSubscription, Reference, SubscriptionDocument
from api.subscriptions.subscriptions import subscribe
from models.problems import invalid, not_found

router = resource_router("UsageFlow", area="")

_CYCLES: Final = {
    "weekly": "weekly",
    "monthly": "monthly",
    "quarterly": "quarterly",
    "yearly": "yearly",
    "annual": "yearly",
    "annually": "yearly",
}


class UsageFlowSubscription(BaseModel):
    """Who subscribes to what; without a customer the organization itself pays."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"organizationId": "org-uuid", "planId": "plan_pro", "billingCycle": "MONTHLY"}]
        },
    )

    organization: Reference | None = Field(
        default=None, validation_alias=AliasChoices("organizationId", "organization_id")
    )
    customer: Reference | None = Field(default=None, validation_alias=AliasChoices("customerId", "customer_id"))
    plan: Reference = Field(validation_alias=AliasChoices("planId", "plan_id"))
    billing_cycle: Annotated[str, StringConstraints(max_length=32)] | None = Field(
        default=None, validation_alias=AliasChoices("billingCycle", "billing_cycle")
    )
    start_date: AnyMoment | None = Field(default=None, validation_alias=AliasChoices("startDate", "start_date"))


class UsageFlowSubscriptionDocument(SubscriptionDocument):
    """A subscription with UsageFlow's names beside the others; enums are upper case on this surface (conflicts C22)."""

    organization: UUID = Field(serialization_alias="organizationId")
    customer: str | None = Field(serialization_alias="customerId")
    plan: str = Field(serialization_alias="planId")
    version: int = Field(serialization_alias="planVersion")
    cycle: str = Field(serialization_alias="billingCycle")
    start: datetime = Field(serialization_alias="startDate")
    period_start: datetime | None = Field(serialization_alias="currentPeriodStart")
    period_end: datetime | None = Field(serialization_alias="currentPeriodEnd")
    created: datetime = Field(serialization_alias="createdAt")

    @classmethod
    def named(cls, shown: SubscriptionDocument, *, by_organization: bool) -> Self:
        """Add UsageFlow's names to a subscription; `by_organization` says that no customer pays for it."""
        return cls.showing(
            shown,
            status=shown.status.upper(),
            organization=shown.organization_id,
            customer=None if by_organization else shown.customer_id,
            plan=shown.plan_id,
            version=shown.plan_version,
            cycle=shown.interval.upper(),
            start=shown.start_date,
            period_start=shown.current_period_start,
            period_end=shown.current_period_end,
            created=shown.created_at,
        )


@router.post(
    "/subscriptions",
    status_code=201,
    response_model=UsageFlowSubscriptionDocument,
    operation_id="usageflow_create_subscription",
    summary="Subscribe the organization or a customer to a plan",
)
async def create_subscription(body: UsageFlowSubscription, desk: DeskDep) -> Response:
    """Subscribe to the plan's newest version; events of any customer without an own subscription count towards it."""
    await _must_match_the_plan(body, desk)
    payer = body.customer or await _organization(body.organization, desk)
    wanted = NewSubscription(customer_id=payer, plan_id=body.plan, start_date=body.start_date)
    made = await subscribe(wanted, desk)
    return created(UsageFlowSubscriptionDocument.named(made, by_organization=body.customer is None))


async def _organization(ref: str | None, desk: SubscriptionCommandContext) -> str:
    """Return the code of the hidden customer that stands for the caller's own organization (conflicts C9)."""
    scope = desk.caller.scope
    async with desk.caller.begin(desk.database) as tx:
        if ref is not None and ref != str(scope.organization_id):
            raise not_found("organization", ref)
        organization = await organization_store.get(tx.connection, scope.organization_id)
        payer = await customer_store.organization_customer(tx, organization.name)
    return str(payer.code)


async def _must_match_the_plan(body: UsageFlowSubscription, desk: SubscriptionCommandContext) -> None:
    """Refuse a cycle that the plan does not have, rather than bill by another one."""
    if body.billing_cycle is None:
        return
    cycle = _CYCLES.get(body.billing_cycle.lower())
    if cycle is None:
        raise invalid("billingCycle", f"must be one of {', '.join(name.upper() for name in _CYCLES)}")
    async with desk.database.transaction(desk.caller.scope) as connection:
        plan = await resolver.required(connection, desk.caller.project_id, resolver.PLAN, body.plan)
        version = await plan_store.current_version(connection, plan.id)
    if version.interval != cycle:
        raise invalid("billingCycle", f"the plan is billed {version.interval}", "billing_cycle_mismatch")


@router.get(
    "/subscriptions",
    response_model=list[UsageFlowSubscriptionDocument],
    responses=LISTED,
    operation_id="usageflow_list_subscriptions",
    summary="List subscriptions",
)
async def list_subscriptions(request: Request, desk: DeskDep, page: PageDep) -> Response:
    """List the project's subscriptions, newest first."""
    async with desk.database.transaction(desk.caller.scope) as connection:
        rows, total = await subscription_store.listed(connection, desk.caller.project_id, SubscriptionFilter(), page)
    return listed(page, [_shown(desk, row) for row in rows], total, request, last=rows[-1].id if rows else None)


@router.get(
    "/subscriptions/{subscription_id}",
    response_model=UsageFlowSubscriptionDocument,
    operation_id="usageflow_get_subscription",
    summary="Read a subscription",
)
async def get_subscription(subscription_id: str, desk: DeskDep) -> Response:
    """Read one subscription."""
    return reply(_shown(desk, await desk.find(subscription_id)))


def _shown(desk: SubscriptionCommandContext, row: Subscription) -> UsageFlowSubscriptionDocument:
    return UsageFlowSubscriptionDocument.named(desk.show(row), by_organization=row.pays_for_organization)
