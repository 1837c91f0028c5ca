"""Messages of the lifecycle steps (activities/lifecycle.py): what a subscription's workflow writes to the record."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from billing.subscriptions.pauses import PauseBehavior
from models.messages.base import Message, SubscriptionRef

LifecycleAction = Literal[
    "activated",
    "trial_ended",
    "paused",
    "resumed",
    "suspended",
    "reinstated",
    "cancel_scheduled",
    "canceled",
    "terminated",
    "plan_change_requested",
    "plan_changed",
    "period_started",
    "parked",
    "unparked",
]


class RecordLifecycle(Message):
    """Make the subscription's row say what the workflow decided, with one audit entry, in one transaction.

    The fields are the row's columns, complete, so that running it twice changes nothing the second time. ``at`` is in
    the subscription's time.
    """

    subscription: SubscriptionRef
    action: LifecycleAction
    at: datetime
    status: str
    starts_at: datetime
    anchor: datetime
    trial_ends_at: datetime | None = None
    bills_automatically_from: datetime
    period_start: datetime | None = None
    period_end: datetime | None = None
    cancel_at: datetime | None = None
    plan_version_id: UUID
    plan_version: int
    needs_attention: str | None = None
    # Shown in the audit entry of a requested plan change.
    requested_plan_version: int | None = None
    # Of a suspension: why, and whether it is for unpaid invoices.
    reason: str | None = None
    is_unpaid: bool = False
    # Whether a pause that begins stops the fees, and what becomes of usage in it.
    pause_behavior: PauseBehavior = "skip"


class LifecycleRecorded(Message):
    """``changed`` is False when an earlier run had written it already."""

    changed: bool


class ReportClock(Message):
    """Everything of one subscription that was due up to ``reached_at`` has happened in its test clock.

    ``finished`` says that nothing of it will be due any more: the clock need not wait for it.
    """

    subscription: SubscriptionRef
    reached_at: datetime
    finished: bool = False


class ClockReported(Message):
    """``ready`` is True when this was the last subscription of the clock to arrive."""

    ready: bool


class FindInvoice(Message):
    """Ask where one invoice of the subscription stands."""

    subscription: SubscriptionRef
    invoice_id: UUID


class InvoiceStatusFound(Message):
    """``status`` is None when the subscription has no such invoice. ``attempts`` counts the payment attempts made;
    ``outcome_unknown`` says that the newest one must be asked about before another is made."""

    status: str | None = None
    number: str | None = None
    total_minor: int = 0
    currency: str = ""
    due_at: datetime | None = None
    attempts: int = 0
    outcome_unknown: bool = False
