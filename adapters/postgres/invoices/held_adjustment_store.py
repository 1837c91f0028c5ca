"""What a customer has for its next invoices beside its plan: coupons, and fees of add-ons (B121, B122).

The lines they make carry no charge, so the difference that a later invoice bills never sees them. Which coupons
discount a billing period is written down with its first invoice, also of those that took nothing, so that a later
correction is priced under them (R19).
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Uuid, and_, case, cast, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.invoices.billing_store import Terms
from adapters.postgres.invoices.coupon_store import DISCOUNT_LINE, IS_HELD
from billing.closing.bill import AddOn, Adjustments, Bill, HeldAdjustments
from billing.discounts import AppliedCoupon
from models.tables import (
    add_ons,
    applied_add_ons,
    applied_coupons,
    coupons,
    invoice_lines,
    invoices,
    period_coupons,
)

_APPLICATION: Final = cast(func.split_part(invoice_lines.c.reference, ":", 2), Uuid)
_MOST_WAITING: Final = 100
"""Coupons, and add-ons, that one invoice takes; the oldest come first, and the rest waits for the next one."""


async def held_adjustments(connection: AsyncConnection, terms: Terms, bill: Bill, *, lock: bool) -> HeldAdjustments:
    """Read what a customer has for an invoice of these charges; one without coupons and add-ons costs no statement.

    `lock` keeps the other subscriptions of the customer from using the same until this transaction ends.
    """
    if not terms.has_adjustments:
        return HeldAdjustments()
    starts = [period.start for period in bill.rated]
    recorded = select(period_coupons).where(
        period_coupons.c.subscription_id == terms.subscription_id, period_coupons.c.period_start.in_(starts)
    )
    joined = {
        (row.period_start, row.application_id): row.since_minor for row in (await connection.execute(recorded)).all()
    }
    named = {application for _, application in joined}
    now = and_(applied_coupons.c.removed_at.is_(None), IS_HELD)
    held = select(applied_coupons, coupons.c.name, now.label("is_held"))
    held = held.join(coupons, coupons.c.id == applied_coupons.c.coupon_id)
    held = held.where(applied_coupons.c.customer_id == terms.customer_id, or_(now, applied_coupons.c.id.in_(named)))
    held = held.order_by(applied_coupons.c.id).limit(_MOST_WAITING + len(named))
    fees = select(applied_add_ons, add_ons.c.name, add_ons.c.invoice_display_name)
    fees = fees.join(add_ons, add_ons.c.id == applied_add_ons.c.add_on_id)
    fees = fees.where(applied_add_ons.c.customer_id == terms.customer_id, applied_add_ons.c.invoice_id.is_(None))
    fees = fees.order_by(applied_add_ons.c.id).limit(_MOST_WAITING)
    if lock:
        held = held.with_for_update(of=applied_coupons)
        fees = fees.with_for_update(of=applied_add_ons)
    rows = (await connection.execute(held)).all()
    return HeldAdjustments(
        coupons=tuple(_coupon(row) for row in rows),
        available=frozenset(row.id for row in rows if row.is_held),
        joined=joined,
        taken=await _taken(connection, terms.subscription_id, starts),
        add_ons=tuple(_add_on(row) for row in (await connection.execute(fees)).all()),
    )


async def _taken(
    connection: AsyncConnection, subscription_id: UUID, starts: Collection[datetime], *, but: UUID | None = None
) -> dict[tuple[datetime, UUID], int]:
    """Return what each coupon took off the billing periods that start there, perhaps but on one of the invoices."""
    statement = (
        select(invoice_lines.c.period_start, _APPLICATION, func.sum(-invoice_lines.c.amount_minor))
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(
            invoice_lines.c.subscription_id == subscription_id,
            invoice_lines.c.kind == DISCOUNT_LINE,
            invoice_lines.c.period_start.in_(starts),
            invoices.c.id.is_distinct_from(but),
            invoices.c.status != "voided",
        )
        .group_by(invoice_lines.c.period_start, _APPLICATION)
    )
    return {(row[0], row[1]): int(row[2]) for row in await connection.execute(statement)}


def _coupon(row: Row[Any]) -> AppliedCoupon:
    if row.coupon_type == "percentage":
        off: dict[str, Any] = {"kind": "percentage", "rate": row.percentage_rate}
    else:
        off = {"kind": "fixed_amount", "amount_cents": row.amount_cents, "currency": row.amount_currency}
    own = {"application_id": row.id, "name": row.name, "off": off}
    return AppliedCoupon.model_validate({**own, "uses_left": row.uses_left})


def _add_on(row: Row[Any]) -> AddOn:
    return AddOn(row.id, row.invoice_display_name or row.name, row.amount_cents, row.amount_currency)


async def apply_adjustments(
    connection: AsyncConnection, terms: Terms, used: Adjustments, invoice_id: UUID, *, at: datetime
) -> None:
    """Count the uses of coupons, and give the fees their invoice, in the transaction that writes it.

    `at` is the subscription's now. Whoever reads `held_adjustments` with a lock counts once; a second run of a close
    ends at the invoice's billing key, and this goes with it.
    """
    if used.joined:
        rows = [
            {
                "project_id": terms.project_id,
                "subscription_id": terms.subscription_id,
                "period_start": start,
                "application_id": application_id,
                "since_minor": since,
            }
            for (start, application_id), since in used.joined.items()
        ]
        await connection.execute(insert(period_coupons).values(rows).on_conflict_do_nothing())
    left = applied_coupons.c.uses_left
    for application_id in sorted(set(used.uses)):
        after = left - used.uses.count(application_id)
        counted = update(applied_coupons).where(applied_coupons.c.id == application_id, left.is_not(None))
        await connection.execute(
            counted.values(
                uses_left=after,
                used_up_at=case((after == 0, literal(at)), else_=None),
                updated_at=func.clock_timestamp(),
            )
        )
    if used.add_on_ids:
        invoiced = update(applied_add_ons).where(applied_add_ons.c.id.in_(used.add_on_ids))
        await connection.execute(invoiced.values(invoice_id=invoice_id, updated_at=func.clock_timestamp()))


async def restore_adjustments(connection: AsyncConnection, invoice_id: UUID, *, with_add_ons: bool) -> None:
    """Undo `apply_adjustments` for an invoice that is voided or deleted, before its lines go.

    A coupon that discounts another invoice of the same billing period stays used by that one. `with_add_ons` lets the
    fees wait for the next invoice; without it they stay with this one.
    """
    mine = and_(invoice_lines.c.invoice_id == invoice_id, invoice_lines.c.kind == DISCOUNT_LINE)
    lines = select(_APPLICATION, invoice_lines.c.subscription_id, invoice_lines.c.period_start).where(mine)
    found = (await connection.execute(lines)).all()
    if found:
        named = {(line.period_start, line[0]) for line in found}
        starts = {start for start, _ in named}
        named -= (await _taken(connection, found[0].subscription_id, starts, but=invoice_id)).keys()
        uses = applied_coupons.c.uses_left
        for _, application_id in sorted(named):
            counted = update(applied_coupons).where(applied_coupons.c.id == application_id, uses.is_not(None))
            now = func.clock_timestamp()
            await connection.execute(counted.values(uses_left=uses + 1, used_up_at=None, updated_at=now))
    if not with_add_ons:
        return
    freed = update(applied_add_ons).where(applied_add_ons.c.invoice_id == invoice_id)
    await connection.execute(freed.values(invoice_id=None, updated_at=func.clock_timestamp()))
