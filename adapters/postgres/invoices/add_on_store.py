"""Add-ons: one-time fees, and their applications to customers (B122)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.changing import Resource
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resolver import Kind
from adapters.postgres.resources import Customer
from adapters.postgres.rows import record, records
from models.identifiers import new_id, shown_id
from models.tables import add_ons, applied_add_ons, customers


@dataclass(frozen=True, slots=True)
class AddOn:
    """A one-time fee in minor units of its currency."""

    id: UUID
    code: str
    name: str
    description: str | None
    invoice_display_name: str | None
    amount_cents: Decimal
    amount_currency: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class AppliedAddOn:
    """A fee of a customer; `invoice_id` is None while it waits for the next invoice."""

    id: UUID
    add_on_id: UUID
    add_on_code: str
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    customer_name: str | None
    amount_cents: Decimal
    amount_currency: str
    invoice_id: UUID | None
    created_at: datetime


RESOURCE: Final = Resource(add_ons, "add_on", "Add-on", AddOn, shares_keys=True)

ADD_ON: Final = Kind("add_on", add_ons, ("code",), AddOn)

ORDERABLE: Final = {
    "name": add_ons.c.name,
    "code": add_ons.c.code,
    "amount_cents": add_ons.c.amount_cents,
    "updated_at": add_ons.c.updated_at,
}
_LIVING: Final = add_ons.c.deleted_at.is_(None)


async def listed(connection: AsyncConnection, project_id: UUID, page: Page) -> tuple[Sequence[AddOn], int]:
    """Return one part of the project's add-ons, newest first, and their number."""
    wanted = [add_ons.c.project_id == project_id, _LIVING]
    rows, total = await page_of(connection, add_ons, page, *wanted, orderable=ORDERABLE)
    return records(AddOn, rows), total


@dataclass(frozen=True)
class Application:
    """Who pays for an add-on, and how much: minor units of a currency."""

    customer: Customer
    amount_cents: Decimal
    amount_currency: str


async def apply(tx: Transaction, row: AddOn, wanted: Application) -> AppliedAddOn:
    """Note a fee that the next invoice of the customer's subscriptions in this currency will have (B122).

    The caller has locked the add-on.
    """
    identity = new_id()
    statement = insert(applied_add_ons).values(
        id=identity,
        project_id=tx.scope.project_id,
        add_on_id=row.id,
        customer_id=wanted.customer.id,
        amount_cents=wanted.amount_cents,
        amount_currency=wanted.amount_currency,
    )
    await tx.connection.execute(statement)
    found = await tx.connection.execute(_applied().where(applied_add_ons.c.id == identity))
    made = record(AppliedAddOn, found.one())
    await tx.audit(
        resource_type="applied_add_on",
        resource_id=identity,
        action="created",
        title=f"Add-on {row.code} applied to customer {made.customer_code}",
        data={"add_on_id": row.id, "customer_id": made.customer_id},
    )
    return made


def _applied() -> Select[Any]:
    """Select applications with the names of their add-on and customer."""
    joined = applied_add_ons.join(add_ons, add_ons.c.id == applied_add_ons.c.add_on_id).join(
        customers, customers.c.id == applied_add_ons.c.customer_id
    )
    return select(
        applied_add_ons,
        add_ons.c.code.label("add_on_code"),
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
        customers.c.name.label("customer_name"),
    ).select_from(joined)


async def applied_to(connection: AsyncConnection, customer_id: UUID, page: Page) -> tuple[Sequence[AppliedAddOn], int]:
    """Return one part of what was applied to a customer, newest first, and its number."""
    return await _applications(connection, applied_add_ons.c.customer_id == customer_id, page)


async def applications_of(
    connection: AsyncConnection, add_on_id: UUID, page: Page
) -> tuple[Sequence[AppliedAddOn], int]:
    """Return one part of an add-on's applications, newest first, and their number."""
    return await _applications(connection, applied_add_ons.c.add_on_id == add_on_id, page)


async def _applications(
    connection: AsyncConnection, wanted: ColumnElement[bool], page: Page
) -> tuple[Sequence[AppliedAddOn], int]:
    orderable = {"amount_cents": applied_add_ons.c.amount_cents}
    rows, total = await page_of(connection, applied_add_ons, page, wanted, rows=_applied(), orderable=orderable)
    return records(AppliedAddOn, rows), total


async def application_counts(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count the applications of each add-on (by shown id); 0 included."""
    statement = (
        select(add_ons.c.id, func.count(applied_add_ons.c.id))
        .outerjoin(applied_add_ons, applied_add_ons.c.add_on_id == add_ons.c.id)
        .where(add_ons.c.project_id == project_id, _LIVING)
        .group_by(add_ons.c.id)
    )
    return {shown_id("add_on", found): int(number) for found, number in (await connection.execute(statement)).all()}
