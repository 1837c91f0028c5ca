"""What a new subscription's request means: when it starts, which periods it has, and which it bills by itself.

Pure: the request, the rows it names and the time it is made at go in; the workflow's first state and what the record
keeps beside it come out (conflicts C21, C23, C25; R12).
"""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from adapters.postgres.subscriptions.subscription_store import RecordedTerms, ResolvedReferences
from api.subscriptions.subscription_shapes import NewSubscription
from billing.period import BillingCycle, zone
from billing.subscriptions import lifecycle
from billing.subscriptions.subscription import SubscriptionState, TestClock
from models.problems import Problem, invalid

MOST_BACKDATED_PERIODS: Final = 600
"""How many ended periods `backdate_billing: "automatic"` may close at creation: fifty years of months."""


def first_state(wanted: NewSubscription, named: ResolvedReferences, subscription_id: UUID) -> SubscriptionState:
    """Return the state with which the subscription's workflow starts: begun if its start has come, else pending.

    A body without any start begins now; BoxBilling's (it has an `external_id`) waits for its activate command.
    Raises `Problem` 422 for an end that is not after the start or not ahead, and for too many backdated periods.
    """
    timezone = wanted.timezone or named.timezone
    supplied = wanted.start
    starts_at = supplied.instant(timezone) if supplied else named.now
    trial_ends_at = _trial_end(wanted, named, starts_at, timezone)
    anchor = trial_ends_at or starts_at
    cycle = BillingCycle(interval=named.interval, anchor=anchor, timezone=timezone, alignment=wanted.alignment)
    pending = SubscriptionState(
        organization_id=named.organization_id,
        project_id=named.project_id,
        subscription_id=subscription_id,
        customer_id=named.customer_id,
        plan_id=named.plan_id,
        plan_code=named.plan_code,
        plan_version_id=named.plan_version_id,
        plan_version=named.plan_version,
        cycle=cycle,
        status="pending",
        starts_at=starts_at,
        trial_ends_at=trial_ends_at,
        bills_automatically_from=_bills_from(cycle, named.now, automatic=wanted.backdate_billing == "automatic"),
        waits_for_activation=supplied is None and wanted.external_id is not None,
        cancel_at=_end(wanted, starts_at, named.now, timezone),
        grace_days=named.grace_days,
        clock=_clock(named),
    )
    return pending if pending.waits_for_activation else _begun(pending, named.now)


def _begun(pending: SubscriptionState, now: datetime) -> SubscriptionState:
    state = lifecycle.created(pending, at=now)
    # A trial that was over before anybody asked for the subscription is only history.
    if state.status == "trialing" and state.trial_ends_at is not None and state.trial_ends_at <= now:
        return lifecycle.after_trial(state)
    return state


def _clock(named: ResolvedReferences) -> TestClock | None:
    if named.test_clock_id is None:
        return None
    return TestClock(frozen_time=named.now, advanced_to=named.now, reported=named.now)


def _trial_end(
    wanted: NewSubscription, named: ResolvedReferences, starts_at: datetime, timezone: str
) -> datetime | None:
    """Return the exclusive end of the trial: as named, or the trial days after the start on the local wall clock."""
    ends = wanted.trial_end
    if ends is not None:
        at = ends.instant(timezone)
        if at < starts_at:
            raise invalid("trial_ends_at", "is before the subscription's start")
        return at if at > starts_at else None
    days = wanted.trial_days if wanted.trial_days is not None else named.trial_period_days
    if not days:
        return None
    local = starts_at.astimezone(zone(timezone)).replace(tzinfo=None) + timedelta(days=days)
    return local.replace(tzinfo=zone(timezone), fold=0).astimezone(UTC)


def _end(wanted: NewSubscription, starts_at: datetime, now: datetime, timezone: str) -> datetime | None:
    if wanted.end is None:
        return None
    ends_at = wanted.end.instant(timezone)
    if ends_at <= starts_at:
        raise invalid("ending_at", "is not after the subscription's start", "end_before_start")
    if ends_at <= now:
        raise invalid("ending_at", "has passed already", "end_in_the_past")
    return ends_at


def _bills_from(cycle: BillingCycle, now: datetime, *, automatic: bool) -> datetime:
    """Return the start of the first period that is billed without being asked for: the one open now (C25, B109)."""
    if cycle.anchor >= now:
        return cycle.anchor
    if not automatic:
        return cycle.period_containing(now).start
    if cycle.index_containing(now) > MOST_BACKDATED_PERIODS:
        raise Problem(
            422,
            "too_many_backdated_periods",
            f"More than {MOST_BACKDATED_PERIODS} periods have ended since the start; bill them on demand.",
        )
    return cycle.anchor


def recorded_terms(wanted: NewSubscription, named: ResolvedReferences) -> RecordedTerms:
    """Return what the record keeps of a request beside the workflow's state."""
    return RecordedTerms(
        external_id=wanted.external_id,
        external_reference=wanted.external_reference,
        starts_at_supplied=wanted.start.text if wanted.start else None,
        customer_supplied=wanted.customer_id,
        plan_supplied=wanted.plan_id,
        trial_period_days=wanted.trial_days if wanted.trial_days is not None else named.trial_period_days,
        on_termination_action=wanted.on_termination_action,
        contract=wanted.contract,
        metadata=wanted.metadata,
        test_clock_id=named.test_clock_id,
        clock_reached_at=named.now if named.test_clock_id else None,
    )
