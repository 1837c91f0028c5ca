"""A subscription: its state, its legal transitions, and what is due next.

`SubscriptionState` is everything that a subscription's workflow knows; it survives continue-as-new and nothing else
does. `next_wake` is the one function that says what happens next and when. lifecycle.py gives the state after
each fact.

Two times: `at` is the subscription's now (a test clock's time, if it lives in one), `wall` the wall clock's, which
matters only for asking again about unknown payment outcomes (C11).
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.alerts import AlertState
from billing.collection import OpenInvoice
from billing.numbers import ExactDecimal
from billing.period import BillingCycle, Instant, Period
from billing.subscriptions.pauses import Pause

Status = Literal["pending", "trialing", "active", "paused", "suspended", "canceled", "terminated"]
Command = Literal["activate", "end_trial", "pause", "resume", "suspend", "reinstate", "cancel", "end", "terminate"]
WakeKind = Literal[
    "evaluate_alerts",
    "activate",
    "trial_end",
    "period_end",
    "close",
    "cancel",
    "suspend",
    "reinstate",
    "payment_retry",
    "payment_resolve",
    "clock_reached",
    "nothing",
]

_LIVE: Final[tuple[Status, ...]] = ("trialing", "active", "paused", "suspended")
_TRANSITIONS: Final[Mapping[tuple[Status, Command], Status]] = MappingProxyType(
    {
        ("pending", "activate"): "active",
        ("trialing", "end_trial"): "active",
        ("trialing", "pause"): "paused",
        ("active", "pause"): "paused",
        ("paused", "resume"): "active",
        ("active", "suspend"): "suspended",
        ("suspended", "reinstate"): "active",
        # Canceling something that never began ends it; everything else goes on until the period's end.
        ("pending", "cancel"): "canceled",
        ("pending", "end"): "canceled",
        ("pending", "terminate"): "terminated",
        **{(status, "cancel"): status for status in _LIVE},
        **{(status, "end"): "canceled" for status in _LIVE},
        **{(status, "terminate"): "terminated" for status in _LIVE},
    }
)

#: What time brings, and nobody asks for.
_BY_TIME: Final[tuple[Command, ...]] = ("end_trial", "end")


class IllegalTransition(ValueError):
    """Raised for a command that the subscription's status does not allow, such as resuming an active one."""


class CutoffBeforeOpenPeriod(ValueError):
    """Raised for an invoice up to an instant before billing began."""


class UsageSoFar(BaseModel):
    """The cumulative quantity of one metric in the current period."""

    model_config = ConfigDict(frozen=True)

    metric_id: UUID
    metric_key: str
    quantity: ExactDecimal
    events: int = 0


class TestClock(BaseModel):
    """Frozen time: where the clock stands, how far this subscription has lived, and what it has reported."""

    model_config = ConfigDict(frozen=True)

    __test__ = False

    frozen_time: Instant
    advanced_to: Instant
    reported: Instant | None = None


class PlanChange(BaseModel):
    """A migration to another plan version, from the next period on (B38)."""

    model_config = ConfigDict(frozen=True)

    plan_version_id: UUID
    plan_version: int


class DueClose(BaseModel):
    """A stretch of time that is over and not billed yet: in its grace period (C5), or parked (`close_at` None)."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["period", "final"] = "period"
    period: Period
    close_at: Instant | None
    plan_version_id: UUID
    error: str | None = None


class Suspension(BaseModel):
    """Why the service is withheld; one for unpaid invoices (`is_unpaid`) ends by itself when they are settled."""

    model_config = ConfigDict(frozen=True)

    reason: str | None = None
    is_unpaid: bool = False


class SubscriptionState(BaseModel):
    """Everything that a subscription's workflow knows.

    `period` is the current period: None before the start and after the end, the trial while trialing. Periods that end
    at or before `bills_automatically_from` are billed on demand only (C25, B109). `cycle.anchor` is the start, or the
    trial's end if there is a trial: billing periods begin when the trial is over.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: UUID
    project_id: UUID
    subscription_id: UUID
    customer_id: UUID
    plan_id: UUID
    plan_code: str
    plan_version_id: UUID
    plan_version: int
    cycle: BillingCycle
    status: Status
    starts_at: Instant
    trial_ends_at: Instant | None = None
    bills_automatically_from: Instant
    # A pending subscription that only the activate command starts; `starts_at` is then provisional.
    waits_for_activation: bool = False
    period: Period | None = None
    cancel_at: Instant | None = None
    plan_change: PlanChange | None = None
    grace_days: int = 0
    due_closes: tuple[DueClose, ...] = ()
    invoices: tuple[OpenInvoice, ...] = ()
    usage: tuple[UsageSoFar, ...] = ()
    usage_period_start: Instant | None = None
    usage_watermark: int = 0
    clock: TestClock | None = None
    recent_requests: tuple[str, ...] = ()
    periods_closed: int = 0
    # None while there is no alert and no threshold to look at.
    alert_state: AlertState | None = None
    # How many evaluations there were before the watching ended: their numbers name invoices and never come again.
    evaluations: int = 0
    deleted: bool = False
    suspension: Suspension | None = None
    # The pause that lasts; None while not paused.
    pause: Pause | None = None
    # Invoices that failed every scheduled payment attempt; those that are settled since may still be named.
    unpaid: tuple[UUID, ...] = ()

    @property
    def is_over(self) -> bool:
        """Return whether the subscription has ended; its invoices may still be open."""
        return self.status in ("canceled", "terminated")

    @property
    def is_finished(self) -> bool:
        """Return whether its workflow has nothing left to do: ended, everything billed, every invoice settled."""
        return self.deleted or (self.is_over and not self.due_closes and not self.invoices)

    @property
    def needs_attention(self) -> str | None:
        """The error that an operator has to look at, if there is one."""
        errors = [close.error for close in self.due_closes] + [
            invoice.error for invoice in self.invoices if invoice.status == "needs_attention"
        ]
        errors.append(self.alert_state.error if self.alert_state else None)
        return next((error for error in errors if error), None)

    @property
    def billing_starts_at(self) -> datetime:
        """The first instant that can be billed: the start, or the end of the trial."""
        return self.trial_ends_at or self.starts_at

    def invoice(self, invoice_id: UUID) -> OpenInvoice | None:
        """Find an open invoice."""
        return next((invoice for invoice in self.invoices if invoice.invoice_id == invoice_id), None)


class Wake(NamedTuple):
    """What is due next, and when: `at` is in the subscription's time, for `payment_resolve` in wall time.

    It never leaves the workflow that asks, and is made anew for each look, so it is a bare tuple.
    """

    kind: WakeKind
    at: datetime | None = None
    invoice_id: UUID | None = None
    period_start: datetime | None = None


NOTHING: Final = Wake(kind="nothing")
#: At one instant things happen in this order: a subscription's last period is closed and paid before it ends.
_ORDER: Final[tuple[WakeKind, ...]] = (
    "evaluate_alerts",
    "activate",
    "trial_end",
    "period_end",
    "close",
    "payment_retry",
    "cancel",
    "payment_resolve",
)


def transition(status: Status, command: Command) -> Status:
    """Return the status after a command; raises `IllegalTransition`.

    `cancel` on a running subscription keeps its status until the period's end, when `end` follows (C23). Nothing leaves
    `canceled` and `terminated`.
    """
    after = _TRANSITIONS.get((status, command))
    if after is None:
        ways = [known for before, known in _TRANSITIONS if before == status and known not in _BY_TIME]
        way_out = f"; it can {', '.join(ways)}" if ways else ""
        raise IllegalTransition(f"a subscription that is {status} cannot {command.replace('_', ' ')}{way_out}")
    return after


def next_wake(
    state: SubscriptionState, *, at: datetime, wall: datetime, collecting: Collection[UUID] = frozenset()
) -> Wake:
    """Say what is due next: the earliest thing, ties in a fixed order; nothing about invoices that are being collected.

    In a test clock, what is due after the frozen time is not due at all until the clock moves; when everything up to it
    has happened, the clock has to be told (`clock_reached`).
    """
    if state.is_finished:
        return NOTHING
    frozen = state.clock.frozen_time if state.clock else None
    candidates = [
        wake
        for wake in _scheduled(state)
        if wake.invoice_id not in collecting and (frozen is None or _when(wake) <= frozen)
    ]
    if candidates:
        first = min(candidates, key=_place)
        if frozen is not None or _when(first) <= at:
            return first
    asking = (wake for wake in _resolving(state) if wake.invoice_id not in collecting)
    resolve = min(asking, key=_place, default=None)
    if resolve is not None and _when(resolve) <= wall:
        return resolve
    if state.clock is not None and state.clock.reported != state.clock.frozen_time:
        return Wake(kind="clock_reached", at=state.clock.frozen_time)
    waiting = [*candidates, *([resolve] if resolve else [])]
    return min(waiting, key=_place, default=NOTHING)


def is_due(state: SubscriptionState, wake: Wake, *, wall: datetime) -> bool:
    """Return whether what is next can be done now.

    In a test clock only what is due is ever next; asking about payments goes by the wall clock everywhere.
    """
    if wake.at is None:
        return False
    return (state.clock is not None and wake.kind != "payment_resolve") or wake.at <= wall


def overdue(state: SubscriptionState, *, at: datetime) -> Wake:
    """Return what should have happened to the subscription itself before a command arrives at `at`; payments may wait.

    While a worker was away, a command must not overtake the end of a period. In a test clock nothing is overdue.
    """
    if state.clock is not None:
        return NOTHING
    due = (wake for wake in _scheduled(state) if wake.kind != "payment_retry" and _when(wake) <= at)
    return min(due, key=_place, default=NOTHING)


def is_collected_by(wake: Wake, invoice: OpenInvoice) -> bool:
    """Return whether a payment that was due is still to be made: nobody charged the invoice in between."""
    return wake.at == (invoice.next_attempt_at if wake.kind == "payment_retry" else invoice.resolve_at)


def _when(wake: Wake) -> datetime:
    assert wake.at is not None, "only `nothing` has no time"
    return wake.at


def _place(wake: Wake) -> tuple[datetime, int, int]:
    return (_when(wake), _ORDER.index(wake.kind), wake.invoice_id.int if wake.invoice_id else 0)


def _scheduled(state: SubscriptionState) -> Iterator[Wake]:
    """List everything that the subscription's own time will bring."""
    if state.status == "pending" and not state.waits_for_activation:
        yield Wake(kind="activate", at=state.starts_at)
    if state.status == "trialing" and state.trial_ends_at is not None:
        yield Wake(kind="trial_end", at=state.trial_ends_at)
    elif state.period is not None:
        yield Wake(kind="period_end", at=state.period.end)
    if state.cancel_at is not None and not state.is_over:
        yield Wake(kind="cancel", at=state.cancel_at)
    if state.alert_state is not None and state.alert_state.evaluate_at is not None and state.period is not None:
        yield Wake(kind="evaluate_alerts", at=state.alert_state.evaluate_at)
    for close in state.due_closes:
        if close.close_at is not None:
            yield Wake(kind="close", at=close.close_at, period_start=close.period.start)
    for invoice in state.invoices:
        if invoice.next_attempt_at is not None:
            yield Wake(kind="payment_retry", at=invoice.next_attempt_at, invoice_id=invoice.invoice_id)


def _resolving(state: SubscriptionState) -> Iterator[Wake]:
    for invoice in state.invoices:
        if invoice.resolve_at is not None:
            yield Wake(kind="payment_resolve", at=invoice.resolve_at, invoice_id=invoice.invoice_id)


def subscription_now(state: SubscriptionState, *, wall: datetime) -> datetime:
    """Return the subscription's now: how far it has lived in its test clock, or the wall clock's time."""
    return state.clock.advanced_to if state.clock else wall
