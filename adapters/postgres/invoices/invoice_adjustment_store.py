"""What stands on an invoice beside its plan's charges: fees of add-ons, and what coupons take off (B121, B122).

The lines carry no charge, so the difference that a later invoice bills (billing.invoice.assemble) never sees them: a
discount is not billed again, and a fee stands on one invoice. Coupons discount the charges alone, add-ons in full.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Uuid, and_, case, cast, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.invoices.billing_store import Bill, Terms, terms_of
from adapters.postgres.invoices.coupon_store import DISCOUNT_LINE, IS_HELD, line_reference
from adapters.postgres.invoices.invoice_write_store import NewLine
from billing.discounts import AppliedCoupon, Discount, after_use, cents_in_major, cents_in_minor, discounts
from billing.money import normalise_currency
from models.tables import add_ons, applied_add_ons, applied_coupons, coupons, invoice_lines, invoices

ADD_ON_LINE: Final = "add_on"
"""The kind of the invoice lines that add-ons make."""

_APPLICATION: Final = cast(func.split_part(invoice_lines.c.reference, ":", 2), Uuid)
_MOST_WAITING: Final = 100
"""Coupons, and add-ons, that one invoice takes; the oldest come first, and the rest waits for the next one."""


@dataclass(frozen=True)
class PendingAdjustments:
    """What a customer has for its next invoices: coupons in the order of application, and fees not invoiced yet."""

    coupons: tuple[AppliedCoupon, ...] = ()
    add_ons: tuple[Row[Any], ...] = ()


@dataclass(frozen=True)
class InvoiceAdjustments:
    """The lines that an invoice has beside its plan's charges, and what they use up."""

    lines: tuple[NewLine, ...] = ()
    discounts: tuple[Discount, ...] = ()
    add_on_ids: tuple[UUID, ...] = ()


async def pending_adjustments(
    connection: AsyncConnection, terms: Terms, bill: Bill, *, lock: bool
) -> PendingAdjustments:
    """Read what a customer has for an invoice of these charges; one without coupons and add-ons costs no statement.

    `lock` keeps the other subscriptions of the customer from using the same until this transaction ends.
    """
    if not terms.has_extras:
        return PendingAdjustments()
    taken = await _taken(connection, terms, bill.period.end)
    mine = and_(applied_coupons.c.customer_id == terms.customer_id, applied_coupons.c.removed_at.is_(None))
    held = select(applied_coupons, coupons.c.name).join(coupons, coupons.c.id == applied_coupons.c.coupon_id)
    held = held.where(mine, or_(IS_HELD, applied_coupons.c.id.in_(taken)))
    held = held.order_by(applied_coupons.c.id).limit(_MOST_WAITING)
    fees = select(applied_add_ons, add_ons.c.name, add_ons.c.invoice_display_name)
    fees = fees.join(add_ons, add_ons.c.id == applied_add_ons.c.add_on_id)
    fees = fees.where(applied_add_ons.c.customer_id == terms.customer_id, applied_add_ons.c.invoice_id.is_(None))
    fees = fees.order_by(applied_add_ons.c.id).limit(_MOST_WAITING)
    if lock:
        held = held.with_for_update(of=applied_coupons)
        fees = fees.with_for_update(of=applied_add_ons)
    return PendingAdjustments(
        coupons=tuple(_coupon(row, taken.get(row.id)) for row in (await connection.execute(held)).all()),
        add_ons=tuple((await connection.execute(fees)).all()),
    )


async def _taken(
    connection: AsyncConnection, terms: Terms, end: datetime, *, but: UUID | None = None
) -> dict[UUID, int]:
    """Return what coupons took off the invoices of a subscription's billing period, perhaps but one of them.

    `end` is the exclusive end of an invoice's time, whose last instant lies in the period; a discount is of the period
    in which the time of its invoice ends, whatever other periods that invoice bills.
    """
    period = terms.cycle.period_containing(end - timedelta.resolution)
    statement = (
        select(_APPLICATION, func.sum(-invoice_lines.c.amount_minor))
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(
            invoice_lines.c.subscription_id == terms.subscription_id,
            invoice_lines.c.kind == DISCOUNT_LINE,
            invoice_lines.c.period_end > period.start,
            invoice_lines.c.period_end <= period.end,
            invoices.c.id.is_distinct_from(but),
            invoices.c.status != "voided",
        )
        .group_by(_APPLICATION)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(statement)}


def _coupon(row: Row[Any], taken_minor: int | None) -> AppliedCoupon:
    if row.coupon_type == "percentage":
        off: dict[str, Any] = {"kind": "percentage", "rate": row.percentage_rate}
    else:
        off = {"kind": "fixed_amount", "amount_cents": row.amount_cents, "currency": row.amount_currency}
    own = {"application_id": row.id, "name": row.name, "off": off}
    return AppliedCoupon.model_validate({**own, "uses_left": row.uses_left, "taken_minor": taken_minor})


def adjustments_for(held: PendingAdjustments, bill: Bill, subscription_id: UUID) -> InvoiceAdjustments:
    """Return the lines that an invoice of these charges has beside them: fees in its currency, then discounts."""
    currency = normalise_currency(bill.currency)
    fees = [row for row in held.add_ons if normalise_currency(row.amount_currency) == currency]
    taken = discounts(held.coupons, [line.amount_minor for line in bill.lines], currency)
    return InvoiceAdjustments(
        lines=(
            *(_fee(row, subscription_id) for row in fees),
            *(_discount(discount, bill, subscription_id) for discount in taken),
        ),
        discounts=taken,
        add_on_ids=tuple(row.id for row in fees),
    )


def _fee(row: Row[Any], subscription_id: UUID) -> NewLine:
    return NewLine(
        reference=f"add_on:{row.id}",
        kind=ADD_ON_LINE,
        description=row.invoice_display_name or row.name,
        quantity=Decimal(1),
        total_quantity=Decimal(1),
        unit_amount=cents_in_major(row.amount_cents, row.amount_currency),
        amount_minor=cents_in_minor(row.amount_cents, row.amount_currency),
        subscription_id=subscription_id,
    )


def _discount(discount: Discount, bill: Bill, subscription_id: UUID) -> NewLine:
    """Write a discount as a line below zero; its steps say how much of it belongs to which line (R17)."""
    parts = zip(bill.lines, discount.parts, strict=True)
    return NewLine(
        reference=line_reference(discount.application_id),
        kind=DISCOUNT_LINE,
        description=discount.description,
        quantity=Decimal(1),
        total_quantity=Decimal(1),
        amount_minor=-discount.amount_minor,
        subscription_id=subscription_id,
        period_start=bill.period.start,
        period_end=bill.period.end,
        steps=[{"line": line.reference, "amount_cents": str(-part)} for line, part in parts if part],
    )


def remaining_after(held: PendingAdjustments, used: InvoiceAdjustments) -> PendingAdjustments:
    """Return what waits after an invoice with these extras."""
    return PendingAdjustments(
        coupons=after_use(held.coupons, used.discounts),
        add_ons=tuple(row for row in held.add_ons if row.id not in used.add_on_ids),
    )


async def apply_adjustments(
    connection: AsyncConnection, used: InvoiceAdjustments, invoice_id: UUID, at: datetime
) -> None:
    """Count the uses of coupons, and give the fees their invoice, in the transaction that writes it.

    `at` is the subscription's now. Whoever reads `waiting` with a lock counts once; a second run of a close ends at the
    invoice's billing key, and this goes with it.
    """
    spent = [discount.application_id for discount in used.discounts if discount.counts]
    if spent:
        left = applied_coupons.c.uses_left
        counted = update(applied_coupons).where(applied_coupons.c.id.in_(spent), left.is_not(None))
        await connection.execute(
            counted.values(
                uses_left=left - 1,
                used_up_at=case((left == 1, literal(at)), else_=None),
                updated_at=func.clock_timestamp(),
            )
        )
    if used.add_on_ids:
        invoiced = update(applied_add_ons).where(applied_add_ons.c.id.in_(used.add_on_ids))
        await connection.execute(invoiced.values(invoice_id=invoice_id, updated_at=func.clock_timestamp()))


async def restore_adjustments(connection: AsyncConnection, invoice_id: UUID) -> None:
    """Undo `use` for an invoice that is voided or deleted, before its lines go: what it billed is billed again.

    A coupon that discounts another invoice of the same billing period stays used by that one.
    """
    mine = and_(invoice_lines.c.invoice_id == invoice_id, invoice_lines.c.kind == DISCOUNT_LINE)
    lines = select(_APPLICATION, invoice_lines.c.subscription_id, invoice_lines.c.period_end).where(mine)
    found = (await connection.execute(lines)).all()
    named = {line[0] for line in found}
    if found:
        terms = await terms_of(connection, found[0].subscription_id, lock=False)
        named -= (await _taken(connection, terms, found[0].period_end, but=invoice_id)).keys()
    now = func.clock_timestamp()
    if named:
        uses = applied_coupons.c.uses_left
        counted = update(applied_coupons).where(applied_coupons.c.id.in_(named), uses.is_not(None))
        await connection.execute(counted.values(uses_left=uses + 1, used_up_at=None, updated_at=now))
    freed = update(applied_add_ons).where(applied_add_ons.c.invoice_id == invoice_id)
    await connection.execute(freed.values(invoice_id=None, updated_at=now))
