"""Where an event counts: its metric, customer and subscription, or the reason why it does not count (C8, C9, B67)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from adapters.postgres.events.ingest_events import TRACK, IngestEvent
from adapters.postgres.events.ingest_lookup import (
    CustomerSubscriptions,
    Lookup,
    Metric,
    SubscriptionTerms,
    dynamic_charges,
)
from billing.numbers import plain
from billing.subscriptions.pauses import pause_at

UNKNOWN_METRIC: Final = "unknown_metric"
UNKNOWN_CUSTOMER: Final = "unknown_customer"
UNKNOWN_SUBSCRIPTION: Final = "unknown_subscription"
OTHER_CUSTOMERS_SUBSCRIPTION: Final = "subscription_of_other_customer"
NO_SUBSCRIPTION: Final = "no_subscription_charges_metric"
BEFORE_START: Final = "before_subscription_start"
AFTER_END: Final = "after_subscription_end"
SUBSCRIPTION_PAUSED: Final = "subscription_paused"
PENDING: Final = "subscription_pending"
TOO_OLD: Final = "too_old"
TOO_FAR_IN_FUTURE: Final = "too_far_in_future"

#: However a project is set, an event further ahead than this is a mistake: it is refused, and makes no month.
_FARTHEST: Final = timedelta(days=366)


@dataclass(frozen=True)
class Target:
    """What the references of an event mean.

    ``reason`` is set when they mean nothing that could count. ``candidates`` are the subscriptions that may take the
    event, the preferred one first. ``now`` is the time its customer lives in (C11). An event outside
    ``[earliest, latest]`` is refused; one outside ``[counts_from, counts_until]`` is kept as skipped (C4).
    """

    metric: Metric | None
    customer: CustomerSubscriptions | None
    candidates: Sequence[SubscriptionTerms]
    reason: str | None
    now: datetime
    latest: datetime
    earliest: datetime | None
    counts_from: datetime | None = None
    counts_until: datetime | None = None
    creates_customer: bool = False

    def refuses(self, at: datetime) -> bool:
        """Return whether an event of that time is not taken: outside of the limits, or in a pause that voids usage."""
        if at > self.latest or (self.earliest is not None and at < self.earliest):
            return True
        return self.voids(at)

    def voids(self, at: datetime) -> bool:
        """Return whether the subscription that would take an event of that time is paused and voids its usage."""
        held, reason = self.choose(at) if any(each.pauses for each in self.candidates) else (None, None)
        if held is None or reason != SUBSCRIPTION_PAUSED:
            return False
        pause = pause_at(held.pauses, at)
        return pause is not None and pause.behavior == "void"

    def choose(self, at: datetime) -> tuple[SubscriptionTerms | None, str | None]:
        """Return the subscription that takes an event of that time, and the reason if none counts it."""
        if self.reason is not None:
            return None, self.reason
        if self.counts_until is not None and at > self.counts_until:
            return self.candidates[0], TOO_FAR_IN_FUTURE
        if self.counts_from is not None and at < self.counts_from:
            return self.candidates[0], TOO_OLD
        for held in self.candidates:
            if held.status != "pending" and held.starts_at <= at and (held.ends_at is None or at < held.ends_at):
                return held, SUBSCRIPTION_PAUSED if held.pauses and pause_at(held.pauses, at) else None
        first = self.candidates[0]
        if first.status == "pending":
            return first, PENDING
        return first, BEFORE_START if at < first.starts_at else AFTER_END


def target_of(event: IngestEvent, source: str, found: Lookup, wall: datetime) -> Target:
    """Find what an event's references mean; the named subscription wins, else the oldest that charges the metric."""
    metric = found.metrics.get(event.metric_ref)
    customer = None if event.customer_ref is None else found.customers.get(event.customer_ref)
    named = None if event.subscription_ref is None else found.subscriptions.get(event.subscription_ref)
    unknown_customer = event.customer_ref is not None and customer is None
    candidates: Sequence[SubscriptionTerms] = ()
    reason = UNKNOWN_METRIC if metric is None else None
    if event.subscription_ref is not None:
        candidates = () if named is None else (named,)
        reason = reason or _rejection_of_named_subscription(named, customer, unknown_customer=unknown_customer)
    elif metric is not None:
        candidates = _charging(found, customer, metric)
        if not candidates and source == TRACK:
            candidates = _charging(found, found.organization, metric)
        if not candidates:
            reason = UNKNOWN_CUSTOMER if unknown_customer and source != TRACK else NO_SUBSCRIPTION
    now = _clock(customer, candidates, wall)
    latest = _after(now, found.future)
    earliest = None if found.past is None else _before(now, found.past)
    skips, closed = found.skips_outside, found.closed_until
    return Target(
        metric=metric,
        customer=customer,
        candidates=candidates,
        reason=reason,
        now=now,
        latest=max(latest, _after(now, _FARTHEST)) if skips else latest,
        earliest=closed if skips or earliest is None else max(earliest, closed or earliest),
        counts_from=earliest if skips else None,
        counts_until=latest if skips else None,
        creates_customer=unknown_customer and source == TRACK,
    )


def _rejection_of_named_subscription(
    named: SubscriptionTerms | None, customer: CustomerSubscriptions | None, *, unknown_customer: bool
) -> str | None:
    if named is None:
        return UNKNOWN_SUBSCRIPTION
    if unknown_customer:
        return UNKNOWN_CUSTOMER
    if customer is not None and named.customer_id != customer.id:
        return OTHER_CUSTOMERS_SUBSCRIPTION
    return None


def _charging(found: Lookup, customer: CustomerSubscriptions | None, metric: Metric) -> list[SubscriptionTerms]:
    return [] if customer is None else [held for held in customer.subscriptions if found.charges(held, metric)]


def _clock(customer: CustomerSubscriptions | None, candidates: Sequence[SubscriptionTerms], wall: datetime) -> datetime:
    for holder in (*candidates, customer):
        if holder is not None and holder.frozen_time is not None:
            return holder.frozen_time
    return wall


def _after(now: datetime, future: timedelta) -> datetime:
    try:
        return now + future
    except OverflowError:
        return datetime.max.replace(tzinfo=now.tzinfo)


def _before(now: datetime, past: timedelta) -> datetime:
    try:
        return now - past
    except OverflowError:
        return datetime.min.replace(tzinfo=now.tzinfo)


def value_of(metric: Metric, event: IngestEvent) -> tuple[str | None, str | None]:
    """Return the number that an event counts for, as text, and the reason if it has none where one is needed.

    The property that the metric names (``field``, BoxBilling's ``field_name``) wins where the event has it; else the
    event's own value; the rest is for its aggregation to say (`Aggregation.read`).
    """
    properties = event.properties or {}
    if event.value is not None and metric.takes_value_as_sent:
        return event.value, None
    sent = None if event.value is None else Decimal(event.value)
    found, reason = metric.aggregation.read(value=sent, properties=properties)
    return None if found is None else plain(found), reason


def unpriced(
    held: SubscriptionTerms | None, metric: Metric, value: str | None, properties: Mapping[str, object] | None
) -> str | None:
    """Return why a charge of the subscription could not price an event, None if each can."""
    for charge in dynamic_charges(held, metric):
        reason = charge.refusal_of(None if value is None else Decimal(value), properties or {})
        if reason is not None:
            return reason
    return None


def customer_of(target: Target, held: SubscriptionTerms | None) -> UUID | None:
    """Return the customer whom the event belongs to: the one it names, else the subscription's."""
    if target.customer is not None:
        return target.customer.id
    return None if held is None else held.customer_id
