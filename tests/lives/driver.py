"""Lives a life through the pure core: `next_wake` and the reducers decide, a record in memory is written.

It acts as the workflow does: everything that is due by a step's minute happens first, then the command. Every step has
to be legal; a domain error here would have failed a workflow's task for ever.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from billing.collection import OpenInvoice
from billing.period import BillingCycle
from billing.subscriptions import lifecycle, pauses, suspension_rules
from billing.subscriptions.subscription import (
    DueClose,
    PlanChange,
    SubscriptionState,
    TestClock,
    Wake,
    next_wake,
    overdue,
    subscription_now,
)
from tests.lives.lives import ORIGIN, Life, Step, instant
from tests.lives.record import METRICS, Event, Invoice, Kind, record_of

_MOST_STEPS: Final = 500
_REPEATED: Final = 4
"""In every so many lives each close is made twice; the second has to find nothing."""
_SOMEBODY: Final = UUID(int=7)


class Stuck(AssertionError):
    """Raised when the core goes on without end, or something due stays undone."""


class Driver:
    """One life under way."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.record = record_of(life)
        self.at = ORIGIN
        self.crossed: set[int] = set()
        begins = _state(life)
        self.state = begins if life.waits else lifecycle.created(begins, at=ORIGIN)

    def live(self) -> None:
        """Live the whole life."""
        for step in self.life.steps:
            self.advance(instant(step.at))
            self.take(step)
        self.advance(instant(self.life.until))

    # Time

    def advance(self, to: datetime) -> None:
        """Let everything happen that is due up to an instant."""
        self.at = to
        if self.life.in_clock:
            self.state = lifecycle.clock_advanced(self.state, to)
        for _ in range(_MOST_STEPS):
            wake = self._next()
            if wake.at is None or (wake.at > to):
                break
            self._do(wake)
        else:
            raise Stuck(f"{_MOST_STEPS} steps up to {to}, the next would be {self._next()}")
        clock = self.state.clock
        if clock is not None and not self.state.is_finished and clock.reported != to:
            raise Stuck(f"the clock stands at {to} and was told {clock.reported}")

    def _next(self) -> Wake:
        due = next_wake(self.state, at=self._now(), wall=self.at)
        return suspension_rules.due_transition(self.state) or due

    def _now(self) -> datetime:
        return subscription_now(self.state, wall=self.at)

    def _do(self, wake: Wake) -> None:
        assert wake.at is not None, "what is due has a time"
        self.state = lifecycle.advanced_to(self.state, wake.at)
        match wake.kind:
            case "activate":
                self.state = lifecycle.begun(self.state, starts_at=self.state.starts_at)
            case "trial_end":
                self.state = lifecycle.after_trial(self.state)
            case "period_end":
                self._end_period()
            case "close":
                due = lifecycle.due_close(self.state, wake.period_start)
                self.state = lifecycle.without_due_close(self.state, due)
                self._close(due, wake.at)
            case "cancel":
                self._end(wake.at, lambda now: lifecycle.ended(now, at=wake.at or self.at, by="end"))
            case "payment_retry":
                self._collect(wake)
            case "clock_reached":
                self.state = lifecycle.clock_reported(self.state, wake.at)
            case _:
                raise Stuck(f"nothing in this life brings {wake.kind}")

    def _end_period(self) -> None:
        assert self.state.period is not None, "a period that ends is there"
        due, ends = lifecycle.current_period_due(self.state), self.state.period.end
        is_billed = lifecycle.is_billed_at_its_end(self.state)
        self.state = lifecycle.after_period(self.state)
        if self.state.plan_version - 1 != self.record.served[-1][1]:
            self.record.served.append((ends, self.state.plan_version - 1))
        if is_billed and self.state.grace_days:
            self.state = lifecycle.with_due_close(self.state, due)
        elif is_billed:
            self._close(due, ends)

    def _close(self, due: DueClose, at: datetime) -> None:
        version = due.plan_version_id.int - 1
        made = self._bill(due.kind, due.period.start, due.period.end, at, version)
        self.state = lifecycle.after_close(self.state, self._opened(made, at))

    def _end(self, at: datetime, change: Callable[[SubscriptionState], SubscriptionState]) -> None:
        due = lifecycle.rest_due(self.state, end=at)
        if due is not None and due.close_at != at:
            self.state = lifecycle.with_due_close(self.state, due)
        elif due is not None:
            self._close(due, at)
        self.state = change(self.state)
        self.record.ended_at = at

    # Invoices

    def _bill(
        self, kind: Kind, start: datetime, end: datetime, at: datetime, version: int, *, draft: bool = False
    ) -> Invoice | None:
        made = self.record.close(kind, start=start, end=end, at=at, version=version, draft=draft)
        if self.life.seed % _REPEATED == 0:
            again, _ = self.record.proposed(kind, start=start, end=end, at=at, version=version)
            assert not again.lines, f"the same {kind} close a second time bills {again.lines}"
        return made

    def _opened(self, made: Invoice | None, at: datetime) -> OpenInvoice | None:
        if made is None or made.state != "issued":
            return None
        collect = self.life.card != "none" and made.kind != "on_demand"
        return OpenInvoice(invoice_id=made.id, next_attempt_at=at if collect else None)

    def _collect(self, wake: Wake) -> None:
        invoice = next(one for one in self.record.invoices if one.id == wake.invoice_id)
        known = self.state.invoice(invoice.id)
        assert known is not None, "what is to be collected is followed"
        attempt = known.attempt_to_make
        outcome = "declined" if self.life.card == "declines" and attempt < 3 else "paid"
        self.state = lifecycle.after_collect(
            self.state,
            invoice.id,
            "paid" if outcome == "paid" else "declined",
            attempt_no=attempt,
            error=None,
            at=self._now(),
            wall=self.at,
        )
        if outcome == "paid":
            self.record.pay(invoice)

    def _settled(self, invoice: Invoice, status: str) -> None:
        self.state = lifecycle.invoice_status_reported(self.state, invoice.id, status, wall=self.at)

    # Steps

    def take(self, step: Step) -> None:
        """Do what somebody does at a minute."""
        match step.act:
            case "use" | "amend" | "unuse":
                self._events(step)
            case "draft" | "cut":
                self._by_hand(draft=step.act == "draft")
            case "void" | "pay" | "delete" | "finalize":
                self._invoices(step)
            case "topup":
                self.record.wallet_minor += step.m
                self.record.topped_up_minor += step.m
            case _:
                assert overdue(self.state, at=self.at).at is None, "everything due has happened"
                self._command(step)

    def _events(self, step: Step) -> None:
        events = self.record.events
        if step.act == "use":
            events.append(Event(instant(step.when), METRICS[step.n], Decimal(step.m) / 4))
        elif step.act == "amend":
            events[step.n].quantity = Decimal(step.m) / 4
        else:
            events[step.n].counts = False
        if step.act != "use":
            self.record.corrected.add(events[step.n].at)
        self._look()
        self._after_end()

    def _after_end(self) -> None:
        """Bill what changed or was reopened after the end, as the workflow for it does at once."""
        ended = self.record.ended_at
        if ended is not None:
            version = self.state.plan_version_id.int - 1
            made = self._bill("adjustment", ended, ended, self.at, version)
            if made is not None and made.state == "issued" and self.life.card != "none":
                self.record.pay(made)

    def _look(self) -> None:
        """Invoice the thresholds that usage has crossed."""
        period = self.state.period
        if period is None or not lifecycle.invoices_thresholds(self.state):
            return
        version = self.state.plan_version_id.int - 1
        spend = self.record.spend(period, version)
        new = {minor for minor in self.life.thresholds if minor <= spend} - self.crossed
        if new:
            self.crossed |= new
            made = self._bill("progressive", period.start, period.end, self.at, version)
            opened = self._opened(made, self.at)
            self.state = lifecycle.followed(self.state, opened) if opened else self.state

    def _by_hand(self, *, draft: bool) -> None:
        if self.at <= self.state.billing_starts_at:
            return
        version = self.state.plan_version_id.int - 1
        made = self._bill("on_demand", self.state.billing_starts_at, self.at, self.at, version, draft=draft)
        opened = self._opened(made, self.at)
        self.state = lifecycle.followed(self.state, opened) if opened else self.state

    def _invoices(self, step: Step) -> None:
        record, wanted = self.record, "draft" if step.act in ("delete", "finalize") else "issued"
        found = [one for one in record.invoices if one.state == wanted]
        if not found:
            return
        invoice = found[step.n % len(found)]
        match step.act:
            case "delete":
                record.delete(invoice)
                self._after_end()
            case "finalize":
                record.issue(invoice, at=self.at)
            case "pay":
                record.pay(invoice)
                self._settled(invoice, "paid")
            case "void":
                record.void(invoice, rebill=bool(step.m))
                self._settled(invoice, "voided")
                self._after_end()

    def _command(self, step: Step) -> None:
        at = self.at
        match step.act:
            case "pause":
                self.state = lifecycle.paused(self.state, at=at)
                self.record.pauses = pauses.begun(self.record.pauses, at=at, behavior="skip")
            case "activate":
                self.state = lifecycle.begun(self.state, starts_at=at)
            case "resume":
                self.state = lifecycle.resumed(self.state, at=at)
                self.record.pauses = pauses.ended(self.record.pauses, at=at)
            case "suspend":
                self.state = suspension_rules.suspended(self.state, reason=None)
            case "reinstate":
                self.state = suspension_rules.reinstated(self.state)
            case "cancel":
                self.state = lifecycle.cancel_requested(self.state)
            case "terminate":
                self._end(at, lambda now: lifecycle.ended(now, at=at, by="terminate"))
            case "migrate":
                change = PlanChange(plan_version_id=UUID(int=step.n + 1), plan_version=step.n + 1)
                self.state = lifecycle.plan_change_requested(self.state, change, at_period_end=True)
            case other:
                raise AssertionError(f"no such step: {other}")


def _state(life: Life) -> SubscriptionState:
    anchor = instant(life.anchor)
    return SubscriptionState(
        organization_id=_SOMEBODY,
        project_id=_SOMEBODY,
        subscription_id=_SOMEBODY,
        customer_id=_SOMEBODY,
        plan_id=_SOMEBODY,
        plan_code="plan",
        plan_version_id=UUID(int=1),
        plan_version=1,
        cycle=BillingCycle(interval="monthly", anchor=anchor, timezone="UTC", alignment="anniversary"),
        status="pending",
        cancel_at=instant(life.agreed_end) if life.agreed_end is not None else None,
        waits_for_activation=life.waits,
        starts_at=instant(life.start),
        trial_ends_at=anchor if life.trial_days else None,
        bills_automatically_from=anchor,
        grace_days=life.grace_days,
        clock=TestClock(frozen_time=ORIGIN, advanced_to=ORIGIN) if life.in_clock else None,
    )
