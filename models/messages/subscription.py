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


class Command(Message):
    """What somebody asks of a subscription; ``request_id`` names the request, so that it is carried out once."""

    request_id: str


class Pause(Command):
    """Pause: fees stop, and usage is billed, kept unbilled or refused as ``behavior`` says (R21)."""

    behavior: PauseBehavior = "skip"


class Resume(Command):
    """Resume a paused subscription."""


class Suspend(Command):
    """Withhold the service of an active subscription; ``reason`` is shown to people and receivers of webhooks."""

    reason: str | None = None


class Reinstate(Command):
    """Give a suspended subscription its service back."""


class Activate(Command):
    """Start a pending subscription now."""


class Cancel(Command):
    """End the subscription: at the period's end, or at once (terminate)."""

    immediately: bool = False
    # generate_invoice, skip
    on_termination: str = "generate_invoice"


class MigratePlan(Command):
    """Move to another version of the plan: now, so that the next invoice uses it (B38), or with the next period."""

    plan_version_id: UUID
    plan_version: int
    at_period_end: bool = False


class RetryParked(Command):
    """Take up again every close and invoice that was set aside with an error."""


class SkipParked(Command):
    """Forget every close and invoice that was set aside with an error: an operator settles them by hand."""


class InvoiceNow(Command):
    """Bill everything unbilled in [start of billing, cutoff_end) as one invoice.

    ``cutoff_end`` is exclusive; ``start`` narrows the window (None: the subscription's start).
    """

    cutoff_end: datetime
    start: datetime | None = None
    draft: bool = False


class ChargeInvoice(Command):
    """Collect an issued, overdue or failed invoice now."""

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
