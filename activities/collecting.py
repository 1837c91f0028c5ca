"""Collecting: one payment attempt of one invoice, safe to run twice, never charging twice (C7, B124-B127).

The attempt is committed, then the provider is called outside any transaction, then the outcome is recorded. A worker
that dies in between leaves a pending attempt, whose next run asks the provider with the same key.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from temporalio import activity

from activities.payment_outcomes import COLLECTABLE, Attempt, answer_of, as_row, record_outcome
from adapters.payment_port import (
    MANUAL,
    Declined,
    Outcome,
    PaymentProvider,
    Succeeded,
)
from adapters.payments.registry import ProviderChoice
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.invoices import payment_attempt_store
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.payments import payment_store
from adapters.postgres.payments.payment_store import Collectable
from adapters.postgres.rows import Row
from billing.collectable import collectable_minor
from models.identifiers import invoice_workflow_id, subscription_workflow_id
from models.messages.collecting import CollectInvoice, InvoiceCollected
from models.problems import Problem

_TOO_SMALL: Final = (
    "What is due is under the minimum of the payment provider {provider} for its currency, or has a fraction that it "
    "cannot take: record a payment from outside, or mark the invoice paid."
)


class CollectingActivities:
    """Collection through the payment provider that `providers` chooses for each customer."""

    def __init__(self, database: Database, providers: ProviderChoice) -> None:
        self._database = database
        self._providers = providers

    @activity.defn(name="collect_invoice")
    async def collect_invoice(self, message: CollectInvoice) -> InvoiceCollected:
        """Make or resume the attempt and say what became of it.

        While an earlier attempt's outcome is unknown, that one is resumed instead, under its own number: the answer's
        `attempt_no` says which it was. An earlier payment that could still be confirmed is canceled before a new one.
        """
        prepared = await self._prepare(message)
        if isinstance(prepared, InvoiceCollected):
            return prepared
        if prepared.request.attempt_no < message.attempt_no and prepared.status in ("requires_action", "declined"):
            return await self._supersede(message, prepared)
        return await self._record(message, prepared, await _query_provider(prepared))

    async def _supersede(self, message: CollectInvoice, earlier: Attempt) -> InvoiceCollected:
        """Cancel an earlier attempt's payment and make the new one; if it was taken after all, that pays."""
        outcome = await earlier.provider.abandon(earlier.request)
        if isinstance(outcome, Succeeded):
            return await self._record(message, earlier, outcome)
        if not isinstance(outcome, Declined):
            answer = answer_of(message, earlier, outcome)
            is_new = earlier.status == "declined"
            return answer.model_copy(update={"attempt_no": message.attempt_no}) if is_new else answer
        if earlier.status == "requires_action":
            await self._record(message, earlier, outcome)
        async with _begin(self._database, message) as tx:
            await payment_store.set_canceled(tx.connection, earlier.id)
        return await self.collect_invoice(message)

    async def _prepare(self, message: CollectInvoice) -> Attempt | InvoiceCollected:
        """Commit the attempt before anything is sent; or answer what is known already."""
        async with _begin(self._database, message) as tx:
            invoice = await payment_store.lock_invoice(tx.connection, message.invoice_id)
            attempts = await payment_attempt_store.attempts_of(tx.connection, message.invoice_id)
            open_one = next((row for row in attempts if row.status in payment_attempt_store.OPEN), None)
            refusal = _not_collectable(message, invoice)
            if invoice is None or (refusal is not None and open_one is None):
                return _known(message, attempts) or refusal or _missing(message)
            if open_one is None and (known := _known(message, attempts)) is not None:
                return known
            earlier = _may_be_confirmed(message, attempts)
            wanted = open_one or earlier
            provider_name = (wanted.provider if wanted is not None else invoice.payment_provider) or ""
            try:
                provider = await self._providers.choose(
                    tx.connection, _scope(message), provider_name, in_clock=invoice.in_test_clock
                )
            except Problem as problem:
                return await _not_chargeable(tx, message, invoice, problem)
            if wanted is not None:
                superseded = refusal is not None
                return _attempt(message, invoice, wanted, provider, resumed=True, superseded=superseded)
            if collectable_minor(provider_name, invoice.due_minor, invoice.currency) != invoice.due_minor:
                return _refused(message, "amount_not_collectable", _TOO_SMALL.format(provider=provider_name))
            started = await payment_store.start_attempt(
                tx.connection,
                message.project_id,
                invoice,
                attempt_no=message.attempt_no,
                provider=provider_name,
                at=message.at,
            )
            return _attempt(message, invoice, started, provider)

    async def _record(self, message: CollectInvoice, attempt: Attempt, outcome: Outcome) -> InvoiceCollected:
        """Write the outcome once: attempt, invoice, audit entry and webhook in one transaction."""
        async with _begin(self._database, message) as tx:
            invoice = await payment_store.lock_invoice(tx.connection, message.invoice_id)
            assert invoice is not None, "an invoice with an attempt is never deleted"
            changed = await payment_store.finish_attempt(
                tx.connection, attempt.id, at=message.at, **as_row(outcome, attempt.status)
            )
            if changed:
                await record_outcome(tx.by(_collector(message, invoice)), message, invoice, attempt, outcome)
        return answer_of(message, attempt, outcome)


def _attempt(
    message: CollectInvoice,
    invoice: Collectable,
    row: Row[Any],
    provider: PaymentProvider,
    *,
    resumed: bool = False,
    superseded: bool = False,
) -> Attempt:
    return Attempt(
        id=row.id,
        provider=provider,
        request=payment_store.charge_request(message.project_id, invoice, row, at=message.at),
        status=row.status,
        may_send=row.may_send,
        resumed=resumed,
        superseded=superseded,
        action_url=row.metadata.get("action_url"),
    )


def _may_be_confirmed(message: CollectInvoice, attempts: list[Row[Any]]) -> Row[Any] | None:
    """Return the newest attempt if it was declined and not canceled: its owner could still confirm its payment."""
    newest = attempts[-1] if attempts else None
    if newest is None or newest.attempt_no >= message.attempt_no or newest.status != "declined":
        return None
    gone = newest.provider_payment_id is None or newest.metadata.get("canceled")
    return None if gone else newest


async def _query_provider(attempt: Attempt) -> Outcome:
    """Send the attempt, with the same key if it was sent before; look it up when sending is not safe (C7).

    Nothing is sent when the key may be forgotten or the customer has to act first. What is refused today before it is
    sent (no card is left, the customer changed) may have succeeded when it was sent, so it is looked up too.
    """
    if attempt.superseded:
        return await attempt.provider.abandon(attempt.request)
    if attempt.resumed and (not attempt.may_send or attempt.status == "requires_action"):
        found = await attempt.provider.find(attempt.request)
        return found or Declined(code="never_received", message="The provider never received this attempt.")
    outcome = await attempt.provider.charge(attempt.request)
    if attempt.resumed and isinstance(outcome, Declined) and outcome.payment_id is None:
        return await attempt.provider.find(attempt.request) or outcome
    return outcome


def _not_collectable(message: CollectInvoice, invoice: Collectable | None) -> InvoiceCollected | None:
    if invoice is None:
        return _missing(message)
    if invoice.status not in COLLECTABLE:
        return _refused(message, f"invoice_{invoice.status}", f"The invoice is {invoice.status}.")
    if invoice.due_minor <= 0:
        return _refused(message, "nothing_due", "Nothing is due on this invoice.")
    if invoice.payment_provider == MANUAL:
        return _refused(message, "manual_payment", "The customer pays outside Durabill: mark it paid.")
    return None


async def _not_chargeable(
    tx: Transaction, message: CollectInvoice, invoice: Collectable, problem: Problem
) -> InvoiceCollected:
    """Leave an invoice waiting that no provider may be asked about, and say why; that is no decline."""
    if invoice.payment_provider is not None:
        await tx.notify(
            kind="payment",
            title=f"Invoice {invoice.number} cannot be collected: no payment provider may charge it",
            body=problem.detail,
            resource_type="invoice",
            resource_id=invoice.invoice_id,
            key=f"{problem.code}:{invoice.invoice_id}",
        )
    return _refused(message, problem.code, problem.detail)


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
