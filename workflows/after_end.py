"""What is billed of a subscription after its end: late usage and corrections, gathered for a while.

The subscription's own workflow is over by then, or waits only for a payment. The invoice is collected by its own
workflow, as every invoice without a subscription's actor is.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

from activities import policies
from activities.after_end import AfterEndActivities
from activities.calls import reason
from billing.subscriptions.story import shown_amount
from models.identifiers import AFTER_END_WORKFLOW, NEEDS_ATTENTION
from models.messages.after_end import AfterEnd, AfterEndDone, BillAfterEnd, LateUsage
from models.messages.closing import InvoiceClosed
from models.messages.subscription import InvoiceNow


@workflow.defn(name=AFTER_END_WORKFLOW)
class AfterEndWorkflow:
    """Lives as long as there is something to bill; the next late event starts it anew."""

    @workflow.init
    def __init__(self, start: AfterEnd) -> None:
        self._start = start
        self._late: LateUsage | None = None
        self._invoices = 0
        self._turn = asyncio.Lock()

    @workflow.run
    async def run(self, start: AfterEnd) -> AfterEndDone:
        """Gather late usage, bill it, and look again until nothing is left."""
        while True:
            if self._late is not None:
                await self._gather(timedelta(seconds=start.wait_seconds))
                await self._bill_late()
            elif workflow.all_handlers_finished():
                return AfterEndDone(invoices=self._invoices)
            else:
                await workflow.wait_condition(lambda: self._late is not None or workflow.all_handlers_finished())

    async def _gather(self, pause: timedelta) -> None:
        workflow.set_current_details("usage of the ended subscription has changed; more may come before it is billed")
        if pause:
            await workflow.sleep(pause, summary="more late usage that may come")

    async def _bill_late(self) -> None:
        """Bill what changed; what no retry cures waits, visibly, until the usage changes again."""
        assert self._late is not None, "there is something to bill"
        late, self._late = self._late, None
        message = BillAfterEnd(subscription=self._start.subscription, request_id=f"usage-{late.version}")
        try:
            async with self._turn:
                self._show_state(await self._bill(message))
        except FailureError as error:
            workflow.set_current_details(f"needs attention: {reason(error)}")
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])
            await workflow.wait_condition(lambda: self._late is not None)
            workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(False)])

    async def _bill(self, message: BillAfterEnd) -> InvoiceClosed:
        closed = await workflow.execute_local_activity_method(
            AfterEndActivities.bill_after_end,
            message,
            summary="bill what changed after the end",
            **policies.CLOSING,
        )
        self._invoices += closed.invoice_id is not None
        return closed

    def _show_state(self, closed: InvoiceClosed) -> None:
        if closed.invoice_id is None:
            workflow.set_current_details("nothing was left to bill")
        else:
            shown = shown_amount(closed.total_minor, closed.currency)
            workflow.set_current_details(f"adjustment invoice {closed.number} over {shown}")

    @workflow.signal
    def late_usage(self, message: LateUsage) -> None:
        """Take note that the usage has changed."""
        if self._late is None or message.version > self._late.version:
            self._late = message

    @workflow.update
    async def invoice_now(self, command: InvoiceNow) -> InvoiceClosed:
        """Bill everything unbilled up to the cutoff; the invoice waits to be charged."""
        async with self._turn:
            closed = await self._bill(
                BillAfterEnd(
                    subscription=self._start.subscription,
                    request_id=command.request_id,
                    cutoff_end=command.cutoff_end,
                    start=command.start,
                    draft=command.draft,
                )
            )
            self._show_state(closed)
            return closed
