"""What becomes of a payment attempt: its row, its invoice, what is logged and announced, and the workflow's answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never
from uuid import UUID

from adapters.payment_port import (
    ChargeRequest,
    Declined,
    Outcome,
    PaymentProvider,
    RateLimited,
    RequiresAction,
    Succeeded,
    Unknown,
)
from adapters.postgres.invoices.invoice_write_store import webhook_data, webhook_order
from adapters.postgres.journal.failure_notifications import action_required, payment_failed
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.payments import payment_store, unapplied_payments
from adapters.postgres.payments.payment_store import Collectable
from adapters.postgres.payments.unapplied_payments import UnappliedPayment
from adapters.postgres.wallets import settlement_store
from billing.invoice import InvoiceStatus, transition
from models.messages.collecting import CollectInvoice, InvoiceCollected
from models.webhook_types import WebhookType

COLLECTABLE: Final = ("issued", "overdue", "failed")


@dataclass(frozen=True)
class Attempt:
    """An open attempt that the provider is to be asked about.

    `superseded`: the invoice was settled otherwise, so that the attempt must not take money any more.
    """

    id: UUID
    provider: PaymentProvider
    request: ChargeRequest
    status: str
    may_send: bool
    resumed: bool
    superseded: bool
    action_url: str | None


_LIMITED: Final = "The provider takes no more requests for now; this one is sent again."


def as_row(outcome: Outcome, before: str) -> dict[str, Any]:
    """Return the columns of a payment attempt that an outcome sets; ``before`` is the attempt's status until then."""
    match outcome:
        case Succeeded(payment_id=payment_id):
            return {"status": "succeeded", "provider_payment_id": payment_id}
        case Declined(code=code, message=text, payment_id=payment_id):
            return {
                "status": "declined",
                "provider_payment_id": payment_id,
                "failure_code": code,
                "failure_message": text,
            }
        case RequiresAction(payment_id=payment_id, message=text, action_url=action_url):
            return {
                "status": "requires_action",
                "provider_payment_id": payment_id,
                "action_url": action_url,
                "failure_code": "requires_action",
                "failure_message": text,
            }
        case Unknown(reason=reason):
            # What waits for the customer still does when the provider could not be asked.
            status = before if before == "requires_action" else "unknown"
            return {"status": status, "failure_code": "unknown", "failure_message": reason}
        case RateLimited():
            return {"status": before, "failure_code": "rate_limited", "failure_message": _LIMITED}
        case _:
            assert_never(outcome)


def answer_of(message: CollectInvoice, attempt: Attempt, outcome: Outcome) -> InvoiceCollected:
    """Return what the workflow learns of an attempt from its outcome."""
    base = {"invoice_id": message.invoice_id, "attempt_no": attempt.request.attempt_no}
    match outcome:
        case Succeeded(payment_id=payment_id):
            return InvoiceCollected(**base, status="paid", payment_intent_id=payment_id, charged_at=message.at)
        case Declined(code=code, message=text, payment_id=payment_id):
            return InvoiceCollected(**base, status="declined", payment_intent_id=payment_id, code=code, message=text)
        case RequiresAction(payment_id=payment_id, message=text):
            return InvoiceCollected(
                **base,
                status="requires_action",
                payment_intent_id=payment_id,
                code="requires_action",
                message=text,
                action_url=outcome.action_url or attempt.action_url,
            )
        case Unknown(reason=reason):
            return InvoiceCollected(**base, status="pending", code="unknown", message=reason)
        case RateLimited():
            return InvoiceCollected(**base, status="pending", code="rate_limited", message=_LIMITED)
        case _:
            assert_never(outcome)


async def record_outcome(
    tx: Transaction, message: CollectInvoice, invoice: Collectable, attempt: Attempt, outcome: Outcome
) -> None:
    """Move the invoice, and write down and announce a payment or a known failure."""
    match outcome:
        case Succeeded(payment_id=payment_id):
            await _apply_payment(tx, message, invoice, attempt, payment_id)
        case Declined(code=code, message=text):
            status = _after_failure(invoice, final=message.final_attempt)
            if status != invoice.status:
                await payment_store.set_invoice_status(tx.connection, invoice.invoice_id, status=status)
            data: dict[str, Any] = {"code": code, "message": text}
            await _log(tx, invoice, attempt, action="charge_failed", data=data)
            await _announce(tx, invoice, WebhookType.INVOICE_FAILED, status, failure_code=code, failure_message=text)
            await payment_failed(tx, **_of(invoice, attempt), reason=text or code)
        case RequiresAction(message=text, action_url=url) if _is_news(attempt, url):
            data = {"message": text, "action_url": url}
            await _log(tx, invoice, attempt, action="charge_requires_action", data=data)
            await _announce(
                tx, invoice, WebhookType.INVOICE_ACTION_REQUIRED, invoice.status, reason=text, action_url=url
            )
            await action_required(tx, **_of(invoice, attempt), reason=text, action_url=url)
        case RequiresAction() | Unknown() | RateLimited():
            pass


def _is_news(attempt: Attempt, action_url: str | None) -> bool:
    """Return whether the customer was not told yet that, or where, they must act."""
    return attempt.status != "requires_action" or action_url not in (None, attempt.action_url)


async def _apply_payment(
    tx: Transaction, message: CollectInvoice, invoice: Collectable, attempt: Attempt, payment_id: str
) -> None:
    """Pay the invoice with the money that came; what it no longer needs is kept as an unapplied payment."""
    amount = attempt.request.amount_minor
    is_open = invoice.status in COLLECTABLE
    applied = min(amount, max(invoice.due_minor, 0)) if is_open else 0
    paid = False
    if applied:
        paid = await settlement_store.apply_payment(
            tx.connection,
            message.project_id,
            invoice.invoice_id,
            source_id=attempt.id,
            amount_minor=applied,
            at=message.at,
            payment_intent_id=payment_id,
        )
        data: dict[str, Any] = {"payment_intent_id": payment_id, "amount_minor": applied}
        await _log(tx, invoice, attempt, action="charged", data=data)
    if paid:
        await _announce(tx, invoice, WebhookType.INVOICE_PAID, "paid", payment_intent_id=payment_id)
    if amount > applied:
        unapplied = UnappliedPayment(attempt.id, attempt.provider.name, amount_minor=amount - applied)
        await unapplied_payments.record(tx, invoice, unapplied)


def _of(invoice: Collectable, attempt: Attempt) -> dict[str, Any]:
    """Name what a notification is about."""
    return {"invoice_id": invoice.invoice_id, "number": invoice.number, "payment": str(attempt.request.attempt_no)}


def _after_failure(invoice: Collectable, *, final: bool) -> str:
    """A known failure leaves the invoice open; only the last attempt of the schedule fails it."""
    status: InvoiceStatus = invoice.status  # type: ignore[assignment]
    return transition(status, "fail") if final else status


async def _log(
    tx: Transaction,
    invoice: Collectable,
    attempt: Attempt,
    *,
    action: str,
    data: Mapping[str, Any],
) -> None:
    await tx.audit(
        resource_type="invoice",
        resource_id=invoice.invoice_id,
        action=action,
        title=_TITLES[action],
        data={**data, "attempt_no": attempt.request.attempt_no, "provider": attempt.provider.name},
    )


_TITLES: Final = {
    "charged": "Invoice paid by charge",
    "charge_failed": "Charge failed",
    "charge_requires_action": "Charge waits for the customer",
}


async def _announce(tx: Transaction, invoice: Collectable, kind: WebhookType, status: str, **more: Any) -> None:
    data = webhook_data(
        invoice_id=invoice.invoice_id,
        customer_shown=invoice.customer_shown,
        subscription_id=invoice.subscription_id,
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        status=status,
        invoice_number=invoice.number,
        **more,
    )
    await tx.webhook(kind, data, ordering_key=webhook_order(invoice.invoice_id))
