"""Subscriptions at the API's edge: the bodies of ABAXUS, UsageBox and BoxBilling as one, and the union of the answers.

A reference is echoed in the form the client supplied, uuids stand beside it (conflicts C4); a period's end is shown
inclusively, one second earlier (C24); a subscription that will be canceled at its period's end is shown as canceled at
once (C23).
"""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from adapters.postgres.subscriptions.subscription_store import Subscription
from api.http.answers import Answer
from api.http.fields import ClientId, RefusingBody, Unbuilt
from api.http.moments import AnyMoment, Moment, read_moment
from billing.period import Alignment, TimeZone, inclusive_end
from models.identifiers import shown_id, subscription_workflow_id
from models.problems import invalid

Reference = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Document = Annotated[dict[str, Any], Field(max_length=100)]


def _no_credit_note(value: Any) -> Any:
    if value == "generate_credit_note":
        raise ValueError("no credit note is made at an end yet; send generate_invoice or skip")
    return value


TerminationAction = Annotated[Literal["generate_invoice", "skip"], BeforeValidator(_no_credit_note)]
TrialDays = Annotated[int, Field(ge=0, le=3650)]

#: Words that are routes beside `/subscriptions/{id}` (conflicts C37).
RESERVED_IDS: Final = frozenset({"bulk_pause", "bulk_resume", "bulk_terminate"})


class Trial(BaseModel):
    """UsageBox's trial: a number of days, or its end."""

    model_config = ConfigDict(extra="ignore")

    days: TrialDays | None = Field(
        default=None, validation_alias=AliasChoices("days", "trial_days", "period_days", "trial_period_days")
    )
    ends_at: AnyMoment | None = Field(
        default=None, validation_alias=AliasChoices("ends_at", "end_date", "end", "trial_ends_at")
    )


_UNBUILT: Final = {
    "pay_in_advance": Unbuilt("fees are billed at the end of their period; leave it out"),
    "quantity": Unbuilt("a subscription is one; subscribe again, or charge a metric by its quantity", neutral=1),
    "plan_overrides": Unbuilt("a subscription has its plan's prices; make another plan, or another version"),
}


class NewSubscription(RefusingBody):
    """Any of the bodies that create a subscription; fields of other systems are ignored."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {"customer_id": "cust_acme", "plan_id": "plan_growth", "start_date": "2026-04-01T00:00:00Z"},
                {
                    "customer_id": "cust_456",
                    "plan_id": "plan_usage_plus",
                    "starts_at": "2024-05-01",
                    "external_reference": "crm-789",
                },
                {
                    "external_id": "sub-acme-1",
                    "customer_id": "0199f0c2-9d5c-7c11-8f3e-2f6f6f1f8a01",
                    "plan_id": "0199f0c2-9d5c-7c11-8f3e-2f6f6f1f8a02",
                    "started_at": "2026-04-01T00:00:00Z",
                    "billing_time": "calendar",
                },
            ]
        },
    )

    customer_id: Reference = Field(description="The customer, by any of its names.")
    plan_id: Reference = Field(description="The plan, by any of its names; its newest version is pinned.")
    external_id: ClientId | None = Field(default=None, description="BoxBilling: your id, unique in the project.")
    external_reference: Reference | None = Field(default=None, description="UsageBox: a reference, need not be unique.")
    start_date: AnyMoment | None = Field(default=None, description="ABAXUS: when it starts; now without any start.")
    starts_at: AnyMoment | None = Field(default=None, description="UsageBox: the day it starts.")
    started_at: AnyMoment | None = Field(default=None, description="BoxBilling: when it started.")
    subscription_at: AnyMoment | None = Field(default=None, description="BoxBilling: when it will start.")
    ending_at: AnyMoment | None = Field(
        default=None,
        validation_alias=AliasChoices("ending_at", "end_date", "ends_at"),
        description="When it ends by itself, exclusive.",
    )
    billing_time: Alignment | None = Field(
        default=None, description="Whole calendar periods, or periods from the start; BoxBilling's default is calendar."
    )
    trial_period_days: TrialDays | None = Field(default=None, description="Days of trial; the plan's if not given.")
    trial_ends_at: AnyMoment | None = None
    trial: Trial | None = None
    contract: Document | None = Field(default=None, description="Your own contract terms, kept.")
    on_termination_action: TerminationAction = "generate_invoice"
    backdate_billing: Literal["on_demand", "automatic"] = Field(
        default="on_demand", description="Whether periods that ended before now are billed at once, or when asked for."
    )
    timezone: TimeZone | None = Field(default=None, description="Billing time zone; else the customer's.")
    metadata: Document = Field(default_factory=dict)

    @property
    def start(self) -> Moment | None:
        """The start in whatever field it came."""
        return self.started_at or self.start_date or self.starts_at or self.subscription_at

    @property
    def end(self) -> Moment | None:
        """The planned end."""
        return self.ending_at

    @property
    def alignment(self) -> Alignment:
        """The alignment: as asked, else calendar for BoxBilling's bodies and anniversary for all others (C24)."""
        return self.billing_time or ("calendar" if self.external_id is not None else "anniversary")

    @property
    def trial_days(self) -> int | None:
        """The days of trial that the body asks for."""
        return self.trial_period_days if self.trial is None or self.trial.days is None else self.trial.days

    @property
    def trial_end(self) -> Moment | None:
        """The end of the trial that the body asks for."""
        return self.trial_ends_at or (self.trial.ends_at if self.trial else None)


class SubscriptionChange(RefusingBody):
    """PATCH and PUT: what is given changes, the rest stays (conflicts C18)."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"status": "paused"}]})

    status: str | None = Field(
        default=None, max_length=32, description="active, paused, suspended, canceled or terminated"
    )
    action: str | None = Field(
        default=None, max_length=32, description="pause, resume, suspend, reinstate, activate, cancel or terminate"
    )
    plan_id: Reference | None = Field(default=None, description="The subscription's plan: moves to its newest version.")
    external_reference: Reference | None = None
    on_termination_action: TerminationAction | None = None
    contract: Document | None = None
    metadata: Document | None = None
    # Decided when the subscription is created, or by commands; only the present values are accepted.
    billing_time: Alignment | None = None
    trial_period_days: TrialDays | None = None
    trial_ends_at: AnyMoment | None = None
    trial_ended_at: AnyMoment | None = None
    subscription_at: AnyMoment | None = None
    ending_at: AnyMoment | None = None
    canceled_at: AnyMoment | None = None
    downgraded_at: AnyMoment | None = None
    previous_plan_id: UUID | None = None


class CollectionChange(SubscriptionChange):
    """PATCH of the collection: the same with the subscription's id in the body (conflicts C18)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "sub_01jbq4m8d0e7s9t5v2x3y4z5a6", "status": "paused"}]}
    )

    id: Reference | None = None


class SubscriptionDocument(Answer):
    """A subscription as every surface shows it: ABAXUS's and UsageBox's fields, then BoxBilling's."""

    id: str = Field(examples=["sub_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    uuid: UUID
    external_id: str
    external_reference: str | None
    customer_id: str
    customer_uuid: UUID
    organization_id: UUID
    plan_id: str
    plan_uuid: UUID
    plan_code: str
    plan_version: int
    status: str = Field(examples=["active"])
    start_date: datetime
    starts_at: str | datetime
    trial_ends_at: datetime | None
    contract: dict[str, Any] | None
    current_period_start: datetime | None
    current_period_end: datetime | None = Field(description="Inclusive: the period's last second.")
    interval: str
    currency: str
    timezone: str
    ingest_key: str
    workflow_id: str = Field(description="Of the one workflow of this subscription, in the Temporal UI.")
    test_clock_id: str | None
    metadata: dict[str, Any]
    needs_attention: str | None
    billing_time: str
    trial_period_days: int
    trial_ended_at: datetime | None
    subscription_at: datetime | None
    pay_in_advance: bool
    previous_plan_id: UUID | None
    downgraded_at: datetime | None
    on_termination_action: str
    started_at: datetime | None
    ending_at: datetime | None
    canceled_at: datetime | None
    paused_at: datetime | None
    resumed_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Subscription, organization_id: UUID) -> Self:
        """Show a subscription."""
        shown, end = shown_id("subscription", row.id), row.current_period_end
        trial_is_over = row.trial_ends_at is not None and row.status not in ("pending", "trialing")
        return cls.showing(
            row,
            id=shown,
            uuid=row.id,
            external_id=row.external_id or shown,
            customer_id=row.customer_supplied or row.customer_code,
            customer_uuid=row.customer_id,
            organization_id=organization_id,
            plan_id=row.plan_supplied or row.plan_code,
            plan_uuid=row.plan_id,
            status=shown_status(row),
            start_date=row.starts_at,
            starts_at=shown_start(row),
            current_period_end=inclusive_end(end) if end else None,
            currency=row.plan_currency,
            ingest_key=f"sub.{shown.rpartition('_')[2]}",
            workflow_id=subscription_workflow_id(row.project_id, row.id),
            test_clock_id=shown_id("test_clock", row.test_clock_id) if row.test_clock_id else None,
            billing_time=row.alignment,
            trial_ended_at=row.trial_ends_at if trial_is_over else None,
            subscription_at=row.starts_at if row.starts_at_supplied else None,
            downgraded_at=None,
            started_at=row.activated_at,
            ending_at=row.ended_at or row.cancel_at,
        )


def refuse_fixed_terms(change: SubscriptionChange, row: Subscription) -> None:
    """Refuse to change what periods were computed from, and what only commands set. Raises `Problem` 422.

    The present values are accepted, so that a client may send back what it read.
    """
    present = (
        ("billing_time", row.alignment),
        ("trial_period_days", row.trial_period_days),
        ("trial_ends_at", row.trial_ends_at),
        ("trial_ended_at", row.trial_ends_at),
        ("subscription_at", row.starts_at),
        ("ending_at", row.ended_at or row.cancel_at),
        ("canceled_at", row.canceled_at),
        ("downgraded_at", None),
        ("previous_plan_id", row.previous_plan_id),
    )
    for name, value in present:
        wanted = getattr(change, name)
        if isinstance(wanted, Moment):
            wanted = wanted.instant(row.timezone)
        # Answers show whole seconds.
        if wanted is not None and _in_seconds(wanted) != _in_seconds(value):
            raise invalid(name, "is decided when the subscription is created, or by commands", "not_changeable")


def _in_seconds(value: Any) -> Any:
    return value.replace(microsecond=0) if isinstance(value, datetime) else value


def shown_status(row: Subscription) -> str:
    """Return the status that clients see: canceled as soon as the end is decided (C23)."""
    return "canceled" if row.canceled_at is not None and row.status != "terminated" else row.status


def shown_start(row: Subscription) -> str | datetime:
    """Return the start in the form it was supplied, unless the subscription began at another time (C21)."""
    supplied = row.starts_at_supplied
    if supplied is not None and read_moment(supplied).instant(row.timezone) == row.starts_at:
        return supplied
    return row.starts_at
