"""Collecting: one payment attempt of one invoice, safe to run twice, never charging twice (C7, B124-B127).

The attempt is committed, then the provider is called outside any transaction, then the outcome is recorded. A worker
that dies in between leaves a pending attempt, whose next run asks the provider with the same key.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, assert_never
from uuid import UUID

from temporalio import activity

from adapters.payment_port import (
    MANUAL,
    ChargeRequest,
    Declined,
    Outcome,
    PaymentProvider,
    RequiresAction,
    Succeeded,
    Unknown,
)
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.invoices import payment_attempt_store
from adapters.postgres.invoices.invoice_write_store import webhook_data, webhook_order
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.failure_notifications import action_required, payment_failed
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.payments import payment_store, unapplied_payments
from adapters.postgres.payments.payment_store import Collectable
from adapters.postgres.payments.unapplied_payments import UnappliedPayment
from adapters.postgres.rows import Row
from adapters.postgres.wallets import settlement_store
from billing.invoice import InvoiceStatus, transition
from models.identifiers import invoice_workflow_id, subscription_workflow_id
from models.messages.collecting import CollectInvoice, InvoiceCollected
from models.webhook_types import WebhookType

_COLLECTABLE: Final = ("issued", "overdue", "failed")


@dataclass(frozen=True)
class _Attempt:
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


class CollectingActivities:
    """Collection through the payment providers, which are keyed by a customer's `payment_provider`."""

    def __init__(self, database: Database, providers: Mapping[str, PaymentProvider]) -> None:
        self._database = database
        self._providers = providers

    @activity.defn(name="collect_invoice")
    async def collect_invoice(self, message: CollectInvoice) -> InvoiceCollected:
        """Make or resume the attempt and say what became of it.

        While an earlier attempt's outcome is unknown, that one is resumed instead, under its own number: the answer's
        `attempt_no` says which it was.
        """
        prepared = await self._prepare(message)
        if isinstance(prepared, InvoiceCollected):
            return prepared
        if prepared.status == "requires_action" and prepared.request.attempt_no < message.attempt_no:
            given_up = await self._record(message, prepared, await prepared.provider.abandon(prepared.request))
            return await self.collect_invoice(message) if given_up.status == "declined" else given_up
        return await self._record(message, prepared, await _query_provider(prepared))

    async def _prepare(self, message: CollectInvoice) -> _Attempt | InvoiceCollected:
        """Commit the attempt before anything is sent; or answer what is known already."""
        async with _begin(self._database, message) as tx:
            invoice = await payment_store.lock_invoice(tx.connection, message.invoice_id)
            attempts = await payment_attempt_store.attempts_of(tx.connection, message.invoice_id)
            open_one = next((row for row in attempts if row.status in payment_attempt_store.OPEN), None)
            refusal = _not_collectable(message, invoice)
            if invoice is not None and open_one is not None and refusal is not None:
                return self._attempt(message, invoice, open_one, resumed=True, superseded=True)
            if invoice is None or refusal is not None:
                return _known(message, attempts) or refusal or _missing(message)
            resumed = open_one is not None
            if open_one is None:
                known = _known(message, attempts)
                if known is not None:
                    return known
                provider = self._providers.get(invoice.payment_provider or "")
                if provider is None:
                    return _refused(message, "no_payment_provider", "The customer has no payment provider to charge.")
                if not provider.serves_live and await payment_store.is_live(tx.connection, message.project_id):
                    return await _not_configured(tx, message, invoice)
                open_one = await payment_store.start_attempt(
                    tx.connection,
                    message.project_id,
                    invoice,
                    attempt_no=message.attempt_no,
                    provider=str(invoice.payment_provider),
                    at=message.at,
                )
            return self._attempt(message, invoice, open_one, resumed=resumed)

    def _attempt(
        self,
        message: CollectInvoice,
        invoice: Collectable,
        row: Row[Any],
        *,
        resumed: bool,
        superseded: bool = False,
    ) -> _Attempt:
        return _Attempt(
            id=row.id,
            provider=self._providers[row.provider],
            request=payment_store.charge_request(message.project_id, invoice, row, at=message.at),
            status=row.status,
            may_send=row.may_send,
            resumed=resumed,
            superseded=superseded,
        )

    async def _record(self, message: CollectInvoice, attempt: _Attempt, outcome: Outcome) -> InvoiceCollected:
        """Write the outcome once: attempt, invoice, audit entry and webhook in one transaction."""
        async with _begin(self._database, message) as tx:
            invoice = await payment_store.lock_invoice(tx.connection, message.invoice_id)
            assert invoice is not None, "an invoice with an attempt is never deleted"
            changed = await payment_store.finish_attempt(
                tx.connection, attempt.id, at=message.at, **_as_row(outcome, attempt.status)
            )
            if changed:
                await _notify(tx.by(_collector(message, invoice)), message, invoice, attempt, outcome)
        return _answer(message, attempt, outcome)


async def _query_provider(attempt: _Attempt) -> Outcome:
    """Send the attempt; one that may have been sent before is looked up first, and sent again only if it never arrived.

    What is refused today (no card is left, the customer changed) may have succeeded when it was sent. Nothing is sent
    when the key may be forgotten or the customer has to act first (C7).
    """
    if attempt.superseded:
        return await attempt.provider.abandon(attempt.request)
    if attempt.resumed:
        found = await attempt.provider.find(attempt.request)
        if found is not None:
            return found
        if not attempt.may_send or attempt.status == "requires_action":
            return Declined(code="never_received", message="The provider never received this attempt.")
    return await attempt.provider.charge(attempt.request)


def _not_collectable(message: CollectInvoice, invoice: Collectable | None) -> InvoiceCollected | None:
    if invoice is None:
        return _missing(message)
    if invoice.status not in _COLLECTABLE:
        return _refused(message, f"invoice_{invoice.status}", f"The invoice is {invoice.status}.")
    if invoice.due_minor <= 0:
        return _refused(message, "nothing_due", "Nothing is due on this invoice.")
    if invoice.payment_provider == MANUAL:
        return _refused(message, "manual_payment", "The customer pays outside Durabill: mark it paid.")
    return None


async def _not_configured(tx: Transaction, message: CollectInvoice, invoice: Collectable) -> InvoiceCollected:
    """Leave an invoice of a live project waiting, rather than have a simulation say that it is paid."""
    detail = (
        f"The payment provider {invoice.payment_provider} is not configured on this server, and simulated payments "
        "are refused in live projects. Set STRIPE_API_KEY, then charge the invoice."
    )
    await tx.notify(
        kind="payment",
        title=f"Invoice {invoice.number} cannot be collected: no payment provider is configured",
        body=detail,
        resource_type="invoice",
        resource_id=invoice.invoice_id,
        key=f"provider_not_configured:{invoice.invoice_id}",
    )
    return _refused(message, "payment_provider_not_configured", detail)


def _missing(message: CollectInvoice) -> InvoiceCollected:
    return _refused(message, "invoice_not_found", "There is no such invoice.")


def _refused(message: CollectInvoice, code: str, detail: str) -> InvoiceCollected:
    return InvoiceCollected(
        invoice_id=message.invoice_id,
        status="not_collectable",
        attempt_no=message.attempt_no,
        code=code,
        message=detail,
    )


def _known(message: CollectInvoice, attempts: list[Row[Any]]) -> InvoiceCollected | None:
    """Respond to a repeated message from its attempt's row: a second run must say what the first did."""
    row = next((row for row in attempts if row.attempt_no == message.attempt_no), None)
    if row is None or row.status in payment_attempt_store.OPEN:
        return None
    return InvoiceCollected(
        invoice_id=message.invoice_id,
        status="paid" if row.status == "succeeded" else "declined",
        attempt_no=row.attempt_no,
        payment_intent_id=row.provider_payment_id,
        charged_at=row.finished_at if row.status == "succeeded" else None,
        code=row.failure_code,
        message=row.failure_message,
    )


def _as_row(outcome: Outcome, before: str) -> dict[str, Any]:
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
        case RequiresAction(payment_id=payment_id, message=text):
            return {
                "status": "requires_action",
                "provider_payment_id": payment_id,
                "failure_code": "requires_action",
                "failure_message": text,
            }
        case Unknown(reason=reason):
            # What waits for the customer still does when the provider could not be asked.
            status = before if before == "requires_action" else "unknown"
            return {"status": status, "failure_code": "unknown", "failure_message": reason}
        case _:
            assert_never(outcome)


def _answer(message: CollectInvoice, attempt: _Attempt, outcome: Outcome) -> InvoiceCollected:
    base = {"invoice_id": message.invoice_id, "attempt_no": attempt.request.attempt_no}
    match outcome:
        case Succeeded(payment_id=payment_id):
            return InvoiceCollected(**base, status="paid", payment_intent_id=payment_id, charged_at=message.at)
        case Declined(code=code, message=text, payment_id=payment_id):
            return InvoiceCollected(**base, status="declined", payment_intent_id=payment_id, code=code, message=text)
        case RequiresAction(payment_id=payment_id, message=text):
            return InvoiceCollected(
                **base, status="requires_action", payment_intent_id=payment_id, code="requires_action", message=text
            )
        case Unknown(reason=reason):
            return InvoiceCollected(**base, status="pending", code="unknown", message=reason)
        case _:
            assert_never(outcome)


async def _notify(
    tx: Transaction, message: CollectInvoice, invoice: Collectable, attempt: _Attempt, outcome: Outcome
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
        case RequiresAction(message=text) if attempt.status != "requires_action":
            data = {"message": text}
            await _log(tx, invoice, attempt, action="charge_requires_action", data=data)
            await _announce(tx, invoice, WebhookType.INVOICE_ACTION_REQUIRED, invoice.status, reason=text)
            await action_required(tx, **_of(invoice, attempt), reason=text)
        case RequiresAction() | Unknown():
            pass


async def _apply_payment(
    tx: Transaction, message: CollectInvoice, invoice: Collectable, attempt: _Attempt, payment_id: str
) -> None:
    """Pay the invoice with the money that came; what it no longer needs is kept as an unapplied payment."""
    amount = attempt.request.amount_minor
    is_open = invoice.status in _COLLECTABLE
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


def _of(invoice: Collectable, attempt: _Attempt) -> dict[str, Any]:
    """Name what a notification is about."""
    return {"invoice_id": invoice.invoice_id, "number": invoice.number, "payment": str(attempt.request.attempt_no)}


def _after_failure(invoice: Collectable, *, final: bool) -> str:
    """A known failure leaves the invoice open; only the last attempt of the schedule fails it."""
    status: InvoiceStatus = invoice.status  # type: ignore[assignment]
    return transition(status, "fail") if final else status


async def _log(
    tx: Transaction,
    invoice: Collectable,
    attempt: _Attempt,
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


def _collector(message: CollectInvoice, invoice: Collectable) -> Actor:
    """Return whose workflow collects: the subscription's, or the invoice's own."""
    if invoice.subscription_id is None:
        return Actor("workflow", invoice_workflow_id(invoice.invoice_id))
    return Actor("workflow", subscription_workflow_id(message.project_id, invoice.subscription_id))


def _begin(database: Database, message: CollectInvoice) -> AbstractAsyncContextManager[Transaction]:
    """Open a transaction in the name of the invoice's own workflow, at the subscription's time."""
    return begin(database, _scope(message), Actor("workflow", invoice_workflow_id(message.invoice_id)), now=message.at)


def _scope(message: CollectInvoice) -> ProjectScope:
    return ProjectScope(message.organization_id, message.project_id)
