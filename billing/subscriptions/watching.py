"""When a subscription's workflow looks at its alerts and thresholds, and its state after each look (seed 002).

Pure reducers over `SubscriptionState`. A subscription without alerts has no `watching`, and
nothing here costs it anything.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from billing.alerts import UsageLine, Watching
from billing.period import Instant
from billing.subscriptions.lifecycle import is_billed_at_its_end
from billing.subscriptions.subscription import SubscriptionState, Wake

_FIRST_PAUSE: Final = timedelta(seconds=5)
_MOST_DOUBLINGS: Final = 12


def must_look(state: SubscriptionState) -> bool:
    """Tell whether the record has to be asked whether something fires.

    It has to when an alert was changed (B145), a period began, the plan version or the billing changed, or newer usage
    has got to the nearest line. Outside of periods nothing fires.
    """
    watching, period = state.watching, state.period
    if watching is None or period is None or state.is_over:
        return False
    looked_at = (watching.seen, watching.period_start, watching.plan_version_id, watching.billable)
    if looked_at != (watching.asked, period.start, state.plan_version_id, is_billed_at_its_end(state)):
        return True
    if state.usage_watermark <= watching.watermark or state.usage_period_start != period.start:
        return False
    return watching.each_signal or bool(reached(state))


def is_time(state: SubscriptionState, at: datetime) -> bool:
    """Tell whether the instant has come at which something may be reached without any news."""
    return state.watching is not None and state.watching.look_at is not None and state.watching.look_at <= at


def look_due(state: SubscriptionState) -> Wake | None:
    """Give the look that comes before everything else, so that what fires does so at its own time; None if none is."""
    if not must_look(state) or state.period is None:
        return None
    return Wake(kind="look", at=state.period.start)


def reached(state: SubscriptionState) -> tuple[UsageLine, ...]:
    """Give the metrics whose usage has got to their nearest line."""
    if state.watching is None:
        return ()
    return state.watching.reached(UsageLine(metric_id=used.metric_id, quantity=used.quantity) for used in state.usage)


def asked(state: SubscriptionState) -> SubscriptionState:
    """Give the state after alerts, thresholds or a wallet changed: it looks at them next."""
    watching = state.watching
    after = Watching() if watching is None else watching.model_copy(update={"asked": watching.asked + 1, "error": None})
    return state.model_copy(update={"watching": after})


def asked_with_usage(state: SubscriptionState) -> SubscriptionState:
    """Give the state that looks when it hears of usage next: after a new threshold, which fires then (C29)."""
    watching = state.watching
    if watching is None and state.period is not None:
        watching = Watching(
            asked=0,
            watermark=state.usage_watermark,
            period_start=state.period.start,
            plan_version_id=state.plan_version_id,
            billable=is_billed_at_its_end(state),
        )
    after = Watching() if watching is None else watching.model_copy(update={"each_signal": True, "error": None})
    return state.model_copy(update={"watching": after})


def has_heard_of_more(state: SubscriptionState, watermark: int | None) -> bool:
    """Tell whether usage has been told that is newer than a watermark; False without one."""
    return watermark is not None and state.usage_watermark > watermark


def asked_again(state: SubscriptionState) -> SubscriptionState:
    """Give the state that looks once more, if it watches anything: before its clock moves, and when it is unparked."""
    return state if state.watching is None else asked(state)


def still_failing(state: SubscriptionState) -> str | None:
    """Give the error that keeps thresholds of this period from being invoiced, until something changes.

    That a look could not be made says nothing of them: it is made again.
    """
    watching, period = state.watching, state.period
    if watching is None or period is None or watching.period_start != period.start or watching.asked != watching.seen:
        return None
    return None if watching.failures else watching.error


def is_parked(state: SubscriptionState) -> bool:
    """Tell whether the record shows why a look failed."""
    return state.watching is not None and state.watching.parked


def failed_again(state: SubscriptionState, error: str) -> bool:
    """Tell whether the look before failed for the same reason, which the record shows already."""
    watching = state.watching
    return watching is not None and watching.failures > 0 and watching.error == error


def look_again_at(state: SubscriptionState, at: datetime) -> datetime:
    """Give the instant of the next look after one that failed at `at`: in 5 seconds, then after twice as long each
    time, at most six hours."""
    failures = state.watching.failures if state.watching else 0
    return at + _FIRST_PAUSE * (1 << min(failures, _MOST_DOUBLINGS))


def error_skipped(state: SubscriptionState) -> SubscriptionState:
    """Give the state that no longer shows why a look failed; it looks again when something changes."""
    if state.watching is None:
        return state
    skipped = {"error": None, "failures": 0, "parked": False}
    return state.model_copy(update={"watching": state.watching.model_copy(update=skipped)})


def looked(
    state: SubscriptionState,
    at_look: SubscriptionState,
    *,
    lines: Sequence[UsageLine] = (),
    each_signal: bool = False,
    look_at: datetime | None = None,
    told: Sequence[str] = (),
    nothing: bool = False,
    error: str | None = None,
    again_at: datetime | None = None,
) -> SubscriptionState:
    """Give the state after a look that began in the state `at_look`; what was asked meanwhile is looked at again.

    `nothing` says that there is nothing to watch any more. After an `error` it waits until something changes, or until
    `again_at` if the look could not be made at all.
    """
    watching, before = state.watching, at_look.watching
    assert watching is not None, "a change of watching keeps it until the look is over"
    assert before is not None, "a look begins with something to watch"
    assert at_look.period is not None, "a look is at a period"
    if nothing and watching.asked == before.asked:
        return state.model_copy(update={"watching": None})
    after = watching.model_copy(
        update={
            "seen": before.asked,
            "looks": before.looks + 1,
            "watermark": at_look.usage_watermark,
            "period_start": at_look.period.start,
            "plan_version_id": at_look.plan_version_id,
            "billable": is_billed_at_its_end(at_look),
            "lines": tuple(lines),
            "each_signal": each_signal,
            "look_at": look_at if again_at is None else again_at,
            "told": watching.telling(told),
            "error": error,
            "failures": 0 if again_at is None else before.failures + 1,
            "parked": error is not None,
        }
    )
    return state.model_copy(update={"watching": after})


def progressive_key(subscription_id: UUID, period_start: Instant, looks: int) -> str:
    """Name the invoice that one look may make in the middle of a period; a second run finds it (C8)."""
    return f"{subscription_id}:{period_start.isoformat()}:progressive:{looks}"
