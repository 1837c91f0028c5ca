"""Coupons, and their applications to customers (B121)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, String, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.changing import Resource, audit_change
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resolver import Kind
from adapters.postgres.resources import Customer
from billing.discounts import uses_of
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import applied_coupons, coupons, customers, invoice_lines, invoices

RESOURCE: Final[Resource[Row[Any]]] = Resource(coupons, "coupon", "Coupon", shares_keys=True)

COUPON: Final[Kind[Row[Any]]] = Kind("coupon", coupons, codes=("code",))
DISCOUNT_LINE: Final = "discount"
"""The kind of the invoice lines that coupons make."""

ORDERABLE: Final = {
    "name": coupons.c.name,
    "code": coupons.c.code,
    "status": coupons.c.status,
    "updated_at": coupons.c.updated_at,
}
_COPIED: Final = (
    "description",
    "coupon_type",
    "amount_cents",
    "amount_currency",
    "percentage_rate",
    "frequency",
    "frequency_duration",
    "reusable",
    "max_redemptions",
    "expiration",
    "expiration_at",
)

#: Whether an application still discounts invoices.
IS_HELD: Final[ColumnElement[bool]] = applied_coupons.c.removed_at.is_(None) & or_(
    applied_coupons.c.uses_left.is_(None), applied_coupons.c.uses_left > 0
)


def line_reference(application_id: UUID) -> str:
    """Name the invoice line of an application."""
    return f"coupon:{application_id}"


async def create(tx: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Add a coupon; `values` are columns of `coupons`. Raises `Problem` 409 `coupon_exists` for a code in use."""
    statement = (
        insert(coupons)
        .values(id=new_id(), project_id=tx.scope.project_id, **values)
        .on_conflict_do_nothing(index_elements=["project_id", "code"])
        .returning(coupons)
    )
    row: Row[Any] | None = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        raise conflict("coupon_exists", f"This project has a coupon with the code {values['code']!r} already.")
    await audit_change(tx, RESOURCE, row=row, action="created")
    return row


async def duplicate(tx: Transaction, row: Row[Any]) -> Row[Any]:
    """Add an active coupon with the same terms under `CODE_copy`, with no applications.

    Raises `Problem` 409 `coupon_exists` for a second copy.
    """
    values = {name: row._mapping[name] for name in _COPIED}
    return await create(tx, {**values, "code": f"{row.code}_copy", "name": f"{row.name} (Copy)"})


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, status: str | None
) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of the project's coupons, newest first, and their number; of one status, or of all."""
    wanted = [coupons.c.project_id == project_id]
    if status is not None:
        wanted.append(coupons.c.status == status)
    return await page_of(connection, coupons, page, *wanted, orderable=ORDERABLE)


@dataclass(frozen=True)
class Application:
    """Who gets a coupon, and their time; `terms` are columns that the request set otherwise than the coupon."""

    customer: Customer
    at: datetime
    terms: Mapping[str, Any]


async def apply(tx: Transaction, row: Row[Any], wanted: Application) -> Row[Any]:
    """Return a customer a coupon that `locked` gave.

    Raises `Problem` 409: `coupon_terminated`, `coupon_expired` on the customer's clock, `coupon_not_reusable` for a
    customer who had it before, `coupon_exhausted` when it was applied as often as it may be.
    """
    await _usable(tx.connection, row, wanted)
    values = {name: row._mapping[name] for name in ("coupon_type", "amount_cents", "amount_currency")}
    values |= {name: row._mapping[name] for name in ("percentage_rate", "frequency", "frequency_duration")}
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
    await _note_applied(tx, made, "created")
    return made


async def _usable(connection: AsyncConnection, row: Row[Any], wanted: Application) -> None:
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


async def view_applied(connection: AsyncConnection, project_id: UUID, ref: str) -> Row[Any]:
    """Read an application by its id or uuid. Raises `Problem` 404 `applied_coupon_not_found`."""
    wanted = [applied_coupons.c.project_id == project_id, applied_coupons.c.id == parse_id(ref)]
    row: Row[Any] | None = (await connection.execute(_applied().where(*wanted))).one_or_none()
    if row is None:
        raise not_found("applied_coupon", ref)
    return row


async def applied_to(connection: AsyncConnection, customer_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of a customer's applications, newest first, and their number; terminated ones included."""
    wanted = applied_coupons.c.customer_id == customer_id
    return await page_of(
        connection,
        applied_coupons,
        page,
        wanted,
        rows=_applied(),
        orderable={"updated_at": applied_coupons.c.updated_at},
    )


async def remove(tx: Transaction, row: Row[Any]) -> None:
    """Take a coupon from a customer: no later invoice is discounted. Once removed, this changes nothing."""
    now = func.clock_timestamp()
    wanted = [applied_coupons.c.id == row.id, applied_coupons.c.removed_at.is_(None)]
    done = await tx.connection.execute(update(applied_coupons).where(*wanted).values(removed_at=now, updated_at=now))
    if done.rowcount:
        await _note_applied(tx, row, "terminated")


@dataclass(frozen=True)
class Analytics:
    """How a coupon is used; `total_discount_minor` adds up minor units of whatever currencies the invoices have."""

    times_applied: int
    active_applications: int
    total_discount_minor: Decimal
    remaining_uses: int | None


async def analytics(connection: AsyncConnection, row: Row[Any]) -> Analytics:
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


async def _note_applied(tx: Transaction, row: Row[Any], action: str) -> None:
    done = "applied to" if action == "created" else "taken from"
    await tx.audit(
        resource_type="applied_coupon",
        resource_id=row.id,
        action=action,
        title=f"Coupon {row.coupon_code} {done} customer {row.customer_code}",
        data={"coupon_id": row.coupon_id, "customer_id": row.customer_id},
    )
