"""The actor of an issued invoice that has no subscription: it is collected, retried and settled here.

The steps are those of a subscription's invoice: the same activity, the same schedule, the same commands.
"""

import asyncio
from datetime import datetime
from typing import Final

from temporalio import workflow

from activities import calls
from billing.collection import OpenInvoice, after_outcome, is_final_attempt
from billing.subscriptions.story import shown_amount
from models.identifiers import INVOICE_WORKFLOW
from models.messages import subscription_steps as steps
from models.messages.collecting import CollectInvoice, CollectInvoiceUntilSettled, InvoiceCollected, InvoiceSettled
from models.messages.subscription import ChargeInvoice, InvoiceStatusChanged

_MOST_HISTORY_EVENTS: Final = 4000


@workflow.defn(name=INVOICE_WORKFLOW)
class InvoiceWorkflow:
    """Lives from the invoice's issue until it is paid or voided."""

    @workflow.init
    def __init__(self, start: CollectInvoiceUntilSettled) -> None:
        self._start = start
        self._invoice: OpenInvoice | None = start.invoice
        self._attempts = start.invoice.attempts
        self._payments = asyncio.Lock()

    @workflow.run
    async def run(self, start: CollectInvoiceUntilSettled) -> InvoiceSettled:
        """Collect when an attempt is due, and wait for commands and notices in between."""
        while self._invoice is not None:
            self._show_state(self._invoice)
            if workflow.info().get_current_history_length() >= _MOST_HISTORY_EVENTS:
                await workflow.wait_condition(workflow.all_handlers_finished)
                if self._invoice is None:
                    # A command or a notice that was under way has settled it: there is nothing to go on with.
                    break
                workflow.continue_as_new(start.model_copy(update={"invoice": self._invoice}))
            due = self._due(self._invoice)
            if due is not None and due <= workflow.now():
                await self._collect_due(due)
            else:
                await self._wait(due)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return InvoiceSettled(invoice_id=start.invoice.invoice_id)

    def _now(self) -> datetime:
        """The customer's now; a test clock stands where it stood when the invoice was issued."""
        return self._start.frozen_at or workflow.now()

    def _due(self, invoice: OpenInvoice) -> datetime | None:
        """When to ask the provider next, in wall time; in a test clock only what is due at its time ever is."""
        if invoice.resolve_at is not None or invoice.next_attempt_at is None:
            return invoice.resolve_at
        if self._start.frozen_at is None:
            return invoice.next_attempt_at
        return workflow.now() if invoice.next_attempt_at <= self._start.frozen_at else None

    async def _wait(self, due: datetime | None) -> None:
        before = self._invoice
        try:
            await workflow.wait_condition(
                lambda: self._invoice != before,
                timeout=None if due is None else due - workflow.now(),
                timeout_summary="the next payment attempt" if due else "a command",
            )
        except TimeoutError:
            return

    async def _collect_due(self, due: datetime) -> None:
        async with self._payments:
            if self._invoice is not None and self._due(self._invoice) == due:
                await self._collect(self._invoice.attempt_to_make)

    async def _collect(self, attempt_no: int) -> InvoiceCollected:
        message = CollectInvoice(
            organization_id=self._start.organization_id,
            project_id=self._start.project_id,
            invoice_id=self._start.invoice.invoice_id,
            attempt_no=attempt_no,
            at=self._now(),
            final_attempt=is_final_attempt(attempt_no),
        )
        answer = await calls.collect(message, shown=self._start.invoice.number or str(message.invoice_id))
        self._attempts = max(self._attempts, answer.attempt_no)
        if self._invoice is not None:
            self._invoice = after_outcome(
                self._invoice,
                steps.outcome_of(answer),
                attempt_no=answer.attempt_no,
                error=answer.message,
                at=message.at,
                wall=workflow.now(),
            )
        return answer

    def _show_state(self, invoice: OpenInvoice) -> None:
        amount = shown_amount(invoice.total_minor, invoice.currency)
        waits = f"\n- next attempt {invoice.next_attempt_at}" if invoice.next_attempt_at else ""
        error = f"\n- **{invoice.error}**" if invoice.error else ""
        workflow.set_current_details(
            f"Invoice **{invoice.number}** over {amount}: {invoice.status}, {invoice.attempts} attempts{waits}{error}"
        )

    @workflow.update
    async def charge_invoice(self, command: ChargeInvoice) -> InvoiceCollected:
        """Collect now; of several at once one pays and the others find it paid (B126)."""
        del command
        async with self._payments:
            # An attempt whose outcome is unknown is resumed under its own number, whatever number is asked for (C7).
            return await self._collect(self._attempts + 1)

    @workflow.signal
    def invoice_status_changed(self, message: InvoiceStatusChanged) -> None:
        """Take note that the invoice was paid or voided elsewhere, or that the provider may know more."""
        if message.status in ("paid", "voided"):
            self._invoice = None
        elif self._invoice is not None and self._invoice.status == "pending":
            self._invoice = self._invoice.model_copy(update={"resolve_at": workflow.now()})
