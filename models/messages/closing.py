"""Messages of closing periods into an invoice (activities/closing.py)."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from models.messages.base import Message, SubscriptionRef

InvoiceKind = Literal["period", "on_demand", "final", "progressive", "adjustment"]


class ClosePeriods(Message):
    """Bill everything of one subscription that is unbilled in ``[start, end)``, once, in one transaction.

    ``at`` is the subscription's now (a test clock's time, if it has one). ``billing_key`` is the business fact that
    makes a second run find the first one's invoice (C8).

    ``next_period_start``/``next_period_end``, when given, become the row's ``current_period_*`` in the same
    transaction, also when there is nothing to bill. ``plan_version_id``, when given, is the version that rates the
    window (the one the period was lived under); None means the row's.

    ``thresholds`` are those whose crossing, at a spend of ``spend_minor``, makes a progressive invoice of one running
    period: of its usage only, and written down with it.
    """

    subscription: SubscriptionRef
    kind: InvoiceKind
    start: datetime
    end: datetime
    at: datetime
    billing_key: str
    draft: bool = False
    next_period_start: datetime | None = None
    next_period_end: datetime | None = None
    plan_version_id: UUID | None = None
    # Somebody asked for the invoice, so it waits to be charged.
    by_hand: bool = False
    thresholds: tuple[UUID, ...] = ()
    spend_minor: int = 0


class InvoiceClosed(Message):
    """The invoice that a close wrote, or found from an earlier run.

    ``invoice_id`` is None when there was nothing to bill; ``existing_invoice_id`` then names the last invoice of the
    window if there is one. ``collect`` says that it should be collected automatically.
    """

    invoice_id: UUID | None
    status: str = "issued"
    number: str | None = None
    total_minor: int = 0
    currency: str = ""
    collect: bool = False
    due_at: datetime | None = None
    existing_invoice_id: UUID | None = None
    line_count: int = 0
