"""What can be asked about a subscription: its next bill, its story, its entitlements, and what another plan would cost.

Nothing here changes anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Path, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from adapters.postgres import resolver
from adapters.postgres.catalogue import entitlement_store, plan_store
from adapters.postgres.customers import clock_store
from adapters.postgres.journal import audit_store
from adapters.postgres.journal.audit_store import AuditEntry
from adapters.postgres.rows import Row
from adapters.postgres.subscriptions.subscription_store import Subscription
from api.catalogue.entitlement_shapes import EntitlementAnswer
from api.http.moments import InstantField
from api.http.responses import reply
from api.http.routing import resource_router
from api.subscriptions.subscription_actions import DeskDep, SubscriptionCommandContext
from api.subscriptions.subscription_shapes import Reference
from billing.money import to_minor
from billing.numbers import exact, plain
from billing.period import BillingCycle, Period, zone
from billing.proration import fraction_by_day, prorated
from models.problems import conflict, invalid

router = resource_router("subscriptions")

_STATUS_ACTIONS: Final = {
    "activated": "active",
    "trial_ended": "active",
    "paused": "paused",
    "resumed": "active",
    "suspended": "suspended",
    "reinstated": "active",
    "cancel_scheduled": "canceled",
    "canceled": "canceled",
    "terminated": "terminated",
}


class NextBilling(BaseModel):
    """When the running period ends and is billed."""

    next_billing_date: datetime
    current_period_started_at: datetime
    interval: str
    days_until_next_billing: int


class LifecycleEvent(BaseModel):
    """One thing that happened to a subscription."""

    timestamp: datetime
    event_type: str = Field(examples=["status_change"])
    title: str
    description: str | None
    status: str | None
    resource_id: str
    resource_type: str
    metadata: dict[str, str]


class Lifecycle(BaseModel):
    """The story of a subscription, oldest first."""

    events: list[LifecycleEvent]


class PlanChangeQuestion(BaseModel):
    """Which plan to compare with, and from when."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"new_plan_id": "plan_pro"}]})

    new_plan_id: Reference = Field(validation_alias=AliasChoices("new_plan_id", "plan_id"))
    effective_date: InstantField | None = Field(default=None, description="Now in the subscription's time by default.")


class PlanSummary(BaseModel):
    """A plan and its flat price, in minor units."""

    id: UUID
    name: str
    code: str
    interval: str
    amount_cents: int
    currency: str


class ProrationDetail(BaseModel):
    """What the rest of the period costs under both plans, in minor units."""

    days_remaining: int
    total_days: int
    current_plan_credit_cents: int
    new_plan_charge_cents: int
    net_amount_cents: int


class PlanChangePreview(BaseModel):
    """What a plan change would do; nothing is changed."""

    current_plan: PlanSummary
    new_plan: PlanSummary
    effective_date: datetime
    proration: ProrationDetail


@dataclass(frozen=True)
class PricedPlan:
    """A plan version and all its fixed fees, in major units."""

    version: Row[Any]
    fee: Decimal

    @property
    def currency(self) -> str:
        """The currency of its prices."""
        return str(self.version.currency)

    def summary(self) -> PlanSummary:
        """Show it."""
        return PlanSummary(
            id=self.version.id,
            name=self.version.name,
            code=self.version.code,
            interval=self.version.interval,
            amount_cents=to_minor(self.fee, self.currency),
            currency=self.currency,
        )


async def _priced(desk: SubscriptionCommandContext, version: Row[Any]) -> PricedPlan:
    async with desk.database.transaction(desk.caller.scope) as connection:
        charges = await plan_store.charges_of_version(connection, version.version_id)
    with exact():
        fee = sum((charge.model.period_fee for charge in charges), Decimal(0))
    return PricedPlan(version, fee)


async def _now(desk: SubscriptionCommandContext, row: Subscription) -> datetime:
    async with desk.database.transaction(desk.caller.scope) as connection:
        return await clock_store.now(connection, row.test_clock_id)


def _cycle(row: Subscription) -> BillingCycle:
    return BillingCycle(interval=row.interval, anchor=row.anchor, timezone=row.timezone, alignment=row.alignment)


def _current(row: Subscription, at: datetime) -> Period:
    """Return the billing period that holds an instant; before the start, the first one."""
    cycle = _cycle(row)
    return cycle.period_containing(max(at, cycle.anchor))


def _must_not_be_over(row: Subscription) -> None:
    if row.ended_at is not None:
        raise conflict("subscription_ended", f"The subscription is {row.status}; nothing will be billed again.")


@router.get(
    "/subscriptions/{subscription_id}/next_billing_date",
    response_model=NextBilling,
    operation_id="next_billing_date",
    summary="When the next period bill is due",
)
async def next_billing_date(subscription_id: str, desk: DeskDep) -> Response:
    """Return the end of the running period, in the subscription's time (B90); the first one's before the start.

    409 `subscription_ended` for one that has ended.
    """
    row = await desk.find(subscription_id)
    _must_not_be_over(row)
    now = await _now(desk, row)
    period = _current(row, now)
    answer = NextBilling(
        next_billing_date=period.end,
        current_period_started_at=period.start,
        interval=row.interval,
        days_until_next_billing=_days(Period(start=min(now, period.end), end=period.end), row.timezone),
    )
    return reply(answer)


@router.get(
    "/subscriptions/{subscription_id}/lifecycle",
    response_model=Lifecycle,
    operation_id="subscription_lifecycle",
    summary="The story of a subscription",
)
async def lifecycle(subscription_id: str, desk: DeskDep) -> Response:
    """List what happened to a subscription in order: a view of the audit log (conflicts C31, B87)."""
    row = await desk.find(subscription_id)
    async with desk.database.transaction(desk.caller.scope) as connection:
        entries = await audit_store.history_of(connection, "subscription", row.id)
    return reply(Lifecycle(events=[_event(entry, desk.show(row).id) for entry in entries]))


def _event(entry: AuditEntry, shown_id: str) -> LifecycleEvent:
    status = _STATUS_ACTIONS.get(entry.action)
    old_and_new = entry.changes.get("status")
    moved = f"{old_and_new['old']} to {old_and_new['new']}" if isinstance(old_and_new, Mapping) else None
    return LifecycleEvent(
        timestamp=entry.occurred_at,
        event_type="status_change" if status else "subscription",
        title=entry.title or entry.action.replace("_", " ").capitalize(),
        description=moved,
        status=status or entry.data.get("status"),
        resource_id=shown_id,
        resource_type="subscription",
        metadata={"action": entry.action, **{name: _text(value) for name, value in entry.data.items()}},
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if isinstance(value, Decimal) else str(value)


@router.post(
    "/subscriptions/{subscription_id}/change_plan_preview",
    response_model=PlanChangePreview,
    operation_id="preview_plan_change",
    summary="What moving to another plan would cost",
)
async def change_plan_preview(subscription_id: str, body: PlanChangeQuestion, desk: DeskDep) -> Response:
    """Compare two plans for the rest of the period, by calendar days; nothing is changed (B88, R14, R15).

    Another version of the subscription's own plan begins with the next period, and moves nothing before.

    3000 to 9000 with 20 of 30 days left: credit 2000, charge 6000, net 4000. Each part is rounded by itself.
    """
    row = await desk.find(subscription_id)
    _must_not_be_over(row)
    async with desk.database.transaction(desk.caller.scope) as connection:
        other = await resolver.required(connection, desk.caller.project_id, resolver.PLAN, body.new_plan_id)
        newest = await plan_store.current_version(connection, other.id)
        pinned = await plan_store.version(connection, row.plan_version_id)
    current, new = await _priced(desk, pinned), await _priced(desk, newest)
    if new.currency.lower() != current.currency.lower():
        raise invalid("new_plan_id", "is priced in another currency", "currency_mismatch")
    at = body.effective_date or await _now(desk, row)
    full = _cycle(row).full_period_containing(max(at, _cycle(row).anchor))
    if other.id == row.plan_id:
        # Another version of the subscription's own plan waits for the next period and moves no money (R25).
        at = full.end
    answer = PlanChangePreview(
        current_plan=current.summary(),
        new_plan=new.summary(),
        effective_date=at,
        proration=_proration(current, new, Period(start=max(at, full.start), end=full.end), full, row.timezone),
    )
    return reply(answer)


def _proration(current: PricedPlan, new: PricedPlan, rest: Period, full: Period, timezone: str) -> ProrationDetail:
    share = fraction_by_day(rest, full, timezone)
    credit = to_minor(prorated(current.fee, share), current.currency)
    charge = to_minor(prorated(new.fee, share), new.currency)
    return ProrationDetail(
        days_remaining=_days(rest, timezone),
        total_days=_days(full, timezone),
        current_plan_credit_cents=credit,
        new_plan_charge_cents=charge,
        net_amount_cents=charge - credit,
    )


def _days(period: Period, timezone: str) -> int:
    """Count calendar days of a zone, half-open (R14)."""
    local = zone(timezone)
    return (period.end.astimezone(local).date() - period.start.astimezone(local).date()).days


@router.get(
    "/subscriptions/{external_id}/entitlements",
    response_model=list[EntitlementAnswer],
    operation_id="subscription_entitlements",
    summary="What the subscription's plan entitles to",
)
async def entitlements(
    external_id: Annotated[str, Path(description="Any name of the subscription.")], desk: DeskDep
) -> Response:
    """List what the plan grants, by the features' codes (B39, conflicts C27); all versions grant the same."""
    row = await desk.find(external_id)
    async with desk.database.transaction(desk.caller.scope) as connection:
        found = await entitlement_store.of_plan(connection, row.plan_id)
    return reply([EntitlementAnswer.of(granted) for granted in found], headers={"X-Total-Count": str(len(found))})
