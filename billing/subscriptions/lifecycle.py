"""The state of a subscription after each fact of its life: started, paused, period over, invoice issued, paid, usage.

Pure reducers over `SubscriptionState`; the workflow applies one when Postgres has the fact.
"""

from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from billing.collection import OpenInvoice, Outcome, after_outcome, parked
from billing.period import Period
from billing.subscriptions.pauses import Pause, PauseBehavior
from billing.subscriptions.subscription import (
    DueClose,
    PlanChange,
    SubscriptionState,
    TestClock,
    UsageSoFar,
    transition,
)

#: A backlog of idle invoices must not grow the state without bound; Postgres has them all.
MOST_OPEN_INVOICES: Final = 200
MOST_REMEMBERED_REQUESTS: Final = 50


def created(state: SubscriptionState, *, at: datetime) -> SubscriptionState:
    """Return the state of a new subscription as it is at its creation: `pending` if it starts later, else begun."""
    return state if state.starts_at > at else begun(state, starts_at=state.starts_at)


def begun(state: SubscriptionState, *, starts_at: datetime) -> SubscriptionState:
    """Return the state of a subscription that starts at `starts_at`, in its trial or in the period that bills first.

    Starting earlier than planned moves the trial's end and the anchor with it. A backdated start leaves the periods
    before `bills_automatically_from` behind: they are billed on demand only (C25, B109).
    """
    moved = starts_at - state.starts_at
    trial_ends_at = state.trial_ends_at + moved if state.trial_ends_at else None
    anchor = state.cycle.anchor + moved
    after = _changed(
        state,
        status=transition(state.status, "activate"),
        starts_at=starts_at,
        trial_ends_at=trial_ends_at,
        cycle=state.cycle.model_copy(update={"anchor": anchor}),
        bills_automatically_from=max(state.bills_automatically_from + moved, anchor),
    )
    if trial_ends_at is not None and after.bills_automatically_from <= trial_ends_at:
        return _changed(after, status="trialing", period=Period(start=starts_at, end=trial_ends_at))
    return _changed(after, period=after.cycle.period_containing(after.bills_automatically_from))


def after_trial(state: SubscriptionState) -> SubscriptionState:
    """Return the state after the trial: active, in the first billing period."""
    return _changed(state, status=transition(state.status, "end_trial"), period=following_period(state))


def paused(state: SubscriptionState, *, at: datetime, behavior: PauseBehavior = "skip") -> SubscriptionState:
    """Return the paused state: what was used before is billed, the paused time as `behavior` says (R21).

    Raises `IllegalTransition`.
    """
    pause = Pause(since=at, behavior=behavior)
    return _changed(state, status=transition(state.status, "pause"), pause=pause)


def resumed(state: SubscriptionState, *, at: datetime) -> SubscriptionState:
    """Return the resumed state, back in the trial if that is not over; fees run again. Raises `IllegalTransition`."""
    status = transition(state.status, "resume")
    in_trial = _is_in_trial(state) and state.period is not None and at < state.period.end
    return _changed(state, status="trialing" if in_trial else status, pause=None)


def cancel_requested(state: SubscriptionState) -> SubscriptionState:
    """Return the state that ends with its current period, or at the end that was agreed if that is earlier (R21).

    A pending one ends at once. Raises `IllegalTransition`.
    """
    status = transition(state.status, "cancel")
    ends = [end for end in (state.period.end if state.period else None, state.cancel_at) if end is not None]
    return _changed(state, status=status, cancel_at=None if status == "canceled" else min(ends, default=None))


def ended(state: SubscriptionState, *, at: datetime, by: Literal["end", "terminate"]) -> SubscriptionState:
    """Return the ended state; open invoices and unbilled time stay with it. Raises `IllegalTransition`."""
    return _changed(state, status=transition(state.status, by), period=None, cancel_at=at, plan_change=None, pause=None)


def clock_deleted(state: SubscriptionState) -> SubscriptionState:
    """Return the state of a subscription whose test clock is gone: it ends without another bill or payment."""
    status = state.status if state.is_over else "terminated"
    return _changed(state, status=status, period=None, invoices=(), due_closes=(), deleted=True)


def plan_change_requested(
    state: SubscriptionState, change: PlanChange, *, at_period_end: bool = False
) -> SubscriptionState:
    """Return the state with a migration: at once, so that the next invoice uses the new version (B38), or with the next
    period. One to the present version takes back a change that waits.

    A period of which something was billed stays under the version that billed it; the close sees to that. Raises
    `IllegalTransition` for an ended subscription.
    """
    if state.is_over:
        transition(state.status, "cancel")
    if change.plan_version_id == state.plan_version_id:
        return _changed(state, plan_change=None)
    if at_period_end and state.period is not None:
        return _changed(state, plan_change=change)
    return _changed(state, plan_version_id=change.plan_version_id, plan_version=change.plan_version, plan_change=None)


def following_period(state: SubscriptionState) -> Period | None:
    """Give the period after the current one, computed from the anchor (R12); None if the subscription ends with it."""
    assert state.period is not None, "a subscription that runs is in a period"
    if state.cancel_at is not None and state.cancel_at <= state.period.end:
        return None
    return state.cycle.period_containing(state.period.end)


def is_billed_at_its_end(state: SubscriptionState) -> bool:
    """Return whether the timer bills the current period at its end: not in a trial (B92), nor after a pause that began
    before it and lasts (R21)."""
    if state.status != "paused":
        return state.status in ("active", "suspended")
    pause, period = state.pause, state.period
    if period is None or _is_in_trial(state):
        return False
    return pause is None or not pause.stops_fees or pause.since >= period.start


def invoices_thresholds(state: SubscriptionState) -> bool:
    """Return whether usage that crosses a threshold is invoiced at once: not while paused, not in a trial."""
    return state.status in ("active", "suspended")


def _is_in_trial(state: SubscriptionState) -> bool:
    return state.period is not None and state.period.end == state.trial_ends_at


def after_period(state: SubscriptionState) -> SubscriptionState:
    """Return the state in the following period; a requested plan change takes effect (B38)."""
    change = state.plan_change
    plan = {"plan_version_id": change.plan_version_id, "plan_version": change.plan_version} if change else {}
    return _changed(state, period=following_period(state), plan_change=None, **plan)


def with_due_close(state: SubscriptionState, due: DueClose) -> SubscriptionState:
    """Return the state with a stretch of time that waits to be billed; again changes nothing."""
    return _changed(state, due_closes=(*without_due_close(state, due).due_closes, due))


def without_due_close(state: SubscriptionState, due: DueClose) -> SubscriptionState:
    """Return the state after a stretch of time was billed or skipped."""
    return _changed(state, due_closes=tuple(close for close in state.due_closes if close.period != due.period))


def current_period_due(state: SubscriptionState) -> DueClose:
    """Return the current period as something to bill once its grace days are over (C5; none: at its end)."""
    assert state.period is not None, "a subscription that runs is in a period"
    close_at = state.period.end + timedelta(days=state.grace_days)
    return DueClose(period=state.period, close_at=close_at, plan_version_id=state.plan_version_id)


def rest_due(state: SubscriptionState, *, end: datetime) -> DueClose | None:
    """Return what a final invoice bills once its grace days are over: the current period up to `end`.

    None if nothing of it can be due.
    """
    if state.period is None or end <= state.period.start or not is_billed_at_its_end(state):
        return None
    period = Period(start=state.period.start, end=end)
    close_at = end + timedelta(days=state.grace_days)
    return DueClose(kind="final", period=period, close_at=close_at, plan_version_id=state.plan_version_id)


def due_close(state: SubscriptionState, period_start: datetime | None) -> DueClose:
    """Find the stretch of time that waits to be billed and starts there."""
    return next(due for due in state.due_closes if due.period.start == period_start)


def close_parked(state: SubscriptionState, due: DueClose, *, error: str) -> SubscriptionState:
    """Return the state with a close set aside with its error; everything else goes on (C10)."""
    stuck = due.model_copy(update={"close_at": None, "error": error})
    return with_due_close(without_due_close(state, due), stuck)


def unparked(state: SubscriptionState, *, at: datetime) -> SubscriptionState:
    """Return the state in which every parked close and invoice is due again now."""
    return _changed(
        state,
        due_closes=tuple(
            close.model_copy(update={"close_at": close.close_at or at, "error": None}) for close in state.due_closes
        ),
        invoices=tuple(
            invoice.model_copy(update={"status": "issued", "next_attempt_at": at, "error": None})
            if invoice.status == "needs_attention"
            else invoice
            for invoice in state.invoices
        ),
    )


def parked_skipped(state: SubscriptionState) -> SubscriptionState:
    """Return the state without its parked closes and invoices: an operator settles them by hand."""
    return _changed(
        state,
        due_closes=tuple(close for close in state.due_closes if close.close_at is not None),
        invoices=tuple(invoice for invoice in state.invoices if invoice.status != "needs_attention"),
    )


def after_close(state: SubscriptionState, invoice: OpenInvoice | None) -> SubscriptionState:
    """Return the state after a close: its invoice, if there is one to be settled, is followed from now on."""
    after = _changed(state, periods_closed=state.periods_closed + 1)
    return after if invoice is None else followed(after, invoice)


def followed(state: SubscriptionState, invoice: OpenInvoice) -> SubscriptionState:
    """Return the state that follows an open invoice; the oldest idle one makes room if there are too many.

    One for which something is scheduled is never dropped, however many there are: nothing else would collect it.
    """
    if state.invoice(invoice.invoice_id) is not None:
        return state
    kept = state.invoices
    if len(kept) >= MOST_OPEN_INVOICES:
        idle = next((other for other in kept if other.is_waiting), None)
        kept = tuple(other for other in kept if other is not idle)
    return _changed(state, invoices=(*kept, invoice))


def after_collect(
    state: SubscriptionState,
    invoice_id: UUID,
    outcome: Outcome,
    *,
    attempt_no: int,
    error: str | None,
    at: datetime,
    wall: datetime,
) -> SubscriptionState:
    """Return the state after the provider's answer about one invoice; see `billing.collection.after_outcome`."""
    invoice = state.invoice(invoice_id)
    if invoice is None:
        return state
    after = after_outcome(invoice, outcome, attempt_no=attempt_no, error=error, at=at, wall=wall)
    return _with_invoice(state, invoice_id, after)


def invoice_parked(state: SubscriptionState, invoice_id: UUID, *, error: str) -> SubscriptionState:
    """Return the state with an invoice set aside with its error; everything else goes on (C10)."""
    invoice = state.invoice(invoice_id)
    return state if invoice is None else _with_invoice(state, invoice_id, parked(invoice, error=error))


def invoice_status_reported(
    state: SubscriptionState, invoice_id: UUID, status: str, *, wall: datetime
) -> SubscriptionState:
    """Return the state after somebody else changed an invoice.

    A paid or voided one is settled. A notice about one whose outcome is unknown is a hint: ask the provider now.
    """
    invoice = state.invoice(invoice_id)
    if invoice is None:
        return state
    if status in ("paid", "voided"):
        return _with_invoice(state, invoice_id, None)
    if invoice.status == "pending":
        return _with_invoice(state, invoice_id, invoice.model_copy(update={"resolve_at": wall}))
    return state


def usage_recorded(
    state: SubscriptionState, usage: tuple[UsageSoFar, ...], *, watermark: int, period_start: datetime
) -> SubscriptionState:
    """Return the state with newer cumulative usage; an older message changes nothing, so disorder is harmless.

    Usage of the next period may be told of before the close of this one is known; it is kept for then.
    """
    known = state.usage_period_start
    if watermark <= state.usage_watermark or (known is not None and period_start < known):
        return state
    return _changed(state, usage=usage, usage_watermark=watermark, usage_period_start=period_start)


def clock_advanced(state: SubscriptionState, frozen_time: datetime) -> SubscriptionState:
    """Return the state whose test clock stands at `frozen_time`; forward only, an older message changes nothing."""
    clock = state.clock
    if clock is None or frozen_time <= clock.frozen_time:
        return state
    return _changed(state, clock=clock.model_copy(update={"frozen_time": frozen_time}))


def advanced_to(state: SubscriptionState, at: datetime) -> SubscriptionState:
    """Return the state that has lived until `at` in its test clock; without a test clock nothing changes."""
    clock = state.clock
    if clock is None or at <= clock.advanced_to:
        return state
    return _changed(state, clock=clock.model_copy(update={"advanced_to": at}))


def clock_reported(state: SubscriptionState, reached: datetime) -> SubscriptionState:
    """Return the state after the clock was told that everything up to `reached` has happened."""
    assert state.clock is not None, "only a subscription in a test clock reports"
    clock = TestClock(frozen_time=state.clock.frozen_time, advanced_to=reached, reported=reached)
    return _changed(state, clock=clock)


def with_request(state: SubscriptionState, request_id: str) -> SubscriptionState:
    """Return the state that remembers a command, so that its repetition is recognised after a continue-as-new too."""
    return _changed(state, recent_requests=(*state.recent_requests, request_id)[-MOST_REMEMBERED_REQUESTS:])


def _with_invoice(state: SubscriptionState, invoice_id: UUID, after: OpenInvoice | None) -> SubscriptionState:
    """Replace one open invoice, or drop it when it is settled."""
    invoices = (after if invoice.invoice_id == invoice_id else invoice for invoice in state.invoices)
    return _changed(state, invoices=tuple(invoice for invoice in invoices if invoice is not None))


def _changed(state: SubscriptionState, **update: Any) -> SubscriptionState:
    return state.model_copy(update=update)
