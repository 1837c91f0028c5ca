"""Coupons, and their applications to customers (B121)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.changing import Resource, create
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resolver import Kind
from adapters.postgres.resources import Customer
from adapters.postgres.rows import Columns, record, records
from billing.discounts import CouponType, Frequency, uses_of
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import applied_coupons, coupons, customers, invoice_lines, invoices


@dataclass(frozen=True, slots=True)
class CouponTerms:
    """What a coupon takes off, and how often: percent, or minor units of a currency."""

    coupon_type: CouponType
    amount_cents: Decimal | None
    amount_currency: str | None
    percentage_rate: Decimal | None
    frequency: Frequency
    frequency_duration: int | None


@dataclass(frozen=True, slots=True)
class Coupon(CouponTerms):
    """A coupon; customers hold applications of it."""

    id: UUID
    code: str
    name: str
    description: str | None
    reusable: bool
    max_redemptions: int | None
    expiration: str
    expiration_at: datetime | None
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AppliedCoupon(CouponTerms):
    """A coupon that a customer holds or held, on the terms of its application; without `uses_left` for ever."""

    id: UUID
    coupon_id: UUID
    coupon_code: str
    coupon_name: str
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    uses_left: int | None
    used_up_at: datetime | None
    removed_at: datetime | None
    status: str
    created_at: datetime
    updated_at: datetime


RESOURCE: Final = Resource(coupons, "coupon", "Coupon", Coupon, shares_keys=True)

COUPON: Final = Kind("coupon", coupons, ("code",), Coupon)
DISCOUNT_LINE: Final = "discount"
"""The kind of the invoice lines that coupons make."""

ORDERABLE: Final = {
    "name": coupons.c.name,
    "code": coupons.c.code,
    "status": coupons.c.status,
    "updated_at": coupons.c.updated_at,
}
_TERMS: Final = tuple(field.name for field in fields(CouponTerms))
_COPIED: Final = (*_TERMS, "description", "reusable", "max_redemptions", "expiration", "expiration_at")

#: Whether an application still discounts invoices.
IS_HELD: Final[ColumnElement[bool]] = applied_coupons.c.removed_at.is_(None) & or_(
    applied_coupons.c.uses_left.is_(None), applied_coupons.c.uses_left > 0
)


def line_reference(application_id: UUID) -> str:
    """Name the invoice line of an application."""
    return f"coupon:{application_id}"


async def duplicate(tx: Transaction, coupon: Coupon) -> Coupon:
    """Add an active coupon with the same terms under `CODE_copy`, with no applications.

    Raises `Problem` 409 `coupon_exists` for a second copy.
    """
    values = {name: getattr(coupon, name) for name in _COPIED}
    return await create(tx, RESOURCE, {**values, "code": f"{coupon.code}_copy", "name": f"{coupon.name} (Copy)"})


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, status: str | None
) -> tuple[Sequence[Coupon], int]:
    """Return one part of the project's coupons, newest first, and their number; of one status, or of all."""
    wanted = [coupons.c.project_id == project_id]
    if status is not None:
        wanted.append(coupons.c.status == status)
    rows, total = await page_of(connection, coupons, page, *wanted, orderable=ORDERABLE)
    return records(Coupon, rows), total


@dataclass(frozen=True)
class Application:
    """Who gets a coupon, and their time; `terms` are columns that the request set otherwise than the coupon."""

    customer: Customer
    at: datetime
    terms: Columns


async def apply(tx: Transaction, row: Coupon, wanted: Application) -> AppliedCoupon:
    """Apply a coupon, which the caller has locked, to a customer.

    Raises `Problem` 409: `coupon_terminated`, `coupon_expired` on the customer's clock, `coupon_not_reusable` for a
    customer who had it before, `coupon_exhausted` when it was applied as often as it may be.
    """
    await _usable(tx.connection, row, wanted)
    values = {name: getattr(row, name) for name in _TERMS}
    identity = new_id()
    statement = insert(applied_coupons).values(
        id=identity,
        project_id=tx.scope.project_id,
        coupon_id=row.id,
        customer_id=wanted.customer.id,
        uses_left=uses_of(row.frequency, row.frequency_duration),
        **{**values, **wanted.terms},
    )
    await tx.connection.execute(statement)
    made = await view_applied(tx.connection, tx.scope.project_id, str(identity))
    await _audit_applied(tx, made, "created")
    return made


async def _usable(connection: AsyncConnection, row: Coupon, wanted: Application) -> None:
    if row.status != "active":
        raise conflict("coupon_terminated", f"The coupon {row.code!r} was terminated.")
    if row.expiration_at is not None and row.expiration_at <= wanted.at:
        raise conflict("coupon_expired", f"The coupon {row.code!r} could be applied until {row.expiration_at:%F %T}.")
    of_customer = func.count().filter(applied_coupons.c.customer_id == wanted.customer.id)
    counted = select(func.count().label("times"), of_customer.label("of_customer"))
    counts = (await connection.execute(counted.where(applied_coupons.c.coupon_id == row.id))).one()
    if counts.of_customer and not row.reusable:
        raise conflict("coupon_not_reusable", f"The coupon {row.code!r} was applied to this customer already.")
    if row.max_redemptions is not None and counts.times >= row.max_redemptions:
        raise conflict("coupon_exhausted", f"The coupon {row.code!r} was applied {counts.times} times, which is all.")


def _applied() -> Select[Any]:
    """Select applications with the names of their coupon and customer."""
    joined = applied_coupons.join(coupons, coupons.c.id == applied_coupons.c.coupon_id).join(
        customers, customers.c.id == applied_coupons.c.customer_id
    )
    return select(
        applied_coupons,
        coupons.c.code.label("coupon_code"),
        coupons.c.name.label("coupon_name"),
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
        case((IS_HELD, "active"), else_="terminated").label("status"),
    ).select_from(joined)


async def view_applied(connection: AsyncConnection, project_id: UUID, ref: str) -> AppliedCoupon:
    """Read an application by its id or uuid. Raises `Problem` 404 `applied_coupon_not_found`."""
    wanted = [applied_coupons.c.project_id == project_id, applied_coupons.c.id == parse_id(ref)]
    row = (await connection.execute(_applied().where(*wanted))).one_or_none()
    if row is None:
        raise not_found("applied_coupon", ref)
    return record(AppliedCoupon, row)


async def applied_to(connection: AsyncConnection, customer_id: UUID, page: Page) -> tuple[Sequence[AppliedCoupon], int]:
    """Return one part of a customer's applications, newest first, and their number; terminated ones included."""
    wanted = applied_coupons.c.customer_id == customer_id
    orderable = {"updated_at": applied_coupons.c.updated_at}
    rows, total = await page_of(connection, applied_coupons, page, wanted, rows=_applied(), orderable=orderable)
    return records(AppliedCoupon, rows), total


async def remove(tx: Transaction, row: AppliedCoupon) -> None:
    """Take a coupon from a customer: no later invoice is discounted. Once removed, this changes nothing."""
    now = func.clock_timestamp()
    wanted = [applied_coupons.c.id == row.id, applied_coupons.c.removed_at.is_(None)]
    done = await tx.connection.execute(update(applied_coupons).where(*wanted).values(removed_at=now, updated_at=now))
    if done.rowcount:
        await _audit_applied(tx, row, "terminated")


@dataclass(frozen=True)
class Analytics:
    """How a coupon is used; `total_discount_minor` adds up minor units of whatever currencies the invoices have."""

    times_applied: int
    active_applications: int
    total_discount_minor: Decimal
    remaining_uses: int | None


async def analytics(connection: AsyncConnection, row: Coupon) -> Analytics:
    """Count a coupon's applications, and add up what they took off invoices that are not voided."""
    mine = applied_coupons.c.coupon_id == row.id
    counted = select(func.count().label("times"), func.count().filter(IS_HELD).label("active"))
    counts = (await connection.execute(counted.where(mine))).one()
    named = invoice_lines.c.reference == func.concat("coupon:", cast(applied_coupons.c.id, String))
    taken = (
        select(func.coalesce(func.sum(-invoice_lines.c.amount_minor), 0))
        .select_from(applied_coupons.join(invoice_lines, named))
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(mine, invoice_lines.c.kind == DISCOUNT_LINE, invoices.c.status != "voided")
    )
    return Analytics(
        times_applied=counts.times,
        active_applications=counts.active,
        total_discount_minor=Decimal((await connection.execute(taken)).scalar_one()),
        remaining_uses=None if row.max_redemptions is None else max(0, row.max_redemptions - counts.times),
    )


async def _audit_applied(tx: Transaction, row: AppliedCoupon, action: str) -> None:
    done = "applied to" if action == "created" else "taken from"
    await tx.audit(
        resource_type="applied_coupon",
        resource_id=row.id,
        action=action,
        title=f"Coupon {row.coupon_code} {done} customer {row.customer_code}",
        data={"coupon_id": row.coupon_id, "customer_id": row.customer_id},
    )
