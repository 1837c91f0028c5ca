"""How a subscription's workflow evaluates its alerts and thresholds, and invoices what a threshold asks for."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from temporalio import workflow

from activities import calls
from billing.numbers import grouped
from billing.subscriptions import alert_state, lifecycle
from billing.subscriptions.story import shown_amount
from billing.subscriptions.subscription import SubscriptionState
from models.messages import subscription_steps as steps
from models.messages.alerting import AlertsEvaluated, EvaluateAlerts
from models.messages.closing import InvoiceClosed

Change = Callable[[SubscriptionState], SubscriptionState]

_LOOKS_AGAIN: Final = "look-again-after-failure"


async def evaluate(state: SubscriptionState, *, at: datetime, closing: bool = False) -> Change:
    """Fire what has been reached; returns the change of the state, to be made of what the state is by then.

    `closing` looks at a period that ends now, whether or not a signal told of its last usage. A subscription that
    watches nothing, and one that need not look yet, run no activity.
    """
    at_the_end = closing and state.alert_state is not None and state.period is not None
    if state.period is None or not (
        alert_state.needs_evaluation(state) or alert_state.is_evaluation_time(state, at) or at_the_end
    ):
        return lambda now: now
    stuck = alert_state.blocking_error(state)
    message = steps.evaluation_of(state, at=at, closing=closing or stuck is not None)
    found = await calls.evaluate_alerts(message, shown=_why(state))
    if isinstance(found, str):
        return await _failed(state, found, at=message.at)
    closed = await _invoiced(state, message, found)
    notified = (*found.notified, *_told(found, closed))
    error = closed if isinstance(closed, str) else stuck or found.error
    invoice = None if closed is None or isinstance(closed, str) else steps.opened(closed, at=message.at)

    def change(now: SubscriptionState) -> SubscriptionState:
        after = alert_state.after_evaluation(
            now,
            state,
            thresholds=found.thresholds,
            on_every_signal=found.on_every_signal,
            evaluate_at=found.evaluate_at,
            notified=notified,
            nothing=found.nothing,
            error=error,
        )
        return after if invoice is None else lifecycle.followed(after, invoice)

    if error != stuck:
        return await _recorded(state, change, at=message.at)
    if error is None and alert_state.is_parked(state) and workflow.patched(_LOOKS_AGAIN):
        return await _recorded(state, change, at=message.at)
    return change


async def _failed(state: SubscriptionState, error: str, *, at: datetime) -> Change:
    """Set an evaluation aside that could not be made, and let it be made again: until then no alert would fire."""
    again_at = alert_state.retry_evaluation_at(state, at) if workflow.patched(_LOOKS_AGAIN) else None

    def change(now: SubscriptionState) -> SubscriptionState:
        return alert_state.after_evaluation(now, state, error=error, again_at=again_at)

    return change if alert_state.repeats_last_error(state, error) else await _recorded(state, change, at=at)


async def _recorded(state: SubscriptionState, change: Change, *, at: datetime) -> Change:
    """Write into the record that somebody has to look at an error, or need not any more; billing goes on."""
    after = change(state)
    await calls.record(steps.record_of(after, "parked" if after.needs_attention else "unparked", at=at))
    return change


async def _invoiced(
    state: SubscriptionState, look: EvaluateAlerts, found: AlertsEvaluated
) -> InvoiceClosed | str | None:
    """Bill the usage so far if a threshold was crossed; an error instead of the invoice if no retry can cure it."""
    if not found.crossed:
        return None
    spent = shown_amount(found.spend_minor, found.currency)
    return await calls.bill_or_error(
        steps.progressive_close(state, look, found), shown=f"threshold reached: bill the usage so far, {spent}"
    )


def _why(state: SubscriptionState) -> str:
    """Return why it looks: the usage that has reached a line, or that something changed."""
    reached = alert_state.reached_thresholds(state)
    if not reached:
        return "look at alerts and thresholds"
    keys = {used.metric_id: used.metric_key for used in state.usage}
    return "alert threshold reached: " + ", ".join(f"{keys[at.metric_id]} {grouped(at.quantity)}" for at in reached[:3])


def _told(found: AlertsEvaluated, closed: InvoiceClosed | str | None) -> tuple[str, ...]:
    if closed is None:
        return ()
    what = f"threshold reached at {shown_amount(found.spend_minor, found.currency)}"
    if isinstance(closed, str):
        return (f"{what}, not invoiced: {closed}",)
    if closed.invoice_id is None:
        return (f"{what}, nothing unbilled",)
    return (f"{what}, invoice {closed.number} over {shown_amount(closed.total_minor, closed.currency)}",)
