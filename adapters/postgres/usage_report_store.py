"""Usage as people read it: a subscription's period in units and money, its days, and hypothetical events.

The quantities are those of `usage_store`, priced by the function that prices invoices; nothing is estimated unless the
name says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.billing_store import PricedVersion, terms_of, version_of
from adapters.postgres.clock_store import now
from adapters.postgres.resolver import CUSTOMER, SUBSCRIPTION, required
from adapters.postgres.usage_store import metric_usages, usages
from billing.charges import Charge, Percentage
from billing.numbers import exact, rounded_ratio
from billing.period import BillingCycle, Period
from billing.rating import ProposedLine, rate
from billing.scope import group_of
from billing.usage import NO_USAGE, Usage
from models.problems import not_found
from models.tables import customers, events, metrics, subscriptions, usage_rollups

#: Aggregations that grow with time, so that a part of a period says something about the whole of it.
_GROWING: Final = ("sum", "count", "custom")
_ENDED: Final = ("canceled", "terminated")


@dataclass(frozen=True)
class Subscribed:
    """A subscription, what its plan version charges, and the time it lives in."""

    row: Row[Any]
    version: PricedVersion
    cycle: BillingCycle
    now: datetime

    @property
    def metered(self) -> tuple[Charge, ...]:
        """The charges that price usage, in the plan's order."""
        return tuple(charge for charge in self.version.charges if charge.metered)

    @property
    def current(self) -> Period:
        """The period that holds its now; the first one before it starts, the last one after it ended."""
        at = self.now
        if self.row.status in _ENDED and self.row.ended_at is not None:
            at = min(at, self.row.ended_at - timedelta(microseconds=1))
        return self.cycle.period_containing(max(at, self.cycle.anchor))


@dataclass(frozen=True)
class PeriodUsage:
    """The usage of one period: for each metered charge its quantity, and one priced line for each of its groups."""

    period: Period
    currency: str
    charges: tuple[Charge, ...]
    lines: tuple[ProposedLine, ...]
    aggregations: dict[UUID, str]
    usages: Mapping[UUID, Usage]

    @property
    def by_line(self) -> tuple[tuple[Charge, ProposedLine], ...]:
        """Each line with its charge."""
        charges = {charge.id: charge for charge in self.charges}
        return tuple((charges[line.charge_id], line) for line in self.lines)

    @property
    def by_charge(self) -> tuple[tuple[Charge, Usage, tuple[ProposedLine, ...]], ...]:
        """Each charge with its usage and its lines: one, or one for each group."""
        lines: dict[UUID, list[ProposedLine]] = {charge.id: [] for charge in self.charges}
        for line in self.lines:
            lines[line.charge_id].append(line)
        return tuple((charge, self.usages.get(charge.id, NO_USAGE), tuple(lines[charge.id])) for charge in self.charges)

    @property
    def amount_minor(self) -> int:
        """What the usage costs in minor units; the plan's fixed fees are not in it."""
        return sum(line.amount_minor for line in self.lines)


async def subscribed(connection: AsyncConnection, project_id: UUID, ref: str) -> Subscribed:
    """Find a subscription by any of its names. Raises ``Problem`` 404 ``subscription_not_found``."""
    return await _subscribed(connection, await required(connection, project_id, SUBSCRIPTION, ref))


async def _subscribed(connection: AsyncConnection, row: Row[Any]) -> Subscribed:
    terms = await terms_of(connection, row.id, lock=False)
    version = await version_of(connection, terms.plan_version_id)
    return Subscribed(row, version, terms.cycle, await now(connection, row.test_clock_id))


async def subscribed_of_customer(
    connection: AsyncConnection, project_id: UUID, customer_ref: str, subscription_ref: str | None
) -> Subscribed:
    """Find a customer's subscription; without a reference the oldest that has not ended, else the newest.

    Raises ``Problem`` 404 ``customer_not_found`` or ``subscription_not_found``.
    """
    customer = await required(connection, project_id, CUSTOMER, customer_ref)
    if subscription_ref is not None:
        row = await required(connection, project_id, SUBSCRIPTION, subscription_ref)
        if row.customer_id != customer.id:
            raise not_found("subscription", subscription_ref)
        return await _subscribed(connection, row)
    mine = select(subscriptions).where(subscriptions.c.customer_id == customer.id).order_by(subscriptions.c.id)
    rows = (await connection.execute(mine)).all()
    if not rows:
        raise not_found("subscription", customer_ref)
    return await _subscribed(connection, next((row for row in rows if row.status not in _ENDED), rows[-1]))


async def usage_in(connection: AsyncConnection, of: Subscribed, period: Period) -> PeriodUsage:
    """Give the usage of a period, priced; exact to the last acknowledged event.

    Raises `TooManyGroups` for a charge whose group_by is absurd.
    """
    found = await usages(connection, of.row.id, of.metered, period)
    return await _priced(connection, of, period, found)


async def projected(connection: AsyncConnection, of: Subscribed) -> PeriodUsage:
    """Extrapolate the current period to its end, linearly: what grows with time keeps its pace so far.

    Sums, counts and expressions are multiplied by (whole period / elapsed part); the rest stays as it is, and so does
    what a metric carries over.
    """
    period = of.current
    found = await usages(connection, of.row.id, of.metered, period)
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
    quantity = rounded_ratio(Fraction(usage.quantity) * Fraction(whole) / Fraction(elapsed))
    groups = tuple(part.model_copy(update={"usage": _grown(part.usage, whole, elapsed)}) for part in usage.groups)
    return usage.model_copy(update={"quantity": quantity, "groups": groups})


async def past(connection: AsyncConnection, of: Subscribed, count: int) -> list[PeriodUsage]:
    """Give the usage of at most ``count`` closed periods, the newest first, none before the subscription began."""
    found: list[PeriodUsage] = []
    start = of.current.start
    while len(found) < count and start > of.cycle.anchor:
        period = of.cycle.period_containing(start - timedelta(microseconds=1))
        found.append(await usage_in(connection, of, period))
        start = period.start
    return found


async def _priced(connection: AsyncConnection, of: Subscribed, period: Period, found: dict[UUID, Usage]) -> PeriodUsage:
    lines = rate(of.metered, found, period=period, full_period=period, currency=of.version.currency)
    kinds = await _aggregations(connection, of.metered)
    return PeriodUsage(period, of.version.currency, of.metered, lines, kinds, found)


async def _growing(connection: AsyncConnection, charges: Sequence[Charge]) -> frozenset[UUID]:
    """Tell which metrics begin at 0 in each period and grow with its time; what carries over does not begin at 0."""
    ids = {charge.metric_id for charge in charges if charge.metric_id is not None}
    wanted = metrics.c.id.in_(ids), metrics.c.aggregation.in_(_GROWING), metrics.c.recurring.is_(False)
    return frozenset((await connection.execute(select(metrics.c.id).where(*wanted))).scalars())


async def _aggregations(connection: AsyncConnection, charges: Sequence[Charge]) -> dict[UUID, str]:
    ids = {charge.metric_id for charge in charges if charge.metric_id is not None}
    rows = await connection.execute(select(metrics.c.id, metrics.c.aggregation).where(metrics.c.id.in_(ids)))
    return {row.id: row.aggregation for row in rows}


@dataclass(frozen=True)
class Estimate:
    """What one more event would cost, in major units and unrounded."""

    charge: Charge | None
    units: Decimal
    quantity_before: Decimal
    amount: Decimal
    currency: str


async def estimate(
    connection: AsyncConnection,
    of: Subscribed,
    metric: Row[Any],
    value: Decimal | None,
    properties: Mapping[str, object] = MappingProxyType({}),
) -> Estimate:
    """Price a hypothetical event on top of the current period's usage; stores nothing (B75).

    Its properties decide the filter by which a charge prices it, and the group on whose usage it comes.
    """
    charges = (each for each in of.metered if each.metric_id == metric.id)
    charge = next((each for each in charges if each.scope is None or each.scope.holds(properties)), None)
    if charge is None:
        return Estimate(None, value or Decimal(0), Decimal(0), Decimal(0), of.version.currency)
    before = (await usages(connection, of.row.id, (charge,), of.current)).get(charge.id, NO_USAGE)
    if charge.group_by:
        group = group_of(charge.group_by, properties)
        before = next((part.usage for part in before.groups if part.group == group), NO_USAGE)
    after = Usage(
        quantity=_with(metric.aggregation, before, value or Decimal(0)),
        events=before.events + 1,
        priced=before.priced,
    )
    if isinstance(charge.model, Percentage) and charge.model.per_event:
        after = charge.model.with_event(before, Decimal(1) if metric.aggregation == "count" else value or Decimal(0))
    with exact():
        units = after.quantity - before.quantity
    amount = charge.model.amount_between(before, after)
    return Estimate(charge, units, before.quantity, amount, of.version.currency)


def _with(kind: str, before: Usage, value: Decimal) -> Decimal:
    """Give the quantity after one more event; for what depends on single events, that of a new and last one."""
    match kind:
        case "count" | "unique_count":
            return before.quantity + 1
        case "max":
            return max(before.quantity, value) if before.events else value
        case "min":
            return min(before.quantity, value) if before.events else value
        case "latest":
            return value
        case "average" | "percentile" | "weighted_sum":
            return before.quantity if before.events else value
    with exact():
        return before.quantity + value


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
    """Give a record for each metric, subscription and billing period with usage: the current one, or those of a window.

    ``customer`` keeps the events that named that customer, also those that the organization's subscription took (C9).
    """
    statement = (
        select(usage_rollups.c.subscription_id, usage_rollups.c.metric_id, metrics.c.key)
        .join(metrics, metrics.c.id == usage_rollups.c.metric_id)
        .where(usage_rollups.c.project_id == project_id)
        .distinct()
        .order_by(metrics.c.key, usage_rollups.c.subscription_id)
        .limit(most)
    )
    if metric is not None:
        statement = statement.where(metrics.c.key == metric)
    if customer is not None:
        statement = (
            statement.join(subscriptions, subscriptions.c.id == usage_rollups.c.subscription_id)
            .join(customers, customers.c.id == subscriptions.c.customer_id)
            .where((customers.c.code == customer) | customers.c.is_organization)
        )
    found: list[Aggregate] = []
    for subscription_id, metric_id, key in (await connection.execute(statement)).all():
        if len(found) >= most:
            break
        found += await _of_subscription(
            connection, project_id, _Used(subscription_id, metric_id, key), customer=customer, window=window
        )
    return found[:most]


@dataclass(frozen=True)
class _Used:
    """A metric that a subscription used at some time."""

    subscription_id: UUID
    metric_id: UUID
    key: str


async def _of_subscription(
    connection: AsyncConnection,
    project_id: UUID,
    pair: _Used,
    *,
    customer: str | None,
    window: tuple[datetime, datetime] | None,
) -> list[Aggregate]:
    of = await subscribed(connection, project_id, str(pair.subscription_id))
    periods = (of.current,) if window is None else of.cycle.periods_between(*window)
    owner = (
        await connection.execute(
            select(customers.c.code, customers.c.is_organization).where(customers.c.id == of.row.customer_id)
        )
    ).one()
    shown = customer or (None if owner.is_organization else owner.code)
    found = []
    for period in periods:
        usage = await _usage_of(connection, pair, period, customer if owner.code != customer else None)
        if usage.events:
            found.append(Aggregate(pair.key, usage.quantity, usage.events, period, shown, of.row.id))
    return found


async def _usage_of(connection: AsyncConnection, pair: _Used, period: Period, customer: str | None) -> Usage:
    """Give a metric's usage, or the part of it that one customer of the organization caused."""
    if customer is None:
        return (await metric_usages(connection, pair.subscription_id, [pair.metric_id], period)).get(
            pair.metric_id, NO_USAGE
        )
    row = (
        await connection.execute(
            select(func.coalesce(func.sum(events.c.value), 0), func.count()).where(
                events.c.status == "counted",
                events.c.subscription_id == pair.subscription_id,
                events.c.metric_id == pair.metric_id,
                events.c.customer_ref == customer,
                events.c.occurred_at >= period.start,
                events.c.occurred_at < period.end,
            )
        )
    ).one()
    return Usage(quantity=row[0], events=row[1])


def today(at: datetime) -> date:
    """Give the UTC day of an instant."""
    return at.astimezone(UTC).date()
