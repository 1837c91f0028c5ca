"""How the hard limits of subscriptions stand: caps, usage of the current period, open reservations.

Raw prepared statements: this is asked for every reservation. Usage is what `usage_store` says, so a cap counts exactly
what an invoice would bill. Whoever decides by these figures takes the locks of `lock` first, in a statement of its own:
under READ COMMITTED only the statements after it see what the former holders committed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.billing_store import PricedVersion, version_of
from adapters.postgres.database import driver
from adapters.postgres.usage_store import metric_usages, usages
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
    GROUP BY 1, 2, 3
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


async def lock(connection: AsyncConnection, subscription_ids: Sequence[UUID], *, shared: bool = False) -> list[Limit]:
    """Lock the limits of subscriptions until the transaction ends, in the order of their ids, and read them."""
    raw = await driver(connection)
    statement = _SHARED if shared else _EXCLUSIVE
    cursor = await raw.execute(statement, {"subscriptions": list(subscription_ids)}, prepare=True)
    return [Limit(*row) for row in await cursor.fetchall()]


async def limits_of(connection: AsyncConnection, subscription_ids: Sequence[UUID]) -> list[Limit]:
    """Read the limits of subscriptions without locking them."""
    raw = await driver(connection)
    cursor = await raw.execute(_LIMITS, {"subscriptions": list(subscription_ids)}, prepare=True)
    return [Limit(*row) for row in await cursor.fetchall()]


async def counters(connection: AsyncConnection, limits: Sequence[Limit]) -> dict[UUID, Counter]:
    """Read how limits stand now, keyed by subscription; exact to the last committed event and reservation."""
    by_subscription: dict[UUID, list[Limit]] = {}
    for limit in limits:
        by_subscription.setdefault(limit.subscription_id, []).append(limit)
    if not by_subscription:
        return {}
    raw = await driver(connection)
    wanted = {"subscriptions": list(by_subscription)}
    subscribed = await (await raw.execute(_SUBSCRIBED, wanted, prepare=True)).fetchall()
    held: dict[UUID, list[Held]] = {}
    for owner, metric, properties, quantity, count in await (await raw.execute(_OPEN, wanted, prepare=True)).fetchall():
        own = Held(metric_id=metric, quantity=quantity, count=count, properties=properties or {})
        held.setdefault(owner, []).append(own)
    return {
        row[0]: await _counter(connection, row, by_subscription[row[0]], held.get(row[0], [])) for row in subscribed
    }


async def _counter(connection: AsyncConnection, row: Any, limits: Sequence[Limit], held: list[Held]) -> Counter:
    subscription_id, version_id, *_ = row
    period = _current(row)
    version = await version_of(connection, version_id)
    metrics = [limit.metric_id for limit in limits if limit.metric_id is not None]
    used = await metric_usages(connection, subscription_id, metrics, period) if metrics else {}
    by_charge: Mapping[UUID, Usage] = {}
    if len(metrics) < len(limits):
        by_charge = await usages(connection, subscription_id, version.charges, period)
    return Counter(period, version, limits, used, by_charge, held)


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
