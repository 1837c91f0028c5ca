"""What the bill of a subscription depends on: its terms, its plan versions, and what was billed before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
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
from adapters.postgres.subscriptions.period_version_store import versions_of
from billing.charges import Charge
from billing.closing.periods import BilledLine, BillingTerms, History, history_of
from billing.period import BillingCycle, Period
from billing.subscriptions.pauses import pauses_of, stopped_times
from models.problems import not_found
from models.tables import (
    applied_add_ons,
    applied_coupons,
    customers,
    invoice_lines,
    period_coupons,
    plan_versions,
    reopened_periods,
    served_versions,
    subscriptions,
    usage_corrections,
    wallets,
)

_MOST_CACHED_VERSIONS: Final = 2000


@dataclass(frozen=True)
class Terms(BillingTerms):
    """Everything about a subscription and its customer that its invoices depend on."""

    project_id: UUID
    subscription_id: UUID
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    payment_provider: str | None
    has_wallet: bool
    has_carried: bool
    has_adjustments: bool
    has_corrections: bool
    has_reopened: bool
    changed_plans: bool
    net_payment_term_days: int
    billing_entity_id: UUID | None
    plan_version_id: UUID


@dataclass(frozen=True)
class PricedVersion:
    """An immutable plan version: its charges in order, and its currency as the creator wrote it."""

    charges: tuple[Charge, ...]
    currency: str


# A plan version never changes, so each process reads it once; the oldest entry leaves when there are too many.
_versions: dict[UUID, PricedVersion] = {}


_OF_SUBSCRIPTION: Final = (
    "id",
    "project_id",
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
            exists().where(applied_coupons.c.customer_id == customers.c.id, applied_coupons.c.removed_at.is_(None)),
            # One that is used up or removed still discounts the periods that it discounted before.
            exists().where(period_coupons.c.subscription_id == subscriptions.c.id),
            exists().where(applied_add_ons.c.customer_id == customers.c.id, applied_add_ons.c.invoice_id.is_(None)),
        ).label("has_adjustments"),
        exists()
        .where(usage_corrections.c.subscription_id == subscriptions.c.id, usage_corrections.c.settled_at.is_(None))
        .label("has_corrections"),
        exists().where(reopened_periods.c.subscription_id == subscriptions.c.id).label("has_reopened"),
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
        project_id=row.project_id,
        subscription_id=row.id,
        customer_id=row.customer_id,
        customer_code=row.code,
        customer_code_chosen=row.code_chosen,
        payment_provider=row.payment_provider,
        has_wallet=row.has_wallet,
        has_carried=row.has_carried,
        has_adjustments=row.has_adjustments,
        has_corrections=row.has_corrections,
        has_reopened=row.has_reopened,
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
    SELECT l.charge_id, l.group_key, l.period_start, l.period_end, l.amount_minor, l.quantity, l.events_count,
           c.plan_version_id, i.id AS invoice_id, i.period_end AS invoice_end, i.status = 'voided' AS voided,
           l.forgiven_minor
    FROM invoice_lines l JOIN invoices i ON i.id = l.invoice_id JOIN plan_charges c ON c.id = l.charge_id
    WHERE l.subscription_id = :subscription AND (
        l.period_start >= :start OR l.period_start IN ({LATE_PERIODS})
        OR l.period_start = ANY(CAST(:reopened AS timestamptz[]))
    )
    ORDER BY i.period_end, i.id
    """)  # noqa: S608 - both parts are constants
)


async def history_since(
    connection: AsyncConnection,
    subscription_id: UUID,
    start: datetime,
    *,
    reopened: Mapping[datetime, UUID] = MappingProxyType({}),
) -> History:
    """Read what was billed for the periods that start at or after `start`, and for earlier ones with late usage.

    `reopened` are periods that are to be rated again, with their plan version: what was billed of them is read, too.
    Must come after the lock of `terms_of`, so that it sees what the last close wrote.
    """
    parameters = {"subscription": subscription_id, "start": start, "reopened": list(reopened)}
    rows = await (await _BILLED.run(await driver(connection), parameters)).fetchall()
    return history_of((_billed_line(row) for row in rows), reopened)


def _billed_line(row: Any) -> BilledLine:
    return BilledLine(
        charge_id=row.charge_id,
        group=tuple(sorted((row.group_key or {}).items())),
        period=Period(start=row.period_start, end=row.period_end),
        amount_minor=row.amount_minor,
        quantity=row.quantity,
        events=row.events_count,
        plan_version_id=row.plan_version_id,
        invoice_id=row.invoice_id,
        invoice_end=row.invoice_end,
        voided=row.voided,
        forgiven_minor=row.forgiven_minor,
    )
