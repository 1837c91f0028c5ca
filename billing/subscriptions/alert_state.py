"""When a subscription's workflow evaluates its alerts and thresholds, and its state after each evaluation (seed 002).

Pure reducers over `SubscriptionState`. A subscription without alerts has no `alert_state`, and
nothing here costs it anything.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from billing.alerts import AlertState, EvaluationThreshold
from billing.period import Instant
from billing.subscriptions.lifecycle import invoices_thresholds
from billing.subscriptions.subscription import SubscriptionState, Wake

_FIRST_PAUSE: Final = timedelta(seconds=5)
_MOST_DOUBLINGS: Final = 12


def needs_evaluation(state: SubscriptionState) -> bool:
    """Return whether the record has to be asked whether something fires.

    It has to when an alert was changed (B145), a period began, the plan version or the billing changed, or newer usage
    has reached the nearest threshold. Outside of periods nothing fires.
    """
    alert_state, period = state.alert_state, state.period
    if alert_state is None or period is None or state.is_over:
        return False
    looked_at = (alert_state.evaluated, alert_state.period_start, alert_state.plan_version_id, alert_state.billable)
    if looked_at != (alert_state.requested, period.start, state.plan_version_id, invoices_thresholds(state)):
        return True
    if state.usage_watermark <= alert_state.watermark or state.usage_period_start != period.start:
        return False
    return alert_state.on_every_signal or bool(reached_thresholds(state))


def is_evaluation_time(state: SubscriptionState, at: datetime) -> bool:
    """Return whether the instant has come at which something may be reached without any news."""
    return (
        state.alert_state is not None
        and state.alert_state.evaluate_at is not None
        and state.alert_state.evaluate_at <= at
    )


def evaluation_due(state: SubscriptionState) -> Wake | None:
    """Give the look that comes before everything else, so that what fires does so at its own time; None if none is."""
    if not needs_evaluation(state) or state.period is None:
        return None
    return Wake(kind="evaluate_alerts", at=state.period.start)


def reached_thresholds(state: SubscriptionState) -> tuple[EvaluationThreshold, ...]:
    """Return the metrics whose usage has reached their nearest threshold."""
    if state.alert_state is None:
        return ()
    return state.alert_state.reached(
        EvaluationThreshold(metric_id=used.metric_id, quantity=used.quantity) for used in state.usage
    )


def evaluation_requested(state: SubscriptionState) -> SubscriptionState:
    """Return the state after alerts, thresholds or a wallet changed: it evaluates them next."""
    alert_state = state.alert_state
    after = (
        AlertState(evaluations=state.evaluations)
        if alert_state is None
        else alert_state.model_copy(update={"requested": alert_state.requested + 1, "error": None})
    )
    return state.model_copy(update={"alert_state": after})


def evaluation_requested_with_usage(state: SubscriptionState) -> SubscriptionState:
    """Return the state that evaluates when it hears of usage next: after a new threshold, which fires then (C29)."""
    alert_state = state.alert_state
    if alert_state is None and state.period is not None:
        alert_state = AlertState(
            requested=0,
            evaluations=state.evaluations,
            watermark=state.usage_watermark,
            period_start=state.period.start,
            plan_version_id=state.plan_version_id,
            billable=invoices_thresholds(state),
        )
    after = (
        AlertState(evaluations=state.evaluations)
        if alert_state is None
        else alert_state.model_copy(update={"on_every_signal": True, "error": None})
    )
    return state.model_copy(update={"alert_state": after})


def has_newer_usage(state: SubscriptionState, watermark: int | None) -> bool:
    """Return whether usage has been told that is newer than a watermark; False without one."""
    return watermark is not None and state.usage_watermark > watermark


def evaluation_requested_again(state: SubscriptionState) -> SubscriptionState:
    """Give the state that looks once more, if it watches anything: before its clock moves, and when it is unparked."""
    return state if state.alert_state is None else evaluation_requested(state)


def blocking_error(state: SubscriptionState) -> str | None:
    """Return the error that keeps thresholds of this period from being invoiced, until something changes.

    That an evaluation could not be made says nothing of them: it is made again.
    """
    alert_state, period = state.alert_state, state.period
    if (
        alert_state is None
        or period is None
        or alert_state.period_start != period.start
        or alert_state.requested != alert_state.evaluated
    ):
        return None
    return None if alert_state.failures else alert_state.error


def is_parked(state: SubscriptionState) -> bool:
    """Return whether the record shows why an evaluation failed."""
    return state.alert_state is not None and state.alert_state.parked


def repeats_last_error(state: SubscriptionState, error: str) -> bool:
    """Return whether the evaluation before failed for the same reason, which the record shows already."""
    alert_state = state.alert_state
    return alert_state is not None and alert_state.failures > 0 and alert_state.error == error


def retry_evaluation_at(state: SubscriptionState, at: datetime) -> datetime:
    """Return the instant of the next look after one that failed at `at`: in 5 seconds, then after twice as long each
    time, at most six hours."""
    failures = state.alert_state.failures if state.alert_state else 0
    return at + _FIRST_PAUSE * (1 << min(failures, _MOST_DOUBLINGS))


def error_skipped(state: SubscriptionState) -> SubscriptionState:
    """Return the state that no longer shows why an evaluation failed; it evaluates again when something changes."""
    if state.alert_state is None:
        return state
    skipped = {"error": None, "failures": 0, "parked": False}
    return state.model_copy(update={"alert_state": state.alert_state.model_copy(update=skipped)})


def after_evaluation(
    state: SubscriptionState,
    evaluated_state: SubscriptionState,
    *,
    thresholds: Sequence[EvaluationThreshold] = (),
    on_every_signal: bool = False,
    evaluate_at: datetime | None = None,
    notified: Sequence[str] = (),
    nothing: bool = False,
    error: str | None = None,
    again_at: datetime | None = None,
) -> SubscriptionState:
    """Return the state after an evaluation that began in `evaluated_state`; newer requests are evaluated again.

    `nothing` says that there is nothing to watch any more. After an `error` it waits until something changes, or until
    `again_at` if the evaluation could not be made at all.
    """
    alert_state, before = state.alert_state, evaluated_state.alert_state
    assert alert_state is not None, "a change of watching keeps it until the look is over"
    assert before is not None, "a look begins with something to watch"
    assert evaluated_state.period is not None, "a look is at a period"
    if nothing and alert_state.requested == before.requested:
        return state.model_copy(update={"alert_state": None, "evaluations": before.evaluations + 1})
    after = alert_state.model_copy(
        update={
            "evaluated": before.requested,
            "evaluations": before.evaluations + 1,
            "watermark": evaluated_state.usage_watermark,
            "period_start": evaluated_state.period.start,
            "plan_version_id": evaluated_state.plan_version_id,
            "billable": invoices_thresholds(evaluated_state),
            "thresholds": tuple(thresholds),
            "on_every_signal": on_every_signal,
            "evaluate_at": evaluate_at if again_at is None else again_at,
            "notified": alert_state.notified_with(notified),
            "error": error,
            "failures": 0 if again_at is None else before.failures + 1,
            "parked": error is not None,
        }
    )
    return state.model_copy(update={"alert_state": after})


def progressive_key(subscription_id: UUID, period_start: Instant, evaluations: int) -> str:
    """Name the invoice that one evaluation may make in the middle of a period; a second run finds it (C8)."""
    return f"{subscription_id}:{period_start.isoformat()}:progressive:{evaluations}"
