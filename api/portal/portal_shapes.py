"""What a customer sees and may change at the portal, in BoxBilling's shapes (seed 004, B171)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres.catalogue.plan_store import PlanDetail
from adapters.postgres.customers.customer_store import BillingEntityTerms
from adapters.postgres.resources import Customer
from adapters.postgres.subscriptions.subscription_store import Subscription
from adapters.postgres.tenancy.organization_store import Organization
from api.customers.customer_shapes import CustomerAnswer
from api.http.answers import Answer
from api.http.fields import Email, ExactNumber, Name, Ref, TimeZoneName
from api.subscriptions.subscription_shapes import shown_status
from billing.charges import Charge
from billing.money import to_minor
from billing.numbers import exact
from models.identifiers import shown_id

#: A draft is the seller's own business until it is issued.
VISIBLE_STATUSES: Final = ("issued", "overdue", "failed", "paid", "voided")
#: The portal knows five statuses: a trial is an active subscription, one that is held back a paused one.
_STATUS: Final = {"trialing": "active", "suspended": "paused"}


class PortalTokenRequest(BaseModel):
    """For whom a portal token is wanted, and for how long."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"customer_id": "cust_acme"}]})

    customer_id: Ref = Field(description="The customer, by any of its names.")
    expires_in: Annotated[int, Field(ge=60, le=43_200)] | None = Field(
        default=None, description="Seconds; 12 hours by default and at most.", examples=[3600]
    )


class PortalTokenAnswer(Answer):
    """A token that opens the portal for one customer, and nothing else."""

    token: str
    expires_at: datetime
    portal_url: str


class PortalUrlAnswer(Answer):
    """An address to send a customer to; it carries a token that expires."""

    portal_url: str = Field(examples=["https://billing.example.com/portal?token=eyJ..."])


class PortalProfileUpdate(BaseModel):
    """What a customer may change; fields that are not sent stay."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"email": "accounts@acme.io"}]})

    name: Name | None = None
    email: Email | None = None
    timezone: Annotated[TimeZoneName, StringConstraints(max_length=50)] | None = None


class PortalCustomer(Answer):
    """The customer's own profile."""

    id: str
    uuid: UUID
    external_id: str
    name: str
    email: str | None
    currency: str
    timezone: str
    billing_metadata: dict[str, Any]
    invoice_grace_period: int
    net_payment_term: int
    billing_entity_id: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Customer, by: BillingEntityTerms) -> Self:
        """Show a customer to itself: without what only the seller and its payment provider need."""
        return cls.showing(CustomerAnswer.of(row, by))


class PortalBranding(Answer):
    """Who sends the bills, and how the portal looks."""

    name: str
    logo_url: str | None
    accent_color: str | None
    welcome_message: str | None

    @classmethod
    def of(cls, organization: Organization) -> Self:
        """Show who sends the bills."""
        return cls.showing(
            organization,
            accent_color=organization.portal_accent_color,
            welcome_message=organization.portal_welcome_message,
        )


class PortalPlanSummary(Answer):
    """A subscription's plan with its fixed fees of a period, in minor units."""

    id: UUID
    name: str
    code: str
    interval: str
    amount_cents: int
    currency: str


class PortalSubscription(Answer):
    """A subscription of the customer."""

    id: str
    uuid: UUID
    external_id: str
    status: str = Field(description="pending, active, paused, canceled or terminated")
    started_at: datetime | None
    canceled_at: datetime | None
    paused_at: datetime | None
    downgraded_at: datetime | None
    created_at: datetime
    plan: PortalPlanSummary
    pending_downgrade_plan: PortalPlanSummary | None

    @classmethod
    def of(cls, row: Subscription, fee_minor: int) -> Self:
        """Show a subscription with the fixed fees of its pinned plan version in minor units."""
        shown, status = shown_id("subscription", row.id), shown_status(row)
        plan = PortalPlanSummary(
            id=row.plan_id,
            name=row.plan_name,
            code=row.plan_code,
            interval=row.interval,
            amount_cents=fee_minor,
            currency=row.plan_currency,
        )
        return cls.showing(
            row,
            id=shown,
            uuid=row.id,
            external_id=row.external_id or shown,
            status=_STATUS.get(status, status),
            started_at=row.activated_at,
            downgraded_at=None,
            plan=plan,
            pending_downgrade_plan=None,
        )


class PortalPlan(Answer):
    """A plan that may be chosen; `amount_cents` are its fixed fees of a period."""

    id: str
    uuid: UUID
    name: str
    code: str
    description: str | None
    interval: str
    amount_cents: int
    currency: str

    @classmethod
    def of(cls, found: PlanDetail, charges: Sequence[Charge]) -> Self:
        """Show a plan that a customer may choose."""
        plan = found.plan
        fees = to_minor(fixed_fees(charges), plan.currency)
        return cls.showing(plan, id=plan.code, uuid=plan.id, amount_cents=fees)


class PortalNextBilling(Answer):
    """When a subscription's running period is billed; `amount_cents` are its fixed fees."""

    subscription_id: str
    subscription_external_id: str
    plan_name: str
    currency: str
    plan_interval: str
    next_billing_date: datetime
    days_until_next_billing: int
    amount_cents: int


class PortalUpcomingCharge(Answer):
    """What a subscription's next bill comes to with the usage so far, in minor units."""

    subscription_id: str
    subscription_external_id: str
    plan_name: str
    currency: str
    base_amount_cents: int
    usage_amount_cents: int
    total_estimated_cents: int


class PortalUsageProgress(Answer):
    """A limit of a plan, beside the usage of the metric that has the feature's code."""

    feature_name: str
    feature_code: str
    feature_type: str
    entitlement_value: str
    current_usage: str | None
    usage_percentage: ExactNumber | None


class PortalQuickActions(Answer):
    """What may want doing; amounts are minor units of `currency`."""

    outstanding_invoice_count: int
    outstanding_amount_cents: int
    has_wallet: bool
    wallet_balance_cents: int
    has_active_subscription: bool
    currency: str


class PortalDashboardSummary(Answer):
    """The portal's first page."""

    next_billing: list[PortalNextBilling]
    upcoming_charges: list[PortalUpcomingCharge]
    usage_progress: list[PortalUsageProgress]
    quick_actions: PortalQuickActions


def fixed_fees(charges: Sequence[Charge]) -> Decimal:
    """Add up what a period costs without any usage, in major units."""
    with exact():
        return sum((charge.model.period_fee for charge in charges), Decimal(0))
