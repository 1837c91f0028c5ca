"""How the hard limits of subscriptions stand: caps, usage of the current period, open reservations.

Raw prepared statements: this is asked for every reservation. Usage is what `usage_store` says, so a cap counts exactly
what an invoice would bill. Whoever decides by these figures takes the limits' locks first, in a statement of its
own: under READ COMMITTED only the statements after it see what the former holders committed, also when they are sent
together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.arrays import uuids
from adapters.postgres.database import Asked, run_together
from adapters.postgres.invoices.billing_store import PricedVersion, version_of
from adapters.postgres.limits.reservation_expiry_store import RESERVED
from adapters.postgres.usage.quantity_store import UsageWindow, read_totals, totals_statement
from adapters.postgres.usage.usage_store import completed, usages
from billing.limits import LimitStatus, ReservedQuantity, adds_up, spend
from billing.numbers import exact
from billing.period import BillingCycle, Period
from billing.usage import NO_USAGE, Usage

_LIMITS: Final = """
    SELECT l.id, l.subscription_id, l.metric_id, l.cap, m.key, l.created_at, l.updated_at
    FROM usage_limits l LEFT JOIN metrics m ON m.id = l.metric_id
    WHERE l.subscription_id = ANY(%(subscriptions)s) ORDER BY l.id FOR NO KEY UPDATE OF l
"""

_SUBSCRIBED: Final = """
    SELECT s.id, s.plan_version_id, s.interval, s.alignment || ' ' || s.timezone,
           greatest(s.anchor, s.starts_at, s.trial_ends_at),
           CASE WHEN s.status IN ('canceled', 'terminated') THEN s.ended_at END, t.frozen_time
    FROM subscriptions s LEFT JOIN test_clocks t ON t.id = s.test_clock_id
    WHERE s.id = ANY(%(subscriptions)s)
"""

# What a cap on spend prices: each open reservation, its equals together. The statement's own time is later than the
# locks, and an index can pass over what expired before it.
_PRICED: Final = """
    SELECT r.metric_id, r.properties, sum(r.quantity), count(*) FROM usage_reservations r
    WHERE r.subscription_id = %(subscription)s AND r.status = 'open' AND r.expires_at > statement_timestamp()
    GROUP BY r.metric_id, r.properties, r.quantity
"""


@dataclass(frozen=True)
class LimitedSubscription:
    """A subscription, its current period, and the metrics whose usage is asked for."""

    subscription_id: UUID
    plan_version_id: UUID
    period: Period
    metric_ids: frozenset[UUID]


@dataclass(frozen=True)
class Limit:
    """A cap of a subscription: of one metric, or of the spend when there is no metric."""

    id: UUID
    subscription_id: UUID
    metric_id: UUID | None
    cap: Decimal
    metric_key: str | None
    created_at: datetime
    updated_at: datetime


@dataclass
class LimitUsage:
    """What one subscription used and reserved in its current period; grows as reservations are admitted.

    ``used`` and ``reserved`` are keyed by metric. Only a cap on spend needs the usage ``by_charge`` and ``held``, which
    tells the reservations apart if a charge does.
    """

    period: Period
    version: PricedVersion
    limits: Sequence[Limit]
    used: Mapping[UUID, Usage]
    reserved: dict[UUID, Decimal]
    by_charge: dict[UUID, Usage] = field(default_factory=dict)
    held: list[ReservedQuantity] = field(default_factory=list)

    def admit(self, asked: ReservedQuantity) -> None:
        """Count a reservation as made."""
        with exact():
            self.reserved[asked.metric_id] = self.reserved.get(asked.metric_id, Decimal(0)) + asked.quantity
        self.held.append(asked)

    def standing(self, limit: Limit, asked: ReservedQuantity | None = None) -> LimitStatus:
        """Return how a limit stands, with a reservation of one of its metrics that is asked for counted as made."""
        if limit.metric_id is not None:
            used = self.used.get(limit.metric_id, NO_USAGE).billable
            with exact():
                reserved = self.reserved.get(limit.metric_id, Decimal(0)) + (asked.quantity if asked else 0)
            return LimitStatus(cap=limit.cap, used=used, reserved=reserved)
        spent, expected = self._spend(()), self._spend(self.held if asked is None else [*self.held, asked])
        return LimitStatus(cap=limit.cap, used=Decimal(spent), reserved=Decimal(expected - spent))

    def concerned(self, metric_id: UUID) -> list[Limit]:
        """Return the limits that a reservation of a metric must keep."""
        return [each for each in self.limits if each.metric_id in (None, metric_id)]

    def _spend(self, held: Sequence[ReservedQuantity]) -> int:
        charges, currency = self.version.charges, self.version.currency
        return spend(charges, self.by_charge, held, period=self.period, currency=currency)


async def counters(connection: AsyncConnection, subscription_ids: Sequence[UUID]) -> dict[UUID, LimitUsage]:
    """Read how all limits of subscriptions stand now, keyed by subscription; those without a limit are absent.

    Exact to the last committed event and reservation. Takes the limits' locks for the moment it reads: a reservation
    that is committed meanwhile must be seen either as reserved or as used, not as both.
    """
    if not subscription_ids:
        return {}
    names = {"subscriptions": uuids(subscription_ids)}
    found, rows = await run_together(connection, (_LIMITS, names), (_SUBSCRIBED, names))
    limits = _by_subscription(found)
    concerned = [
        LimitedSubscription(
            row[0], row[1], _current(row), frozenset(each.metric_id for each in limits[row[0]] if each.metric_id)
        )
        for row in rows
        if row[0] in limits
    ]
    return await locked_counters(connection, concerned)


async def locked_counters(
    connection: AsyncConnection, concerned: Sequence[LimitedSubscription]
) -> dict[UUID, LimitUsage]:
    """Lock the limits of subscriptions, in the order of their ids, and read how they stand; keyed by subscription.

    The locks are held until the transaction ends. Subscriptions without a limit are absent, and so is the usage of
    metrics that are not asked for. One round trip.
    """
    if not concerned:
        return {}
    return await read_usage(connection, concerned, await run_together(connection, *usage_statements(concerned)))


def usage_statements(concerned: Sequence[LimitedSubscription]) -> tuple[Asked, Asked]:
    """Return the statements of ``locked_counters``, to be sent together with others; `read_usage` reads their rows."""
    names = {"subscriptions": uuids(each.subscription_id for each in concerned)}
    return (_LIMITS, names), totals_statement(_windows(concerned), RESERVED)


async def read_usage(
    connection: AsyncConnection, concerned: Sequence[LimitedSubscription], rows: Sequence[Sequence[Any]]
) -> dict[UUID, LimitUsage]:
    """Put together how limits stand from the rows of both statements of ``usage_statements``."""
    limits, totals = rows
    by_subscription = _by_subscription(limits)
    own = [each for each in concerned if each.subscription_id in by_subscription]
    versions = {each.plan_version_id: await version_of(connection, each.plan_version_id) for each in own}
    spending = [each for each in own if any(limit.metric_id is None for limit in by_subscription[each.subscription_id])]
    priced = {each.subscription_id: _metrics_priced(versions[each.plan_version_id]) for each in spending}
    windows = _windows(concerned)
    quantities, reserved = read_totals(windows, totals), _reserved(windows, totals)
    more = _windows([replace(each, metric_ids=priced[each.subscription_id] - each.metric_ids) for each in spending])
    if more:
        (others,) = await run_together(connection, totals_statement(more, RESERVED))
        quantities |= read_totals(more, others)
        reserved |= _reserved(more, others)
    used = await completed(connection, quantities)
    assert all(quantity >= 0 for quantity in reserved.values()), "less than nothing is reserved"
    found = {}
    for each in own:
        metrics = each.metric_ids | priced.get(each.subscription_id, frozenset())
        of = {metric: UsageWindow(each.subscription_id, metric, each.period) for metric in metrics}
        found[each.subscription_id] = LimitUsage(
            each.period,
            versions[each.plan_version_id],
            by_subscription[each.subscription_id],
            {metric: used[window] for metric, window in of.items()},
            {metric: reserved[window] for metric, window in of.items()},
        )
    for each in spending:
        await _price(connection, each, found[each.subscription_id])
    return found


def _reserved(windows: Sequence[UsageWindow], rows: Sequence[Any]) -> dict[UsageWindow, Decimal]:
    return {windows[row[0] - 1]: row[-1] for row in rows}


def _metrics_priced(version: PricedVersion) -> frozenset[UUID]:
    return frozenset(each.metric_id for each in version.charges if each.metric_id is not None and adds_up(each))


async def _price(connection: AsyncConnection, concerned: LimitedSubscription, counter: LimitUsage) -> None:
    """Read what a cap on spend prices beside the quantities of metrics: parts of usage, and each open reservation."""
    metered = [charge for charge in counter.version.charges if charge.metered]
    apart = [charge for charge in metered if not adds_up(charge)]
    counter.by_charge = {
        charge.id: counter.used[charge.metric_id]
        for charge in metered
        if charge.metric_id is not None and adds_up(charge)
    }
    if apart:
        counter.by_charge |= await usages(connection, concerned.subscription_id, apart, concerned.period)
        counter.held = await _held(connection, concerned.subscription_id)
    else:
        counter.held = [
            ReservedQuantity(metric_id=metric, quantity=sum_) for metric, sum_ in counter.reserved.items() if sum_
        ]


def _windows(concerned: Sequence[LimitedSubscription]) -> list[UsageWindow]:
    return [UsageWindow(each.subscription_id, metric, each.period) for each in concerned for metric in each.metric_ids]


def _by_subscription(rows: Sequence[Any]) -> dict[UUID, list[Limit]]:
    found: dict[UUID, list[Limit]] = {}
    for row in rows:
        found.setdefault(row[1], []).append(Limit(*row))
    return found


async def _held(connection: AsyncConnection, subscription_id: UUID) -> list[ReservedQuantity]:
    (rows,) = await run_together(connection, (_PRICED, {"subscription": subscription_id}))
    return [
        ReservedQuantity(metric_id=metric, quantity=quantity, count=count, properties=properties or {})
        for metric, properties, quantity, count in rows
    ]


def _current(row: Any) -> Period:
    """Return the period that holds the subscription's now; the first one before it starts, the last after it ended."""
    _, _, interval, aligned, anchor, ended_at, frozen = row
    at = frozen or datetime.now(UTC)
    return period_at(interval, aligned, anchor, at if ended_at is None else min(at, ended_at))


def period_at(interval: str, aligned: str, anchor: datetime, at: datetime) -> Period:
    """Return the period of a billing cycle that holds an instant; the first one for an instant before.

    ``aligned`` is the alignment and the time zone, a blank between them; ``anchor`` is where billing periods begin.
    """
    timeline = _timeline(interval, aligned, anchor)
    return timeline.period_at(max(at, timeline.cycle.anchor))


class _Timeline:
    """A billing cycle that remembers the period it was last asked for: the next instant mostly lies in the same."""

    def __init__(self, cycle: BillingCycle) -> None:
        self.cycle = cycle
        self._last = Period(start=cycle.anchor, end=cycle.anchor)

    def period_at(self, at: datetime) -> Period:
        if not self._last.contains(at):
            self._last = self.cycle.period_containing(at)
        return self._last


@lru_cache(maxsize=20_000)
def _timeline(interval: Any, aligned: str, anchor: datetime) -> _Timeline:
    alignment, _, timezone = aligned.partition(" ")
    cycle: Any = {"interval": interval, "anchor": anchor, "timezone": timezone, "alignment": alignment}
    return _Timeline(BillingCycle(**cycle))
