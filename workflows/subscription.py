"""The one actor of a subscription, for its whole life: usage, periods, invoices and their collection.

It decides nothing itself: `next_wake` says what is due, `lifecycle` what follows from it,
and local activities write it down. Closing and commands take turns under one lock, payments under another, so that a
provider that hangs delays neither the next close nor a command.
"""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

from temporalio import workflow
from temporalio.common import SearchAttributePair
from temporalio.exceptions import ApplicationError

from activities import calls
from billing.collection import OpenInvoice
from billing.subscriptions import alert_state, lifecycle, suspension_rules
from billing.subscriptions.story import WAITS_FOR, describe_state
from billing.subscriptions.subscription import (
    CutoffBeforeOpenPeriod,
    DueClose,
    IllegalTransition,
    SubscriptionState,
    Wake,
    is_collected_by,
    is_due,
    next_wake,
    overdue,
    subscription_now,
)
from models.identifiers import SUBSCRIPTION_WORKFLOW
from models.messages import subscription_steps as steps
from models.messages.alerting import AlertsChanged
from models.messages.closing import InvoiceClosed
from models.messages.collecting import InvoiceCollected
from models.messages.lifecycle import FindInvoice, LifecycleAction, ReportClock
from models.messages.subscription import (
    Cancel,
    ChargeInvoice,
    ClockAdvanced,
    ClockDeleted,
    CommandAccepted,
    InvoiceNow,
    InvoiceStatusChanged,
    SubscriptionStart,
    UsageRecorded,
)
from models.visibility import search_attributes
from workflows import alerting
from workflows.command_handlers import CommandHandlers
from workflows.payments_in_progress import PaymentsInProgress


@workflow.defn(name=SUBSCRIPTION_WORKFLOW)
class SubscriptionWorkflow(CommandHandlers):
    """Lives as long as its subscription has something to do; its state is the only thing carried from run to run."""

    @workflow.init
    def __init__(self, start: SubscriptionStart) -> None:
        self._state = start.state
        self._limits = start.limits
        self._signals = 0
        self._periods_before = start.state.periods_closed
        self._shown: tuple[SearchAttributePair[Any], ...] = tuple(workflow.info().typed_search_attributes)
        self._turn = asyncio.Lock()
        self._payments = PaymentsInProgress()

    @workflow.run
    async def run(self, start: SubscriptionStart) -> CommandAccepted:
        """Do what is due, one thing after the other, until the subscription is over and everything is settled."""
        self._show_state()
        while not self._state.is_finished:
            if self._is_full():
                await self._wait_until_idle()
                workflow.continue_as_new(start.model_copy(update={"state": self._state}))
            if self._payments.discard_finished():
                self._show_state()
            wake = self._next()
            if is_due(self._state, wake, wall=workflow.now()):
                await self._act(wake)
                self._show_state()
            else:
                await self._wait(wake)
        await self._wait_until_idle()
        if self._state.clock is not None and workflow.patched("leave-the-clock-when-finished"):
            at = self._state.clock.frozen_time
            await calls.report_clock(ReportClock(subscription=steps.ref_of(self._state), reached_at=at, finished=True))
        return CommandAccepted(status=self._state.status)

    async def _wait_until_idle(self) -> None:
        """Wait until nothing is under way."""
        await workflow.wait_condition(lambda: workflow.all_handlers_finished() and self._payments.all_finished)
        self._payments.discard_finished()

    # What is due, and waiting for it

    def _now(self) -> datetime:
        return subscription_now(self._state, wall=workflow.now())

    def _next(self) -> Wake:
        following = next_wake(self._state, at=self._now(), wall=workflow.now(), collecting=self._payments)
        return suspension_rules.due_transition(self._state) or alert_state.evaluation_due(self._state) or following

    async def _wait(self, wake: Wake) -> None:
        """Wait until the wake is due, or something else is next."""
        timeout = None if wake.at is None else wake.at - workflow.now()
        try:
            await workflow.wait_condition(
                lambda: (
                    self._state.is_finished or self._is_full() or self._payments.any_finished or self._next() != wake
                ),
                timeout=timeout,
                timeout_summary=WAITS_FOR[wake.kind],
            )
        except TimeoutError:
            return

    def _is_full(self) -> bool:
        """Return whether this run has grown enough, by our own counters; the server's suggestion ignores signals."""
        return (
            workflow.info().get_current_history_length() >= self._limits.history_events
            or self._signals >= self._limits.signals
            or self._state.periods_closed - self._periods_before >= self._limits.periods
        )

    async def _act(self, wake: Wake) -> None:
        if wake.invoice_id is not None:
            await self._begin_collecting(wake, wake.invoice_id)
            return
        async with self._turn:
            if self._next() == wake:
                await self._do(wake)

    async def _do(self, wake: Wake) -> None:
        """Do what is due; the caller has the turn."""
        assert wake.at is not None, "what is due has a time"
        self._state = lifecycle.advanced_to(self._state, wake.at)
        if wake.kind in ("period_end", "trial_end"):
            await self._evaluate_alerts(closing=True)
        match wake.kind:
            case "evaluate_alerts":
                await self._evaluate_alerts()
            case "activate":
                await self._change("activated", lambda state: lifecycle.begun(state, starts_at=state.starts_at))
            case "trial_end":
                await self._change("trial_ended", lifecycle.after_trial)
            case "period_end":
                await self._end_period()
            case "close":
                await self._close_later(lifecycle.due_close(self._state, wake.period_start))
            case "cancel":
                await self._end_at(wake.at)
            case "suspend":
                await self._change("suspended", suspension_rules.suspended_as_unpaid)
            case "reinstate":
                await self._change("reinstated", suspension_rules.reinstated)
            case "clock_reached":
                await calls.report_clock(ReportClock(subscription=steps.ref_of(self._state), reached_at=wake.at))
                self._state = lifecycle.clock_reported(self._state, wake.at)

    # Periods and invoices

    async def _evaluate_alerts(self, *, closing: bool = False) -> None:
        """Fire the alerts and invoice the thresholds that usage has reached; the caller has the turn."""
        change = await alerting.evaluate(self._state, at=self._now(), closing=closing)
        self._state = change(self._state)
        self._show_state()

    async def _end_period(self) -> None:
        """Bill the period that ends now, let its grace days begin, or let it pass; then the next one runs."""
        due = lifecycle.current_period_due(self._state)
        if not self._is_billed_at_its_end():
            await self._change("period_started", lifecycle.after_period)
        elif self._state.grace_days:
            await self._change("period_started", lambda now: lifecycle.with_due_close(lifecycle.after_period(now), due))
        else:
            await self._close_current(due)

    def _is_billed_at_its_end(self) -> bool:
        is_billed = lifecycle.is_billed_at_its_end(self._state)
        return is_billed and (self._state.status != "paused" or workflow.patched("bill-what-was-used-before-a-pause"))

    async def _close_current(self, due: DueClose) -> None:
        """Bill the current period and move to the next one, in one transaction."""
        following, changes_plan = lifecycle.following_period(self._state), self._state.plan_change is not None
        closed = await calls.bill_or_error(steps.close_of(self._state, due, following=following, at=self._now()))
        self._state = lifecycle.after_period(self._state)
        await self._closed(due, closed)
        if changes_plan:
            await calls.record(steps.record_of(self._state, "plan_changed", at=self._now()))

    async def _close_later(self, due: DueClose) -> None:
        """Bill a period whose grace days are over, or one that an operator took up again."""
        closed = await calls.bill_or_error(steps.close_of(self._state, due, following=None, at=self._now()))
        self._state = lifecycle.without_due_close(self._state, due)
        await self._closed(due, closed)

    async def _bill_rest(self, end: datetime) -> None:
        """Bill the current period up to `end` with a final invoice, after its grace days if there are any (C5)."""
        await self._evaluate_alerts(closing=True)
        due = lifecycle.rest_due(self._state, end=end)
        if due is None or not self._is_billed_at_its_end():
            return
        if due.close_at != end and workflow.patched("final-invoice-after-its-grace-days"):
            self._state = lifecycle.with_due_close(self._state, due)
        else:
            message = steps.close_of(self._state, due, following=None, at=self._now())
            await self._closed(due, await calls.bill_or_error(message))

    async def _closed(self, due: DueClose, closed: InvoiceClosed | str) -> None:
        """Follow the invoice of a close, or set the close aside with its error; everything else goes on (C10)."""
        if isinstance(closed, str):
            self._state = lifecycle.close_parked(self._state, due, error=closed)
            await calls.record(steps.record_of(self._state, "parked", at=self._now()))
        else:
            self._state = lifecycle.after_close(self._state, steps.opened(closed, at=self._now()))

    async def _end_at(self, at: datetime) -> None:
        await self._bill_rest(at)
        await self._change("canceled", lambda now: lifecycle.ended(now, at=at, by="end"))

    async def _change(self, action: LifecycleAction, change: steps.Change) -> None:
        """Write a change into the record, then make it; signals may arrive in between."""
        await calls.record(steps.record_of(change(self._state), action, at=self._now()))
        self._state = change(self._state)

    def _show_state(self) -> None:
        """Show the state in the Temporal UI; search attributes cost a command, so only those that changed."""
        workflow.set_current_details(describe_state(self._state))
        wanted = search_attributes(self._state)
        updates = [pair.key.value_set(pair.value) for pair in wanted if pair not in self._shown]
        if updates:
            workflow.upsert_search_attributes(updates)
            self._shown = tuple(wanted)

    # Collection

    async def _begin_collecting(self, wake: Wake, invoice_id: UUID) -> None:
        """Collect beside everything else, as a provider may take long; in a test clock one thing follows another."""
        task = self._payments.begin(invoice_id, self._collect_when_due(wake, invoice_id))
        if self._state.clock is not None:
            await workflow.wait_condition(task.done)

    async def _collect_when_due(self, wake: Wake, invoice_id: UUID) -> None:
        async with self._payments.lock:
            invoice = self._state.invoice(invoice_id)
            if invoice is None or not is_collected_by(wake, invoice):
                return
            if wake.kind == "payment_retry" and wake.at is not None:
                self._state = lifecycle.advanced_to(self._state, wake.at)
            await self._collect(invoice, attempt_no=invoice.attempt_to_make)

    async def _collect(self, invoice: OpenInvoice, *, attempt_no: int) -> InvoiceCollected:
        at = self._now()
        message = steps.collection_of(self._state, invoice.invoice_id, attempt_no, at=at)
        answer = await calls.collect(message, shown=invoice.number or str(invoice.invoice_id))
        self._state = lifecycle.after_collect(
            self._state,
            invoice.invoice_id,
            steps.outcome_of(answer),
            attempt_no=answer.attempt_no,
            error=answer.message,
            at=at,
            wall=workflow.now(),
        )
        if suspension_rules.retries_exhausted(invoice, self._state) and workflow.patched("suspend-when-unpaid"):
            self._state = suspension_rules.with_unpaid(self._state, invoice.invoice_id)
        return answer

    # Commands

    async def carry_out(self, command: steps.LifecycleCommand) -> CommandAccepted:
        """Carry out a command once; its repetition finds it done, in a later run too."""
        async with self._turn:
            if command.request_id not in self._state.recent_requests:
                while (late := overdue(self._state, at=self._now())).at is not None:
                    await self._do(late)
                action, change = steps.transition_of(self._state, command, at=self._now())
                try:
                    change(self._state)
                    if isinstance(command, Cancel) and command.immediately and command.on_termination != "skip":
                        await self._bill_rest(self._now())
                    await self._change(action, change)
                except IllegalTransition as error:
                    raise ApplicationError(str(error), type="IllegalTransition") from error
                self._state = lifecycle.with_request(self._state, command.request_id)
                self._show_state()
            return CommandAccepted(status=self._state.status)

    def must_allow(self, command: steps.LifecycleCommand) -> None:
        """Refuse a command before it reaches the history; raises `IllegalTransition`."""
        if command.request_id not in self._state.recent_requests:
            _, change = steps.transition_of(self._state, command, at=self._now())
            change(self._state)

    @workflow.update
    async def invoice_now(self, command: InvoiceNow) -> InvoiceClosed:
        """Bill what is unbilled up to the cutoff; the invoice waits to be charged."""
        async with self._turn:
            closed = await calls.bill(steps.close_on_demand(self._state, command, at=self._now()))
            invoice = steps.opened(closed, at=self._now())
            if invoice is not None:
                self._state = lifecycle.followed(self._state, invoice)
                self._show_state()
            return closed

    @invoice_now.validator
    def _may_invoice_now(self, command: InvoiceNow) -> None:
        if command.cutoff_end <= self._state.billing_starts_at:
            raise CutoffBeforeOpenPeriod("the cutoff is before the first instant that can be billed")

    @workflow.update
    async def charge_invoice(self, command: ChargeInvoice) -> InvoiceCollected:
        """Collect an invoice now; of several at once one pays and the others find it paid (B126)."""
        async with self._payments.lock:
            invoice = self._state.invoice(command.invoice_id)
            if invoice is None:
                question = FindInvoice(subscription=steps.ref_of(self._state), invoice_id=command.invoice_id)
                standing = await calls.find_invoice(question)
                if standing.status is None:
                    raise ApplicationError("the subscription has no such invoice", type="InvoiceNotFound")
                if standing.status not in steps.COLLECTABLE:
                    return steps.refusal(command.invoice_id, standing)
                invoice = steps.invoice_to_collect(command.invoice_id, standing)
                self._state = lifecycle.followed(self._state, invoice)
            # An attempt whose outcome is unknown is resumed under its own number, whatever number is asked for (C7).
            answer = await self._collect(invoice, attempt_no=invoice.attempts + 1)
            self._show_state()
            return answer

    # Facts, and looking in

    @workflow.signal
    def usage_recorded(self, message: UsageRecorded) -> None:
        """Take note of cumulative usage; older messages change nothing."""
        self._signals += 1
        self._state = lifecycle.usage_recorded(
            self._state, steps.usage_of(message), watermark=message.watermark, period_start=message.period_start
        )
        workflow.set_current_details(describe_state(self._state))

    @workflow.signal
    def clock_advanced(self, message: ClockAdvanced) -> None:
        """Let everything that is due up to the clock's new time happen."""
        self._signals += 1
        self._state = alert_state.evaluation_requested_again(lifecycle.clock_advanced(self._state, message.frozen_time))

    @workflow.signal
    def alerts_changed(self, message: AlertsChanged) -> None:
        """Look at the alerts and thresholds in the record next: they, or a wallet, were changed (B145)."""
        self._signals += 1
        waits = message.next_usage and not alert_state.has_newer_usage(self._state, message.usage_known)
        self._state = (alert_state.evaluation_requested_with_usage if waits else alert_state.evaluation_requested)(
            self._state
        )

    @workflow.signal
    async def clock_deleted(self, _: ClockDeleted) -> None:
        """End without another bill or payment."""
        self._signals += 1
        async with self._turn:
            self._state = lifecycle.clock_deleted(self._state)

    @workflow.signal
    def invoice_status_changed(self, message: InvoiceStatusChanged) -> None:
        """Take note that an invoice was paid, voided or noticed elsewhere."""
        self._signals += 1
        self._state = lifecycle.invoice_status_reported(
            self._state, message.invoice_id, message.status, wall=workflow.now()
        )

    @workflow.query
    def state(self) -> SubscriptionState:
        """Return everything the workflow knows, live."""
        return self._state
