"""How the hard limits of subscriptions stand: caps, usage of the current period, open reservations.

Raw prepared statements: this is asked for every reservation. Usage is what `usage_store` says, so a cap counts exactly
what an invoice would bill. Whoever decides by these figures takes the limits' locks first, in a statement of its
own: under READ COMMITTED only the statements after it see what the former holders committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.additive_usage import Wanted, usages_of_many
from adapters.postgres.billing_store import PricedVersion, version_of
from adapters.postgres.database import driver
from adapters.postgres.usage_store import usages
from billing.limits import Held, Standing, spend
from billing.period import BillingCycle, Period
from billing.usage import NO_USAGE, Usage

_LIMITS: Final = """
    SELECT l.id, l.subscription_id, l.metric_id, l.cap, m.key
    FROM usage_limits l LEFT JOIN metrics m ON m.id = l.metric_id
    WHERE l.subscription_id = ANY(%(subscriptions)s) ORDER BY l.id
"""
#: Reservations take a limit alone; what settles them shares it with its like.
_EXCLUSIVE: Final = _LIMITS + " FOR NO KEY UPDATE OF l"
_SHARED: Final = _LIMITS + " FOR SHARE OF l"

_SUBSCRIBED: Final = """
    SELECT s.id, s.plan_version_id, s.interval, s.anchor, s.timezone, s.alignment, s.starts_at, s.trial_ends_at,
           CASE WHEN s.status IN ('canceled', 'terminated') THEN s.ended_at END, t.frozen_time
    FROM subscriptions s LEFT JOIN test_clocks t ON t.id = s.test_clock_id
    WHERE s.id = ANY(%(subscriptions)s)
"""

_OPEN: Final = """
    SELECT subscription_id, metric_id, properties, sum(quantity), count(*)
    FROM usage_reservations
    WHERE subscription_id = ANY(%(subscriptions)s) AND status = 'open' AND expires_at > clock_timestamp()
    GROUP BY subscription_id, metric_id, properties, quantity
"""


@dataclass(frozen=True)
class Limit:
    """A cap of a subscription: of one metric, or of the spend when there is no metric."""

    id: UUID
    subscription_id: UUID
    metric_id: UUID | None
    cap: Decimal
    metric_key: str | None


@dataclass
class Counter:
    """What one subscription used and reserved in its current period; grows as reservations are admitted."""

    period: Period
    version: PricedVersion
    limits: Sequence[Limit]
    used: Mapping[UUID, Usage]
    by_charge: Mapping[UUID, Usage]
    held: list[Held] = field(default_factory=list)

    def standing(self, limit: Limit, asked: Held | None = None) -> Standing:
        """Give how a limit stands, with a reservation that is asked for counted as made."""
        held = self.held if asked is None else [*self.held, asked]
        if limit.metric_id is not None:
            used = self.used.get(limit.metric_id, NO_USAGE).billable
            reserved = sum((each.quantity for each in held if each.metric_id == limit.metric_id), Decimal(0))
            return Standing(cap=limit.cap, used=used, reserved=reserved)
        spent, expected = self._spend(()), self._spend(held)
        return Standing(cap=limit.cap, used=Decimal(spent), reserved=Decimal(expected - spent))

    def concerned(self, metric_id: UUID) -> list[Limit]:
        """Give the limits that a reservation of a metric must keep."""
        return [each for each in self.limits if each.metric_id in (None, metric_id)]

    def _spend(self, held: Sequence[Held]) -> int:
        charges, currency = self.version.charges, self.version.currency
        return spend(charges, self.by_charge, held, period=self.period, currency=currency)


async def share(connection: AsyncConnection, subscription_ids: Sequence[UUID]) -> None:
    """Keep reservations under the limits of subscriptions waiting until the transaction ends; others may share it."""
    raw = await driver(connection)
    await raw.execute(_SHARED, {"subscriptions": list(subscription_ids)}, prepare=True)


async def counters(connection: AsyncConnection, subscription_ids: Sequence[UUID], *, lock: bool) -> dict[UUID, Counter]:
    """Read how the limits of subscriptions stand now, keyed by subscription; those without a limit are absent.

    ``lock`` takes the limits first, in the order of their ids, until the transaction ends. Exact to the last committed
    event and reservation.
    """
    if not subscription_ids:
        return {}
    raw = await driver(connection)
    wanted = {"subscriptions": list(subscription_ids)}
    # Sent together, executed one after the other: each sees what was committed when it began.
    async with raw.pipeline():
        limits = await raw.execute(_EXCLUSIVE if lock else _LIMITS, wanted, prepare=True)
        subscribed = await raw.execute(_SUBSCRIBED, wanted, prepare=True)
        reserved = await raw.execute(_OPEN, wanted, prepare=True)
    by_subscription: dict[UUID, list[Limit]] = {}
    for row in await limits.fetchall():
        by_subscription.setdefault(row[1], []).append(Limit(*row))
    held: dict[UUID, list[Held]] = {}
    for owner, metric, properties, quantity, count in await reserved.fetchall():
        own = Held(metric_id=metric, quantity=quantity, count=count, properties=properties or {})
        held.setdefault(owner, []).append(own)
    owners = [row for row in await subscribed.fetchall() if row[0] in by_subscription]
    return await _counted(connection, owners, by_subscription, held)


async def _counted(
    connection: AsyncConnection,
    owners: Sequence[Any],
    limits: Mapping[UUID, Sequence[Limit]],
    held: Mapping[UUID, list[Held]],
) -> dict[UUID, Counter]:
    """Add what was used to what is reserved."""
    periods = {row[0]: _current(row) for row in owners}
    wanted = [
        Wanted(owner, limit.metric_id, period)
        for owner, period in periods.items()
        for limit in limits[owner]
        if limit.metric_id is not None
    ]
    used = await usages_of_many(connection, wanted)
    found = {}
    for owner, version_id, *_ in owners:
        version = await version_of(connection, version_id)
        by_charge: Mapping[UUID, Usage] = {}
        if any(limit.metric_id is None for limit in limits[owner]):
            by_charge = await usages(connection, owner, version.charges, periods[owner])
        own = {metric: usage for (subscription, metric), usage in used.items() if subscription == owner}
        found[owner] = Counter(periods[owner], version, limits[owner], own, by_charge, held.get(owner, []))
    return found


def _current(row: Any) -> Period:
    """Give the period that holds the subscription's now; the first one before it starts, the last after it ended."""
    _, _, interval, anchor, timezone, alignment, starts_at, trial_ends_at, ended_at, frozen = row
    begins = starts_at if trial_ends_at is None else max(starts_at, trial_ends_at)
    cycle = _cycle(interval, max(anchor, begins), timezone, alignment)
    at = frozen or datetime.now(UTC)
    return cycle.period_containing(max(at if ended_at is None else min(at, ended_at), cycle.anchor))


@lru_cache(maxsize=20_000)
def _cycle(interval: Any, anchor: datetime, timezone: str, alignment: Any) -> BillingCycle:
    return BillingCycle(interval=interval, anchor=anchor, timezone=timezone, alignment=alignment)
