"""Messages of collecting an invoice (activities/collecting.py)."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from billing.collection import OpenInvoice
from models.messages.base import Message


class CollectInvoice(Message):
    """Make (or resume) payment attempt ``attempt_no`` of one invoice. Safe to run twice: the attempt's row and its
    idempotency key are committed before the provider is called (C7)."""

    organization_id: UUID
    project_id: UUID
    invoice_id: UUID
    attempt_no: int
    at: datetime
    final_attempt: bool = False


class CollectInvoiceUntilSettled(Message):
    """The argument of an InvoiceWorkflow: care for an issued invoice that has no subscription until it is settled.

    ``frozen_at`` is the time at which the customer's test clock stood; None means that the customer lives in wall time.
    """

    organization_id: UUID
    project_id: UUID
    invoice: OpenInvoice
    frozen_at: datetime | None = None


class InvoiceSettled(Message):
    """What an InvoiceWorkflow ends with: nothing of the invoice is open any more."""

    invoice_id: UUID


CollectionStatus = Literal["paid", "declined", "requires_action", "pending", "not_collectable"]


class InvoiceCollected(Message):
    """What the provider said. ``pending``: the outcome is unknown, the same attempt must be asked again, never sent
    anew. ``not_collectable``: the invoice is already paid, voided, a draft or zero (see ``code``)."""

    invoice_id: UUID
    status: CollectionStatus
    attempt_no: int
    payment_intent_id: str | None = None
    charged_at: datetime | None = None
    code: str | None = None
    message: str | None = None
    action_url: str | None = None
