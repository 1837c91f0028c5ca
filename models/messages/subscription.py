"""Messages of the SubscriptionWorkflow: its start, its commands (updates), its facts (signals) and its state query.

The workflow's own state (carried through continue-as-new) is ``billing.subscriptions.subscription.SubscriptionState``.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from billing.subscriptions.pauses import PauseBehavior
from billing.subscriptions.subscription import SubscriptionState
from models.messages.base import Message


class RunLimits(Message):
    """When the workflow continues as new, by its own counters (design section 4)."""

    history_events: int = 4000
    signals: int = 2000
    periods: int = 12


class SubscriptionStart(Message):
    """The argument of the SubscriptionWorkflow, at its first run and at each continue-as-new: the state is all."""

    state: SubscriptionState
    limits: RunLimits = RunLimits()


class CommandAccepted(Message):
    """The state after a command: the row in Postgres says the same."""

    status: str


class Pause(Message):
    """Pause: fees stop, and usage is billed, kept unbilled or refused as ``behavior`` says (R21)."""

    request_id: str
    behavior: PauseBehavior = "skip"


class Resume(Message):
    """Resume a paused subscription."""

    request_id: str


class Suspend(Message):
    """Withhold the service of an active subscription; ``reason`` is shown to people and receivers of webhooks."""

    request_id: str
    reason: str | None = None


class Reinstate(Message):
    """Give a suspended subscription its service back."""

    request_id: str


class Activate(Message):
    """Start a pending subscription now."""

    request_id: str


class Cancel(Message):
    """End the subscription: at the period's end, or at once (terminate)."""

    request_id: str
    immediately: bool = False
    # generate_invoice, skip
    on_termination: str = "generate_invoice"


class MigratePlan(Message):
    """Move to another version of the plan: now, so that the next invoice uses it (B38), or with the next period."""

    request_id: str
    plan_version_id: UUID
    plan_version: int
    at_period_end: bool = False


class RetryParked(Message):
    """Take up again every close and invoice that was set aside with an error."""

    request_id: str


class SkipParked(Message):
    """Forget every close and invoice that was set aside with an error: an operator settles them by hand."""

    request_id: str


class InvoiceNow(Message):
    """Bill everything unbilled in [start of billing, cutoff_end) as one invoice.

    ``cutoff_end`` is exclusive; ``start`` narrows the window (None: the subscription's start).
    """

    request_id: str
    cutoff_end: datetime
    start: datetime | None = None
    draft: bool = False


class ChargeInvoice(Message):
    """Collect an issued, overdue or failed invoice now."""

    request_id: str
    invoice_id: UUID


class InvoiceStatusChanged(Message):
    """An invoice was voided, marked paid or resolved by a provider's notice (signal)."""

    invoice_id: UUID
    status: str


class UsageTotal(Message):
    """The cumulative quantity of one metric in one period: never a delta."""

    metric_id: UUID
    metric_key: str
    quantity: Decimal
    events: int


class UsageRecorded(Message):
    """Coalesced cumulative usage of the current period (signal); duplicates and disorder are harmless.

    A message whose ``watermark`` is not greater than the last one seen is dropped.
    """

    watermark: int
    period_start: datetime
    totals: tuple[UsageTotal, ...]


class ClockAdvanced(Message):
    """The subscription's test clock now stands at ``frozen_time`` (signal); forward only."""

    frozen_time: datetime


class ClockDeleted(Message):
    """The test clock was deleted: the subscription ends without another invoice (signal)."""
