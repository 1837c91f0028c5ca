"""Usage as people read it: a subscription's periods in units and money, and totals by metric and billing period.

The quantities are those of `usage_store`, priced by the function that prices invoices; nothing is estimated unless the
name says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, Text, any_, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers.clock_store import now
from adapters.postgres.invoices.billing_store import PricedVersion, Terms, terms_of, version_of, version_of_period
from adapters.postgres.resolver import CUSTOMER, SUBSCRIPTION, required, resolve_metrics
from adapters.postgres.rows import record, records
from adapters.postgres.usage.event_slice_store import EventSlice, usage_of_part
from adapters.postgres.usage.quantity_store import Measure, measures_of
from adapters.postgres.usage.usage_store import metric_usages, usages
from billing.aggregations import ADDITIVE
from billing.charges import Charge
from billing.invoice import InvoiceLine
from billing.numbers import rounded_ratio
from billing.period import BillingCycle, Period
from billing.rating import rate
from billing.usage import NO_USAGE, Usage
from models.problems import not_found
from models.tables import customers, metrics, subscriptions, usage_rollups

#: Whether a metric begins at 0 in each period and grows with its time, so that a part of a period says something about
#: the whole of it. Maxima, averages and the like do not, nor does what carries over.
GROWS: Final = metrics.c.recurring.is_(False) & (metrics.c.aggregation == any_(literal(sorted(ADDITIVE), ARRAY(Text))))
_ENDED: Final = ("canceled", "terminated")


@dataclass(frozen=True, slots=True)
class UsedSubscription:
    """A subscription whose usage is read."""

    id: UUID
    project_id: UUID
    customer_id: UUID
    plan_version_id: UUID
    status: str
    ended_at: datetime | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    test_clock_id: UUID | None


@dataclass(frozen=True)
class SubscriptionUsageContext:
    """A subscription, what the plan version of its current period charges, and the time it lives in."""

    subscription: UsedSubscription
    terms: Terms
    version: PricedVersion
    now: datetime

    @property
    def cycle(self) -> BillingCycle:
        """Its billing periods."""
        return self.terms.cycle

    @property
    def metered(self) -> tuple[Charge, ...]:
        """The charges that price usage, in the plan's order."""
        return tuple(charge for charge in self.version.charges if charge.metered)

    @property
    def current(self) -> Period:
        """The period that holds its now; the first one before it starts, the last one after it ended."""
        at = self.now
        if self.subscription.status in _ENDED and self.subscription.ended_at is not None:
            at = min(at, self.subscription.ended_at - timedelta(microseconds=1))
        return self.cycle.period_containing(max(at, self.cycle.anchor))


@dataclass(frozen=True)
class PeriodUsage:
    """The usage of one period: for each metered charge its quantity, and one priced line for each of its groups."""

    period: Period
    currency: str
    charges: tuple[Charge, ...]
    lines: tuple[InvoiceLine, ...]
    aggregations: dict[UUID, str]
    usages: Mapping[UUID, Usage]

    @property
    def by_line(self) -> tuple[tuple[Charge, InvoiceLine], ...]:
        """Each line with its charge."""
        charges = {charge.id: charge for charge in self.charges}
        return tuple((charges[line.charged_id], line) for line in self.lines)

    @property
    def by_charge(self) -> tuple[tuple[Charge, Usage, tuple[InvoiceLine, ...]], ...]:
        """Each charge with its usage and its lines: one, or one for each group."""
        lines: dict[UUID, list[InvoiceLine]] = {charge.id: [] for charge in self.charges}
        for line in self.lines:
            lines[line.charged_id].append(line)
        return tuple((charge, self.usages.get(charge.id, NO_USAGE), tuple(lines[charge.id])) for charge in self.charges)

    @property
    def amount_minor(self) -> int:
        """What the usage costs in minor units; the plan's fixed fees are not in it."""
        return sum(line.amount_minor for line in self.lines)


async def subscribed(connection: AsyncConnection, project_id: UUID, ref: str) -> SubscriptionUsageContext:
    """Find a subscription by any of its names. Raises ``Problem`` 404 ``subscription_not_found``."""
    row = await required(connection, project_id, SUBSCRIPTION, ref)
    return await _subscribed(connection, record(UsedSubscription, row))


async def _subscribed(connection: AsyncConnection, subscription: UsedSubscription) -> SubscriptionUsageContext:
    terms = await terms_of(connection, subscription.id, lock=False)
    version = await version_of(connection, terms.plan_version_id)
    found = SubscriptionUsageContext(subscription, terms, version, await now(connection, subscription.test_clock_id))
    return await _in(connection, found, found.current)


async def _in(connection: AsyncConnection, of: SubscriptionUsageContext, period: Period) -> SubscriptionUsageContext:
    """Return the subscription with the plan version that a period of it is billed under."""
    return replace(of, version=await version_of_period(connection, of.terms, period.start))


async def subscribed_of_customer(
    connection: AsyncConnection, project_id: UUID, customer_ref: str, subscription_ref: str | None
) -> SubscriptionUsageContext:
    """Find a customer's subscription; without a reference the oldest that has not ended, else the newest.

    Raises ``Problem`` 404 ``customer_not_found`` or ``subscription_not_found``.
    """
    customer = await required(connection, project_id, CUSTOMER, customer_ref)
    if subscription_ref is not None:
        own = record(UsedSubscription, await required(connection, project_id, SUBSCRIPTION, subscription_ref))
        if own.customer_id != customer.id:
            raise not_found("subscription", subscription_ref)
        return await _subscribed(connection, own)
    mine = select(subscriptions).where(subscriptions.c.customer_id == customer.id).order_by(subscriptions.c.id)
    rows = records(UsedSubscription, await connection.execute(mine))
    if not rows:
        raise not_found("subscription", customer_ref)
    return await _subscribed(connection, next((row for row in rows if row.status not in _ENDED), rows[-1]))


async def usage_in(connection: AsyncConnection, of: SubscriptionUsageContext, period: Period) -> PeriodUsage:
    """Return the usage of a period, priced; exact to the last acknowledged event.

    Raises `TooManyGroups` for a charge whose group_by is absurd.
    """
    found = await usages(connection, of.subscription.id, of.metered, period)
    return await _priced(connection, of, period, found)


async def projected(connection: AsyncConnection, of: SubscriptionUsageContext) -> PeriodUsage:
    """Extrapolate the current period to its end, linearly: what grows with time keeps its pace so far.

    Sums, counts and expressions are multiplied by (whole period / elapsed part); the rest stays as it is, and so does
    what a metric carries over.
    """
    period = of.current
    found = await usages(connection, of.subscription.id, of.metered, period)
    growing = await _growing(connection, of.metered)
    elapsed = min(max(of.now, period.start), period.end) - period.start
    if elapsed:
        share = Decimal(period.duration // timedelta(microseconds=1)), Decimal(elapsed // timedelta(microseconds=1))
        found = {
            charge.id: _grown(found[charge.id], *share) if charge.metric_id in growing else found[charge.id]
            for charge in of.metered
        }
    return await _priced(connection, of, period, found)


def _grown(usage: Usage, whole: Decimal, elapsed: Decimal) -> Usage:
    """Extrapolate a usage: its quantity and events, and what its events cost by themselves."""
    pace = Fraction(whole) / Fraction(elapsed)

    def grown(value: Decimal) -> Decimal:
        return rounded_ratio(Fraction(value) * pace)

    return usage.model_copy(
        update={
            "quantity": grown(usage.quantity),
            "events": round(usage.events * pace),
            "priced": grown(usage.priced),
            "charged_value": grown(usage.charged_value),
            "charged_events": round(usage.charged_events * pace),
            "groups": tuple(
                part.model_copy(update={"usage": _grown(part.usage, whole, elapsed)}) for part in usage.groups
            ),
        }
    )


async def past(connection: AsyncConnection, of: SubscriptionUsageContext, count: int) -> list[PeriodUsage]:
    """Return the usage of at most ``count`` closed periods, the newest first, none before the subscription began.

    Each is priced by its own plan version, as its invoice is.
    """
    found: list[PeriodUsage] = []
    start = of.current.start
    while len(found) < count and start > of.cycle.anchor:
        period = of.cycle.period_containing(start - timedelta(microseconds=1))
        found.append(await usage_in(connection, await _in(connection, of, period), period))
        start = period.start
    return found


async def _priced(
    connection: AsyncConnection, of: SubscriptionUsageContext, period: Period, found: dict[UUID, Usage]
) -> PeriodUsage:
    lines = rate(of.metered, found, period=period, full_period=period, currency=of.version.currency)
    kinds = await _aggregations(connection, of.metered)
    return PeriodUsage(period, of.version.currency, of.metered, lines, kinds, found)


async def _growing(connection: AsyncConnection, charges: Sequence[Charge]) -> frozenset[UUID]:
    """Return which metrics grow with the time of a period."""
    ids = {charge.metric_id for charge in charges if charge.metric_id is not None}
    return frozenset((await connection.execute(select(metrics.c.id).where(metrics.c.id.in_(ids), GROWS))).scalars())


async def _aggregations(connection: AsyncConnection, charges: Sequence[Charge]) -> dict[UUID, str]:
    ids = {charge.metric_id for charge in charges if charge.metric_id is not None}
    rows = await connection.execute(select(metrics.c.id, metrics.c.aggregation).where(metrics.c.id.in_(ids)))
    return {row.id: row.aggregation for row in rows}


@dataclass(frozen=True)
class Aggregate:
    """One aggregated record: a metric's total on one subscription in one billing period (B64)."""

    metric_key: str
    total: Decimal
    events: int
    period: Period
    customer: str | None
    subscription_id: UUID


async def aggregates(
    connection: AsyncConnection,
    project_id: UUID,
    *,
    metric: str | None,
    customer: str | None,
    window: tuple[datetime, datetime] | None,
    most: int,
) -> list[Aggregate]:
    """Return a record for each metric, subscription and period with usage: the current one, or those of a window.

    ``metric`` is any name of a metric. ``customer`` keeps the events that named that customer, also those that the
    organization's subscription took (C9). The first ``most`` records, by metric and subscription.
    """
    pairs = (
        select(usage_rollups.c.subscription_id, usage_rollups.c.metric_id)
        .where(usage_rollups.c.project_id == project_id)
        .distinct()
    )
    if metric is not None:
        named = (await resolve_metrics(connection, project_id, [metric])).get(metric)
        if named is None:
            return []
        pairs = pairs.where(usage_rollups.c.metric_id == named.id)
    if customer is not None:
        pairs = (
            pairs.join(subscriptions, subscriptions.c.id == usage_rollups.c.subscription_id)
            .join(customers, customers.c.id == subscriptions.c.customer_id)
            .where((customers.c.code == customer) | customers.c.is_organization)
        )
    used = pairs.subquery()
    statement = (
        select(used.c.subscription_id, metrics.c.id, metrics.c.key)
        .join(metrics, metrics.c.id == used.c.metric_id)
        .order_by(metrics.c.key, metrics.c.id, used.c.subscription_id)
        .limit(most)
    )
    rows = (await connection.execute(statement)).all()
    measures = await measures_of(connection, {row.id for row in rows})
    found: list[Aggregate] = []
    for row in rows:
        if len(found) >= most:
            break
        pair = _UsedMetric(row.subscription_id, row.id, row.key, measures[row.id])
        found += await _of_subscription(connection, project_id, pair, customer=customer, window=window)
    return found[:most]


@dataclass(frozen=True, slots=True)
class _UsedMetric:
    """A metric that a subscription used at some time."""

    subscription_id: UUID
    metric_id: UUID
    key: str
    measure: Measure


async def _of_subscription(
    connection: AsyncConnection,
    project_id: UUID,
    pair: _UsedMetric,
    *,
    customer: str | None,
    window: tuple[datetime, datetime] | None,
) -> list[Aggregate]:
    of = await subscribed(connection, project_id, str(pair.subscription_id))
    periods = (of.current,) if window is None else of.cycle.periods_between(*window)
    owner = (
        await connection.execute(
            select(customers.c.code, customers.c.is_organization).where(customers.c.id == of.subscription.customer_id)
        )
    ).one()
    shown = customer or (None if owner.is_organization else owner.code)
    found = []
    for period in periods:
        usage = await _usage_of(connection, pair, period, customer if owner.code != customer else None)
        if usage.events:
            found.append(Aggregate(pair.key, usage.quantity, usage.events, period, shown, of.subscription.id))
    return found


async def _usage_of(connection: AsyncConnection, pair: _UsedMetric, period: Period, customer: str | None) -> Usage:
    """Return a metric's usage, or the part of it that one customer of the organization caused."""
    if customer is not None:
        part = EventSlice(pair.subscription_id, pair.metric_id, pair.measure, period)
        return await usage_of_part(connection, part.of_customer(customer))
    found = await metric_usages(connection, pair.subscription_id, [pair.metric_id], period)
    return found.get(pair.metric_id, NO_USAGE)
