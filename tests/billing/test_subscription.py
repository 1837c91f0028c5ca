"""A subscription's transitions, what is due next, and the state after each fact."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.collection import OpenInvoice
from billing.period import BillingCycle, Period
from billing.subscriptions import lifecycle
from billing.subscriptions.story import describe_state
from billing.subscriptions.subscription import (
    Command,
    IllegalTransition,
    PlanChange,
    Status,
    SubscriptionState,
    TestClock,
    UsageSoFar,
    Wake,
    next_wake,
    subscription_now,
    transition,
)

START = datetime(2026, 1, 31, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 28, tzinfo=UTC)
MARCH = datetime(2026, 3, 31, tzinfo=UTC)
STATUSES: tuple[Status, ...] = ("pending", "trialing", "active", "paused", "suspended", "canceled", "terminated")
COMMANDS: tuple[Command, ...] = (
    "activate", "end_trial", "pause", "resume", "suspend", "reinstate", "cancel", "end", "terminate",
)  # fmt: skip


def pending(**more: Any) -> SubscriptionState:
    """Return a subscription that starts on 31 January 2026 and has not begun."""
    trial_ends_at = more.get("trial_ends_at")
    given_: dict[str, Any] = {
        "organization_id": UUID(int=1),
        "project_id": UUID(int=2),
        "subscription_id": UUID(int=3),
        "customer_id": UUID(int=4),
        "plan_id": UUID(int=5),
        "plan_code": "growth",
        "plan_version_id": UUID(int=6),
        "plan_version": 1,
        "cycle": BillingCycle(
            interval="monthly", anchor=trial_ends_at or START, timezone="UTC", alignment="anniversary"
        ),
        "status": "pending",
        "starts_at": START,
        "bills_automatically_from": START,
    }
    return SubscriptionState(**(given_ | more))


def active(**more: Any) -> SubscriptionState:
    """Return the subscription in its first period."""
    return lifecycle.created(pending(), at=START).model_copy(update=more)


def due(state: SubscriptionState, at: datetime = START, wall: datetime | None = None) -> Wake:
    """Return what is due next, in wall time unless `wall` differs."""
    return next_wake(state, at=at, wall=wall or at)


def invoice(number: int = 9, **more: Any) -> OpenInvoice:
    """Return an open invoice."""
    return OpenInvoice(**({"invoice_id": UUID(int=number), "currency": "USD", "total_minor": 4900} | more))


LEGAL: dict[tuple[Status, Command], Status] = {
    ("pending", "activate"): "active", ("pending", "cancel"): "canceled", ("pending", "terminate"): "terminated",
    ("pending", "end"): "canceled",
    ("trialing", "end_trial"): "active", ("trialing", "pause"): "paused", ("active", "pause"): "paused",
    ("paused", "resume"): "active", ("active", "suspend"): "suspended", ("suspended", "reinstate"): "active",
    ("trialing", "cancel"): "trialing", ("active", "cancel"): "active", ("paused", "cancel"): "paused",
    ("suspended", "cancel"): "suspended", ("trialing", "end"): "canceled", ("active", "end"): "canceled",
    ("paused", "end"): "canceled", ("suspended", "end"): "canceled", ("trialing", "terminate"): "terminated",
    ("active", "terminate"): "terminated", ("paused", "terminate"): "terminated",
    ("suspended", "terminate"): "terminated",
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_transition_is_the_legal_one_or_refused(status: Status, command: Command) -> None:
    if (status, command) in LEGAL:
        assert transition(status, command) == LEGAL[status, command]
    else:
        with pytest.raises(IllegalTransition):
            transition(status, command)


def test_a_future_start_waits_and_an_early_activation_moves_the_anchor() -> None:
    state = lifecycle.created(pending(), at=START - timedelta(days=10))
    assert state.status == "pending"
    assert due(state, START - timedelta(days=10)) == Wake(kind="activate", at=START)
    early = lifecycle.begun(state, starts_at=START - timedelta(days=3))
    assert early.period == Period(start=datetime(2026, 1, 28, tzinfo=UTC), end=FEBRUARY)


def test_a_subscription_without_a_start_waits_for_its_command() -> None:
    assert due(pending(waits_for_activation=True), START + timedelta(days=400)).kind == "nothing"


def test_periods_are_counted_from_the_anchor() -> None:
    state, ends = active(), []
    for _ in range(4):
        assert state.period is not None
        ends.append(state.period.end.date().isoformat())
        state = lifecycle.after_period(state)
    assert ends == ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]


def test_b109_a_backdated_subscription_is_billed_by_itself_from_the_period_of_its_creation() -> None:
    created_at = datetime(2026, 5, 10, tzinfo=UTC)
    state = lifecycle.created(pending(bills_automatically_from=created_at), at=created_at)
    assert state.period == Period(start=datetime(2026, 4, 30, tzinfo=UTC), end=datetime(2026, 5, 31, tzinfo=UTC))
    assert state.billing_starts_at == START


def test_b92_a_trial_comes_before_the_first_billing_period() -> None:
    ends = START + timedelta(days=14)
    state = lifecycle.created(pending(trial_ends_at=ends), at=START)
    assert (state.status, state.period) == ("trialing", Period(start=START, end=ends))
    assert due(state) == Wake(kind="trial_end", at=ends)
    after = lifecycle.after_trial(state)
    assert (after.status, after.period) == ("active", Period(start=ends, end=datetime(2026, 3, 14, tzinfo=UTC)))
    assert after.billing_starts_at == ends


def test_a_trial_that_is_over_at_the_creation_is_not_waited_for() -> None:
    created_at = START + timedelta(days=40)
    bare = pending(trial_ends_at=START + timedelta(days=14), bills_automatically_from=created_at)
    state = lifecycle.created(bare, at=created_at)
    assert state.status == "active"
    assert state.period is not None
    assert state.period.contains(created_at)


def test_pausing_in_a_trial_and_resuming_before_its_end_goes_back_into_it() -> None:
    ends = START + timedelta(days=14)
    state = lifecycle.paused(lifecycle.created(pending(trial_ends_at=ends), at=START), at=START)
    assert lifecycle.resumed(state, at=ends - timedelta(days=1)).status == "trialing"
    passed = lifecycle.after_period(state)
    assert lifecycle.resumed(passed, at=ends + timedelta(days=1)).status == "active"


def test_what_was_used_before_a_pause_is_billed_and_wholly_paused_periods_pass_unbilled() -> None:
    state = lifecycle.paused(active(), at=START + timedelta(hours=1))
    assert due(state) == Wake(kind="period_end", at=FEBRUARY)
    assert lifecycle.is_billed_at_its_end(state)
    assert lifecycle.rest_due(state, end=FEBRUARY) is not None
    following = lifecycle.after_period(state)
    assert not lifecycle.is_billed_at_its_end(following)
    assert lifecycle.rest_due(following, end=MARCH) is None
    kept = lifecycle.paused(active(), at=START + timedelta(hours=1), behavior="keep_billing")
    assert lifecycle.is_billed_at_its_end(lifecycle.after_period(kept))
    with pytest.raises(IllegalTransition):
        lifecycle.resumed(active(), at=START)


def test_a_canceled_subscription_ends_with_its_period_after_the_last_close() -> None:
    state = lifecycle.cancel_requested(active())
    assert (state.status, state.cancel_at) == ("active", FEBRUARY)
    assert due(state, FEBRUARY).kind == "period_end"
    closed = lifecycle.after_close(lifecycle.after_period(state), None)
    assert closed.period is None
    assert due(closed, FEBRUARY) == Wake(kind="cancel", at=FEBRUARY)
    over = lifecycle.ended(closed, at=FEBRUARY, by="end")
    assert over.is_finished
    assert due(over, MARCH).kind == "nothing"


def test_an_ended_subscription_lives_until_its_invoices_are_settled() -> None:
    state = lifecycle.ended(active(invoices=(invoice(),)), at=START + timedelta(days=1), by="terminate")
    assert state.is_over
    assert not state.is_finished
    assert lifecycle.invoice_status_reported(state, UUID(int=9), "paid", wall=START).is_finished


def test_the_rest_of_a_period_is_billed_at_a_termination() -> None:
    at = START + timedelta(days=5)
    rest = lifecycle.rest_due(active(), end=at)
    assert rest is not None
    assert (rest.kind, rest.period) == ("final", Period(start=START, end=at))


def test_b38_a_plan_change_waits_for_the_next_period_if_it_is_told_to() -> None:
    change = PlanChange(plan_version_id=UUID(int=7), plan_version=2)
    later = lifecycle.plan_change_requested(active(), change, at_period_end=True)
    assert (later.plan_version, lifecycle.after_period(later).plan_version) == (1, 2)
    assert lifecycle.plan_change_requested(active(), change).plan_version == 2
    over = lifecycle.ended(active(), at=START, by="terminate")
    with pytest.raises(IllegalTransition):
        lifecycle.plan_change_requested(over, change)


def test_grace_days_hold_a_close_back_and_nothing_else() -> None:
    state = active(grace_days=3)
    waiting = lifecycle.with_due_close(lifecycle.after_period(state), lifecycle.current_period_due(state))
    assert waiting.period == Period(start=FEBRUARY, end=MARCH)
    wake = due(waiting, FEBRUARY)
    assert wake == Wake(kind="close", at=FEBRUARY + timedelta(days=3), period_start=START)
    found = lifecycle.due_close(waiting, wake.period_start)
    assert lifecycle.without_due_close(waiting, found).due_closes == ()


def test_a_parked_close_needs_attention_and_holds_nothing_up() -> None:
    state = active()
    stuck = lifecycle.close_parked(
        lifecycle.after_period(state), lifecycle.current_period_due(state), error="absurd amount"
    )
    assert stuck.needs_attention == "absurd amount"
    assert due(stuck, FEBRUARY) == Wake(kind="period_end", at=MARCH)
    again = lifecycle.unparked(stuck, at=MARCH - timedelta(days=9))
    assert again.needs_attention is None
    assert due(again, MARCH).kind == "close"
    assert lifecycle.parked_skipped(stuck).due_closes == ()


def test_a_parked_invoice_is_due_again_when_an_operator_says_so() -> None:
    state = lifecycle.invoice_parked(active(invoices=(invoice(),)), UUID(int=9), error="no such account")
    assert state.needs_attention == "no such account"
    again = lifecycle.unparked(state, at=START)
    assert due(again, START) == Wake(kind="payment_retry", at=START, invoice_id=UUID(int=9))
    assert lifecycle.parked_skipped(state).invoices == ()


def test_ties_are_resolved_in_a_fixed_order() -> None:
    at_end = (invoice(12, next_attempt_at=FEBRUARY), invoice(11, next_attempt_at=FEBRUARY))
    state = active(invoices=at_end, cancel_at=FEBRUARY)
    kinds = []
    for _ in range(4):
        wake = due(state, FEBRUARY)
        kinds.append((wake.kind, wake.invoice_id and wake.invoice_id.int))
        match wake.kind:
            case "period_end":
                state = lifecycle.after_period(state)
            case "cancel":
                state = lifecycle.ended(state, at=FEBRUARY, by="end")
            case _:
                assert wake.invoice_id is not None
                state = lifecycle.invoice_status_reported(state, wake.invoice_id, "paid", wall=FEBRUARY)
    assert kinds == [("period_end", None), ("payment_retry", 11), ("payment_retry", 12), ("cancel", None)]
    assert state.is_finished


def test_in_a_test_clock_nothing_is_due_after_the_frozen_time() -> None:
    clock = TestClock(frozen_time=START, advanced_to=START)
    state = active(clock=clock)
    assert due(state, START, wall=MARCH) == Wake(kind="clock_reached", at=START)
    told = lifecycle.clock_reported(state, START)
    assert due(told, START, wall=MARCH).kind == "nothing"
    ahead = lifecycle.clock_advanced(told, MARCH)
    assert due(ahead, START, wall=START).kind == "period_end"
    assert subscription_now(lifecycle.advanced_to(ahead, FEBRUARY), wall=MARCH) == FEBRUARY
    assert lifecycle.clock_advanced(ahead, FEBRUARY) == ahead


def test_in_a_test_clock_unknown_outcomes_are_asked_about_in_wall_time() -> None:
    resolve_at = datetime(2026, 11, 21, tzinfo=UTC)
    clock = TestClock(frozen_time=START, advanced_to=START, reported=START)
    state = active(clock=clock, invoices=(invoice(status="pending", attempts=1, resolve_at=resolve_at),))
    wake = Wake(kind="payment_resolve", at=resolve_at, invoice_id=UUID(int=9))
    assert due(state, START, wall=resolve_at - timedelta(hours=1)) == wake
    assert due(state, START, wall=resolve_at + timedelta(hours=1)) == wake


def test_a_deleted_clock_ends_everything() -> None:
    state = lifecycle.clock_deleted(active(invoices=(invoice(next_attempt_at=START),)))
    assert (state.status, state.is_finished, due(state).kind) == ("terminated", True, "nothing")


def test_usage_signals_may_come_twice_late_and_early() -> None:
    one = (UsageSoFar(metric_id=UUID(int=8), metric_key="calls", quantity=1),)
    two = (UsageSoFar(metric_id=UUID(int=8), metric_key="calls", quantity=2),)
    state = lifecycle.usage_recorded(active(), two, watermark=2, period_start=START)
    assert lifecycle.usage_recorded(state, one, watermark=1, period_start=START) == state
    assert lifecycle.usage_recorded(state, two, watermark=2, period_start=START) == state
    ahead = lifecycle.usage_recorded(state, one, watermark=3, period_start=FEBRUARY)
    assert "calls" not in describe_state(ahead)
    assert "`calls`: 1" in describe_state(lifecycle.after_period(ahead))


def test_a_notice_about_an_unknown_outcome_makes_us_ask_at_once() -> None:
    state = active(invoices=(invoice(status="pending", attempts=1, resolve_at=MARCH),))
    noticed = lifecycle.invoice_status_reported(state, UUID(int=9), "failed", wall=START)
    assert due(noticed, START) == Wake(kind="payment_resolve", at=START, invoice_id=UUID(int=9))


def test_followed_invoices_are_bounded() -> None:
    state = active()
    for number in range(lifecycle.MOST_OPEN_INVOICES + 5):
        state = lifecycle.followed(state, invoice(100 + number))
        state = lifecycle.followed(state, invoice(100 + number))
    assert len(state.invoices) == lifecycle.MOST_OPEN_INVOICES
    assert state.invoice(UUID(int=100)) is None


def test_an_invoice_with_something_scheduled_is_never_dropped() -> None:
    retried = [invoice(number, next_attempt_at=MARCH) for number in range(lifecycle.MOST_OPEN_INVOICES)]
    full = active(invoices=tuple(retried))
    after = lifecycle.followed(full, invoice(1000))
    assert set(retried) < set(after.invoices)
    asked = lifecycle.followed(after, invoice(1001, status="pending", attempts=1, resolve_at=MARCH))
    assert asked.invoice(UUID(int=1000)) is None, "the one for which nothing is scheduled makes room"
    assert len(asked.invoices) == lifecycle.MOST_OPEN_INVOICES + 1


def test_the_story_says_what_matters() -> None:
    told = describe_state(active(invoices=(invoice(next_attempt_at=FEBRUARY),), cancel_at=FEBRUARY))
    assert "**active**, plan `growth` version 1" in told
    assert "period 2026-01-31 00:00:00 UTC to 2026-02-28 00:00:00 UTC" in told
    assert "49.00 USD, issued, payment attempt 1 2026-02-28" in told


STEPS = st.lists(st.sampled_from(["live", "pause", "resume", "cancel", "decline", "pay", "advance"]), max_size=40)


@given(STEPS)
def test_a_life_never_goes_backwards_and_bills_no_instant_twice(steps: list[str]) -> None:
    """Whatever commands come when, what is due is never before what happened, and billed periods do not overlap."""
    clock = TestClock(frozen_time=START, advanced_to=START)
    state = active(clock=clock)
    billed: list[Period] = []
    for step in steps:
        state = _stepped(state, step, billed)
    for earlier, later in pairwise(billed):
        assert earlier.end <= later.start


def _stepped(state: SubscriptionState, step: str, billed: list[Period]) -> SubscriptionState:
    assert state.clock is not None
    try:
        match step:
            case "pause":
                return lifecycle.paused(state, at=state.clock.advanced_to)
            case "resume":
                return lifecycle.resumed(state, at=state.clock.advanced_to)
            case "cancel":
                return lifecycle.cancel_requested(state)
            case "advance":
                return lifecycle.clock_advanced(state, state.clock.frozen_time + timedelta(days=20))
    except IllegalTransition:
        return state
    wake = next_wake(state, at=state.clock.advanced_to, wall=START)
    if wake.at is None:
        return state
    assert wake.at <= state.clock.frozen_time
    before, state = state.clock.advanced_to, lifecycle.advanced_to(state, wake.at)
    assert state.clock is not None
    assert state.clock.advanced_to >= before
    return _done(state, wake, step, billed)


def _done(state: SubscriptionState, wake: Wake, step: str, billed: list[Period]) -> SubscriptionState:
    assert wake.at is not None
    match wake.kind:
        case "period_end":
            assert state.period is not None
            if not lifecycle.is_billed_at_its_end(state):
                return lifecycle.after_period(state)
            billed.append(state.period)
            opened = invoice(1000 + len(billed), next_attempt_at=wake.at)
            return lifecycle.after_close(lifecycle.after_period(state), opened)
        case "cancel":
            return lifecycle.ended(state, at=wake.at, by="end")
        case "clock_reached":
            return lifecycle.clock_reported(state, wake.at)
    assert wake.invoice_id is not None
    known = state.invoice(wake.invoice_id)
    assert known is not None
    return lifecycle.after_collect(
        state,
        wake.invoice_id,
        "declined" if step == "decline" else "paid",
        attempt_no=known.attempt_to_make,
        error=None,
        at=wake.at,
        wall=START,
    )
