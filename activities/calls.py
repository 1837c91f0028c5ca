"""How a subscription's workflow calls its activities: which kind, under which policy, with which words in the UI.

A failed local activity raises its own failure, an ordinary one an ActivityError around it; both are FailureErrors, and
one that nobody catches would fail the workflow for good. So none leaves this module unless a command is to be refused.
"""

from collections.abc import Awaitable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from activities import policies
from activities.alerting import AlertActivities
from activities.clock import ClockActivities
from activities.closing import ClosingActivities
from activities.collecting import CollectingActivities
from activities.lifecycle import LifecycleActivities
from billing.period import Period
from billing.subscriptions.story import shown_period
from models.messages.alerting import AlertsEvaluated, EvaluateAlerts
from models.messages.closing import ClosePeriods, InvoiceClosed
from models.messages.collecting import CollectInvoice, InvoiceCollected
from models.messages.lifecycle import FindInvoice, InvoiceStatusFound, RecordLifecycle, ReportClock

_T = TypeVar("_T")


class NotRecorded(Exception):
    """Raised when a step could not be written down: fails the workflow task, which is tried again, not the workflow."""


async def bill(message: ClosePeriods, *, shown: str | None = None) -> InvoiceClosed:
    """Bill a stretch of time in one transaction; raises FailureError if no retry can cure it."""
    return await workflow.execute_local_activity_method(
        ClosingActivities.close_periods,
        message,
        summary=shown or f"bill {shown_period(Period(start=message.start, end=message.end))}",
        **policies.CLOSING,
    )


async def bill_or_error(message: ClosePeriods, *, shown: str | None = None) -> InvoiceClosed | str:
    """Bill a stretch of time; returns the error instead of raising it, for a close that is then set aside."""
    try:
        return await bill(message, shown=shown)
    except FailureError as error:
        return reason(error)


async def evaluate_alerts(message: EvaluateAlerts, *, shown: str) -> AlertsEvaluated | str:
    """Fire what usage has reached; returns an error that no retry can cure, so that billing goes on without alerts."""
    try:
        return await workflow.execute_local_activity_method(
            AlertActivities.evaluate_alerts, message, summary=shown, **policies.CLOSING
        )
    except FailureError as error:
        return reason(error)


async def collect(message: CollectInvoice, *, shown: str) -> InvoiceCollected:
    """Make or resume one payment attempt; an answer that does not come counts as unknown, never as a failure (C7)."""
    try:
        return await workflow.execute_activity_method(
            CollectingActivities.collect_invoice,
            message,
            summary=f"collect {shown}, attempt {message.attempt_no}",
            **policies.PROVIDER,
        )
    except FailureError as error:
        return InvoiceCollected(
            invoice_id=message.invoice_id,
            status="pending",
            attempt_no=message.attempt_no,
            code="no_answer",
            message=reason(error),
        )


async def find_invoice(question: FindInvoice) -> InvoiceStatusFound:
    """Ask where an invoice stands."""
    return await _insisting(
        workflow.execute_local_activity_method(
            LifecycleActivities.find_invoice, question, summary="find the invoice", **policies.DATABASE
        )
    )


async def record(step: RecordLifecycle) -> None:
    """Write a step of the subscription's life into the record."""
    await _insisting(
        workflow.execute_local_activity_method(
            LifecycleActivities.record_lifecycle, step, summary=step.action.replace("_", " "), **policies.DATABASE
        )
    )


async def report_clock(report: ReportClock) -> None:
    """Tell the test clock that this subscription has arrived."""
    await _insisting(
        workflow.execute_local_activity_method(
            ClockActivities.report_clock,
            report,
            summary="tell the test clock that everything due has happened",
            **policies.DATABASE,
        )
    )


async def _insisting(call: Awaitable[_T]) -> _T:
    """Wait for a step that must not be given up: an operator mends its cause, and the task that failed goes on."""
    try:
        return await call
    except FailureError as error:
        raise NotRecorded(reason(error)) from error


def reason(error: FailureError) -> str:
    """Return the innermost reason of a failed activity, for people."""
    cause: BaseException = error
    while not isinstance(cause, ApplicationError) and cause.__cause__ is not None:
        cause = cause.__cause__
    kind = cause.type if isinstance(cause, ApplicationError) and cause.type else type(cause).__name__
    text = cause.message if isinstance(cause, ApplicationError) else str(cause)
    return " ".join(f"{kind}: {text}".split())[:500]
