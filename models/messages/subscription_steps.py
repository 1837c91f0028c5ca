"""The messages of a subscription's steps, made from its state: what the workflow sends to its activities."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, assert_never
from uuid import UUID

from billing.collection import OpenInvoice, Outcome, is_final_attempt
from billing.period import Period
from billing.subscriptions import alert_state, lifecycle, suspension_rules
from billing.subscriptions.subscription import DueClose, PlanChange, SubscriptionState, UsageSoFar
from models.identifiers import period_billing_key, request_billing_key
from models.messages.alerting import AlertsEvaluated, EvaluateAlerts
from models.messages.base import SubscriptionRef
from models.messages.closing import ClosePeriods, InvoiceClosed
from models.messages.collecting import CollectInvoice, InvoiceCollected
from models.messages.lifecycle import InvoiceStatusFound, LifecycleAction, RecordLifecycle
from models.messages.subscription import (
    Activate,
    Cancel,
    InvoiceNow,
    MigratePlan,
    Pause,
    Reinstate,
    Resume,
    RetryParked,
    SkipParked,
    Suspend,
    UsageRecorded,
)

Change = Callable[[SubscriptionState], SubscriptionState]
LifecycleCommand = Pause | Resume | Suspend | Reinstate | Activate | Cancel | MigratePlan | RetryParked | SkipParked

#: Statuses of an invoice that may still be paid.
COLLECTABLE: Final = ("issued", "overdue", "failed")
_NO_WAY_TO_PAY: Final = ("no_payment_provider", "manual_payment", "payment_provider_not_configured")


def ref_of(state: SubscriptionState) -> SubscriptionRef:
    """Name the subscription and its tenant."""
    return SubscriptionRef(
        organization_id=state.organization_id, project_id=state.project_id, subscription_id=state.subscription_id
    )


def close_of(state: SubscriptionState, due: DueClose, *, following: Period | None, at: datetime) -> ClosePeriods:
    """Ask to bill a stretch of time; `following` becomes the row's current period in the same transaction."""
    subscription = state.subscription_id
    by_period = due.kind == "period"
    return ClosePeriods(
        subscription=ref_of(state),
        kind=due.kind,
        start=due.period.start,
        end=due.period.end,
        at=at,
        billing_key=(
            period_billing_key(subscription, due.period.start)
            if by_period
            else request_billing_key(subscription, due.kind)
        ),
        next_period_start=following.start if following else None,
        next_period_end=following.end if following else None,
        plan_version_id=due.plan_version_id,
    )


def close_on_demand(state: SubscriptionState, command: InvoiceNow, *, at: datetime) -> ClosePeriods:
    """Ask to bill everything unbilled up to a cutoff, from the start of billing or from a later instant."""
    begins = state.billing_starts_at
    return ClosePeriods(
        subscription=ref_of(state),
        kind="on_demand",
        start=max(begins, command.start) if command.start else begins,
        end=command.cutoff_end,
        at=at,
        billing_key=request_billing_key(state.subscription_id, command.request_id),
        draft=command.draft,
    )


def evaluation_of(state: SubscriptionState, *, at: datetime, closing: bool) -> EvaluateAlerts:
    """Ask what of the alerts and thresholds the usage of the current period has reached."""
    assert state.period is not None, "outside of periods nothing fires"
    assert state.alert_state is not None, "without alerts there is nothing to look at"
    return EvaluateAlerts(
        subscription=ref_of(state),
        period_start=state.period.start,
        period_end=state.period.end,
        at=min(at, state.period.end),
        plan_version_id=state.plan_version_id,
        billable=lifecycle.invoices_thresholds(state),
        closing=closing or at >= state.period.end,
        billing_key=alert_state.progressive_key(
            state.subscription_id, state.period.start, state.alert_state.evaluations
        ),
    )


def progressive_close(state: SubscriptionState, look: EvaluateAlerts, found: AlertsEvaluated) -> ClosePeriods:
    """Ask to bill the usage of the current period so far, for the thresholds that an evaluation found crossed (C30)."""
    return ClosePeriods(
        subscription=look.subscription,
        kind="progressive",
        start=look.period_start,
        end=look.period_end,
        at=look.at,
        billing_key=look.billing_key,
        plan_version_id=state.plan_version_id,
        thresholds=found.crossed,
        spend_minor=found.spend_minor,
    )


def collection_of(state: SubscriptionState, invoice_id: UUID, attempt_no: int, *, at: datetime) -> CollectInvoice:
    """Ask to make or resume one payment attempt."""
    return CollectInvoice(
        organization_id=state.organization_id,
        project_id=state.project_id,
        invoice_id=invoice_id,
        attempt_no=attempt_no,
        at=at,
        final_attempt=is_final_attempt(attempt_no),
    )


def record_of(state: SubscriptionState, action: LifecycleAction, *, at: datetime) -> RecordLifecycle:
    """Ask to write a state into the subscription's row, with what happened and when."""
    period, requested = state.period, state.plan_change
    suspension = state.suspension if action == "suspended" else None
    return RecordLifecycle(
        subscription=ref_of(state),
        action=action,
        at=at,
        status=state.status,
        starts_at=state.starts_at,
        anchor=state.cycle.anchor,
        trial_ends_at=state.trial_ends_at,
        bills_automatically_from=state.bills_automatically_from,
        period_start=period.start if period else None,
        period_end=period.end if period else None,
        cancel_at=state.cancel_at,
        plan_version_id=state.plan_version_id,
        plan_version=state.plan_version,
        needs_attention=state.needs_attention,
        requested_plan_version=requested.plan_version if requested else None,
        reason=suspension.reason if suspension else None,
        is_unpaid=suspension is not None and suspension.is_unpaid,
        pause_behavior=state.pause.behavior if state.pause else "skip",
    )


def transition_of(  # noqa: PLR0911 - one match, one answer for each command
    state: SubscriptionState, command: LifecycleCommand, *, at: datetime
) -> tuple[LifecycleAction, Change]:
    """Return what a command does to a subscription, and the word for it; the change raises `IllegalTransition`.

    The change is applied to the state of then: usage may have come in while it was written down.
    """
    match command:
        case Pause(behavior=behavior):
            return "paused", lambda now: lifecycle.paused(now, at=at, behavior=behavior)
        case Resume():
            return "resumed", lambda now: lifecycle.resumed(now, at=at)
        case Suspend(reason=why):
            return "suspended", lambda now: suspension_rules.suspended(now, reason=why)
        case Reinstate():
            return "reinstated", suspension_rules.reinstated
        case Activate():
            return "activated", lambda now: lifecycle.begun(now, starts_at=at)
        case Cancel(immediately=True):
            return "terminated", lambda now: lifecycle.ended(now, at=at, by="terminate")
        case Cancel():
            return ("canceled" if state.status == "pending" else "cancel_scheduled"), lifecycle.cancel_requested
        case MigratePlan(plan_version_id=version_id, plan_version=version, at_period_end=at_period_end):
            change = PlanChange(plan_version_id=version_id, plan_version=version)
            is_back = state.plan_version_id == version_id
            later = state.plan_change is not None if is_back else at_period_end and state.period is not None
            action: LifecycleAction = "plan_change_requested" if later else "plan_changed"
            return action, lambda now: lifecycle.plan_change_requested(now, change, at_period_end=at_period_end)
        case RetryParked():
            return "unparked", lambda now: alert_state.evaluation_requested_again(lifecycle.unparked(now, at=at))
        case SkipParked():
            return "unparked", lambda now: alert_state.error_skipped(lifecycle.parked_skipped(now))
        case _:
            assert_never(command)


def opened(closed: InvoiceClosed, *, at: datetime) -> OpenInvoice | None:
    """Return the invoice of a close as one to follow until it is settled; None if it is settled, or a draft."""
    if closed.invoice_id is None or closed.status not in COLLECTABLE:
        return None
    return OpenInvoice(
        invoice_id=closed.invoice_id,
        number=closed.number,
        total_minor=closed.total_minor,
        currency=closed.currency,
        next_attempt_at=at if closed.collect else None,
        due_at=closed.due_at,
    )


def invoice_to_collect(invoice_id: UUID, standing: InvoiceStatusFound) -> OpenInvoice:
    """Return an invoice that the record knows as one to follow."""
    return OpenInvoice(
        invoice_id=invoice_id,
        number=standing.number,
        total_minor=standing.total_minor,
        currency=standing.currency,
        status="pending" if standing.outcome_unknown else "issued",
        attempts=standing.attempts,
        due_at=standing.due_at,
    )


def refusal(invoice_id: UUID, standing: InvoiceStatusFound) -> InvoiceCollected:
    """Answer the charge of an invoice that is paid, voided or a draft."""
    return InvoiceCollected(
        invoice_id=invoice_id,
        status="not_collectable",
        attempt_no=standing.attempts,
        code=f"invoice_{standing.status}",
        message=f"The invoice is {standing.status}.",
    )


def outcome_of(answer: InvoiceCollected) -> Outcome:
    """Read the collection's answer: an invoice that cannot be collected is settled, or nobody can be asked to pay."""
    if answer.status == "not_collectable":
        return "unpayable" if answer.code in _NO_WAY_TO_PAY else "settled"
    return answer.status


def usage_of(message: UsageRecorded) -> tuple[UsageSoFar, ...]:
    """Read the totals of a usage signal."""
    return tuple(
        UsageSoFar(metric_id=t.metric_id, metric_key=t.metric_key, quantity=t.quantity, events=t.events)
        for t in message.totals
    )
