"""What of a subscription is to be billed: its terms, what was billed before, and the lines that are left (C2, C5, C25).

The close and the preview of an invoice run the same functions; only the close writes what comes out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.catalogue.plan_store import charges_of_version
from adapters.postgres.customers.payment_method_store import DEFAULT_METHOD, PROVIDER, is_default_of
from adapters.postgres.database import driver
from adapters.postgres.events.late_usage_store import LATE_PERIODS
from adapters.postgres.invoices.carried_amount_store import CARRIED, carried_reference
from adapters.postgres.prepared import Prepared
from adapters.postgres.subscriptions.period_version_store import ServedVersions, versions_of
from adapters.postgres.usage.usage_store import usages
from billing.charges import Charge
from billing.invoice import BilledLine, InvoiceLine, assemble, nothing_left
from billing.period import BillingCycle, Period
from billing.rating import ProposedLine, rate
from billing.subscriptions.pauses import pauses_of, stopped_times
from billing.usage import Usage
from models.problems import not_found
from models.tables import (
    applied_add_ons,
    applied_coupons,
    customers,
    invoice_lines,
    plan_versions,
    served_versions,
    subscriptions,
    usage_corrections,
    wallets,
)

_MOST_CACHED_VERSIONS: Final = 2000


@dataclass(frozen=True)
class Terms:
    """Everything about a subscription and its customer that its invoices depend on."""

    subscription_id: UUID
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    payment_provider: str | None
    has_wallet: bool
    has_carried: bool
    has_extras: bool
    has_corrections: bool
    changed_plans: bool
    net_payment_term_days: int
    billing_entity_id: UUID | None
    plan_version_id: UUID
    cycle: BillingCycle
    billing_starts_at: datetime
    ended_at: datetime | None
    pauses: tuple[Period, ...]


@dataclass(frozen=True)
class PricedVersion:
    """An immutable plan version: its charges in order, and its currency as the creator wrote it."""

    charges: tuple[Charge, ...]
    currency: str


@dataclass(frozen=True)
class Billed:
    """What was billed of a subscription before.

    `versions` tells under which plan version a period was billed, `closed` which periods were billed to their end.
    `closed_until` is the latest exclusive end of an invoice, `last_invoice_id` that invoice.
    """

    lines: tuple[BilledLine, ...]
    versions: Mapping[datetime, UUID]
    closed: frozenset[datetime]
    closed_until: datetime | None
    last_invoice_id: UUID | None


@dataclass(frozen=True)
class Bill:
    """The lines that an invoice for a window has now, in minor units of `currency`; none when all is billed."""

    lines: tuple[InvoiceLine, ...]
    currency: str
    period: Period
    last_invoice_id: UUID | None


# A plan version never changes, so each process reads it once; the oldest entry leaves when there are too many.
_versions: dict[UUID, PricedVersion] = {}


_OF_SUBSCRIPTION: Final = (
    "id",
    "customer_id",
    "plan_version_id",
    "interval",
    "anchor",
    "timezone",
    "alignment",
    "starts_at",
    "trial_ends_at",
    "ended_at",
    "pauses",
)
_TERMS: Final = (
    select(
        *(subscriptions.c[name] for name in _OF_SUBSCRIPTION),
        customers.c.code,
        customers.c.code_chosen,
        PROVIDER,
        customers.c.net_payment_term,
        customers.c.billing_entity_id,
        exists().where(wallets.c.customer_id == customers.c.id, wallets.c.credits_balance > 0).label("has_wallet"),
        exists()
        .where(invoice_lines.c.kind == CARRIED, invoice_lines.c.reference == carried_reference(customers.c.id))
        .label("has_carried"),
        or_(
            # One that is used up may still be due to another invoice of the same billing period.
            exists().where(applied_coupons.c.customer_id == customers.c.id, applied_coupons.c.removed_at.is_(None)),
            exists().where(applied_add_ons.c.customer_id == customers.c.id, applied_add_ons.c.invoice_id.is_(None)),
        ).label("has_extras"),
        exists()
        .where(usage_corrections.c.subscription_id == subscriptions.c.id, usage_corrections.c.settled_at.is_(None))
        .label("has_corrections"),
        exists().where(served_versions.c.subscription_id == subscriptions.c.id).label("changed_plans"),
    )
    .join(customers, customers.c.id == subscriptions.c.customer_id)
    .outerjoin(DEFAULT_METHOD, is_default_of(customers.c.id))
    .where(subscriptions.c.id == bindparam("subscription"))
)
_READ_TERMS: Final = Prepared(_TERMS)
_LOCK_TERMS: Final = Prepared(_TERMS.with_for_update(of=subscriptions, key_share=True))


async def terms_of(connection: AsyncConnection, subscription_id: UUID, *, lock: bool) -> Terms:
    """Read a subscription's terms; `lock` keeps another close of it waiting until this transaction ends.

    Raises `Problem` 404 `subscription_not_found`.
    """
    asked = _LOCK_TERMS if lock else _READ_TERMS
    row = await (await asked.run(await driver(connection), {"subscription": subscription_id})).fetchone()
    if row is None:
        raise not_found("subscription", subscription_id)
    begins = _billing_start(row)
    return Terms(
        subscription_id=row.id,
        customer_id=row.customer_id,
        customer_code=row.code,
        customer_code_chosen=row.code_chosen,
        payment_provider=row.payment_provider,
        has_wallet=row.has_wallet,
        has_carried=row.has_carried,
        has_extras=row.has_extras,
        has_corrections=row.has_corrections,
        changed_plans=row.changed_plans,
        net_payment_term_days=row.net_payment_term,
        billing_entity_id=row.billing_entity_id,
        plan_version_id=row.plan_version_id,
        cycle=BillingCycle(
            interval=row.interval,
            anchor=max(row.anchor, begins),
            timezone=row.timezone,
            alignment=row.alignment,
        ),
        billing_starts_at=begins,
        ended_at=row.ended_at,
        pauses=stopped_times(pauses_of(row.pauses)),
    )


def _billing_start(row: Any) -> datetime:
    """Return the first instant that is billed: the start, or the end of the trial (B92)."""
    begins: datetime = row.starts_at if row.trial_ends_at is None else max(row.starts_at, row.trial_ends_at)
    return begins


_VERSION_OF_BILLS: Final = Prepared(
    text("""
    SELECT c.plan_version_id FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id
    JOIN plan_charges c ON c.id = l.charge_id
    WHERE l.subscription_id = :subscription AND l.period_start = :start AND i.status <> 'voided'
    ORDER BY i.period_end DESC, i.id DESC LIMIT 1
    """)
)


async def version_of_period(connection: AsyncConnection, terms: Terms, start: datetime) -> PricedVersion:
    """Read the plan version that the period with that start is billed under, as `bill` finds it.

    It is the one that the period was billed under, else the one that served it, else the subscription's present one.
    """
    if not terms.changed_plans:
        return await version_of(connection, terms.plan_version_id)
    asked = {"subscription": terms.subscription_id, "start": start}
    row = await (await _VERSION_OF_BILLS.run(await driver(connection), asked)).fetchone()
    earlier = await versions_of(connection, terms.subscription_id)
    chosen = (None if row is None else row.plan_version_id) or earlier.of(start) or terms.plan_version_id
    return await version_of(connection, chosen)


async def set_current_period(
    connection: AsyncConnection, subscription_id: UUID, period: tuple[datetime, datetime]
) -> None:
    """Write the half-open period that a subscription is in now, when a close had nothing to bill."""
    start, end = period
    values = {"current_period_start": start, "current_period_end": end, "updated_at": func.clock_timestamp()}
    await connection.execute(update(subscriptions).where(subscriptions.c.id == subscription_id).values(values))


async def version_of(connection: AsyncConnection, plan_version_id: UUID) -> PricedVersion:
    """Read a plan version's charges and currency, from memory after the first time."""
    known = _versions.get(plan_version_id)
    if known is not None:
        return known
    currency = await connection.scalar(select(plan_versions.c.currency).where(plan_versions.c.id == plan_version_id))
    assert currency is not None, "a subscription's plan version exists"
    charges = await charges_of_version(connection, plan_version_id)
    found = PricedVersion(charges=tuple(charges), currency=currency)
    if len(_versions) >= _MOST_CACHED_VERSIONS:
        _versions.pop(next(iter(_versions)))
    _versions[plan_version_id] = found
    return found


_BILLED: Final = Prepared(
    text(f"""
    SELECT l.charge_id, l.group_key, l.period_start, l.amount_minor, l.quantity, l.events_count, i.id, i.period_end,
           c.plan_version_id, i.period_end >= l.period_end AS reaches_the_end
    FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id JOIN plan_charges c ON c.id = l.charge_id
    WHERE l.subscription_id = :subscription AND i.status <> 'voided'
      AND (l.period_start >= :start OR l.period_start IN ({LATE_PERIODS}))
    ORDER BY i.period_end, i.id
    """)  # noqa: S608 - both parts are constants
)


async def billed_since(connection: AsyncConnection, subscription_id: UUID, start: datetime) -> Billed:
    """Read what was billed for the periods that start at or after `start`, and for earlier ones with late usage.

    Voided invoices bill nothing. Must come after the lock of `terms_of`, so that it sees what the last close wrote.
    """
    parameters = {"subscription": subscription_id, "start": start}
    rows = await (await _BILLED.run(await driver(connection), parameters)).fetchall()
    return Billed(
        lines=tuple(
            BilledLine(
                charge_id=row.charge_id,
                group=tuple(sorted((row.group_key or {}).items())),
                period_start=row.period_start,
                amount_minor=row.amount_minor,
                quantity=row.quantity,
                events=row.events_count,
            )
            for row in rows
        ),
        versions={row.period_start: row.plan_version_id for row in rows},
        closed=frozenset(row.period_start for row in rows if row.reaches_the_end),
        closed_until=rows[-1].period_end if rows else None,
        last_invoice_id=rows[-1].id if rows else None,
    )


async def bill(
    connection: AsyncConnection,
    terms: Terms,
    *,
    start: datetime,
    end: datetime,
    plan_version_id: UUID | None = None,
    closes_period: bool = False,
    ends_subscription: bool = False,
) -> Bill:
    """Work out the lines of `[start, end)` that are not billed yet, in the order of periods and charges.

    Each period is rated by itself: tiers restart, one flat fee each, in full for a period whose start lies in the
    window (C25). The last period counts usage up to `end`; its later usage is the difference on the next invoice. When
    the subscription has ended, or ends with this bill, its last period is cut there and a flat fee is prorated (R14).
    A period that was billed or served under another plan version stays under it. Earlier periods whose usage changed
    after they were closed come first (C5, B108). `closes_period` says that the window is a period that ends for good:
    it has a line also when all of it was billed before. Raises `AbsurdInvoice`.
    """
    pinned = plan_version_id or terms.plan_version_id
    current = await version_of(connection, pinned)
    ended_at = end if ends_subscription else terms.ended_at
    until = end if ended_at is None else min(end, ended_at)
    periods = terms.cycle.periods_between(max(start, terms.billing_starts_at), until)
    first = periods[0].start if periods else start
    before = await billed_since(connection, terms.subscription_id, first)
    if periods or terms.ended_at is not None:
        late = sorted(begin for begin in before.versions if begin < first)
        periods = (*(terms.cycle.period_containing(begin) for begin in late), *periods)
    # A close that was told its version bills the period it was told it for.
    earlier = ServedVersions()
    if terms.changed_plans and plan_version_id is None:
        earlier = await versions_of(connection, terms.subscription_id)
    proposed: list[ProposedLine] = []
    for period in periods:
        version = await version_of(connection, before.versions.get(period.start) or earlier.of(period.start) or pinned)
        assert version.currency.upper() == current.currency.upper(), "an invoice has one currency"
        active = period if ended_at is None or ended_at >= period.end else Period(start=period.start, end=ended_at)
        through = until if until < active.end else None
        counted = active if active.end == period.end else _with_its_last_instant(active)
        used = await _usages(connection, terms.subscription_id, version.charges, counted, through)
        full = terms.cycle.full_period_containing(period.start)
        proposed += rate(
            version.charges, used, period=active, full_period=full, currency=version.currency, pauses=terms.pauses
        )
    lines = assemble(before.lines, proposed, closed=before.closed)
    if closes_period and start not in before.closed | {line.period.start for line in lines}:
        lines += nothing_left(before.lines, [line for line in proposed if line.period.start == start])
    return Bill(
        lines=lines,
        currency=current.currency,
        period=_covered(lines, before, start=max(start, terms.billing_starts_at), end=until),
        last_invoice_id=before.last_invoice_id,
    )


def _with_its_last_instant(active: Period) -> Period:
    """Return what is counted of a period that its subscription's end cuts: what was accepted at that very instant too.

    In a test clock, which stands still, usage and the command that ends a subscription have the same time.
    """
    return Period(start=active.start, end=active.end + timedelta(microseconds=1))


def _covered(lines: Sequence[InvoiceLine], before: Billed, *, start: datetime, end: datetime) -> Period:
    """Return the period an invoice shows: from the last invoiced instant, or the start, to the cutoff (C25).

    An invoice that only corrects periods invoiced before shows those.
    """
    begins = start if before.closed_until is None else max(start, before.closed_until)
    if begins < end:
        return Period(start=begins, end=end)
    first = min((line.period.start for line in lines), default=start)
    return Period(start=min(first, end), end=end)


async def _usages(
    connection: AsyncConnection,
    subscription_id: UUID,
    charges: Sequence[Charge],
    period: Period,
    through: datetime | None,
) -> Mapping[UUID, Usage]:
    """Read the usage of the metered charges; a plan of fixed fees asks the database nothing."""
    metered = [charge for charge in charges if charge.metered]
    return await usages(connection, subscription_id, metered, period=period, through=through) if metered else {}
