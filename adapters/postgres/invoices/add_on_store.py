"""Add-ons: one-time fees, and their applications to customers (B122)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.changing import Resource, audit_change
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resolver import Kind
from adapters.postgres.resources import Customer
from models.identifiers import new_id, shown_id
from models.problems import conflict
from models.tables import add_ons, applied_add_ons, customers

RESOURCE: Final[Resource[Row[Any]]] = Resource(add_ons, "add_on", "Add-on", shares_keys=True)

ADD_ON: Final[Kind[Row[Any]]] = Kind("add_on", add_ons, codes=("code",))

ORDERABLE: Final = {
    "name": add_ons.c.name,
    "code": add_ons.c.code,
    "amount_cents": add_ons.c.amount_cents,
    "updated_at": add_ons.c.updated_at,
}
_LIVING: Final = add_ons.c.deleted_at.is_(None)


async def create(tx: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Add an add-on; `values` are columns of `add_ons`. Raises `Problem` 409 `add_on_exists` for a code in use."""
    statement = (
        insert(add_ons)
        .values(id=new_id(), project_id=tx.scope.project_id, **values)
        .on_conflict_do_nothing(index_elements=["project_id", "code"], index_where=_LIVING)
        .returning(add_ons)
    )
    row: Row[Any] | None = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        raise conflict("add_on_exists", f"This project has an add-on with the code {values['code']!r} already.")
    await audit_change(tx, RESOURCE, row=row, action="created")
    return row


async def listed(connection: AsyncConnection, project_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of the project's add-ons, newest first, and their number."""
    wanted = [add_ons.c.project_id == project_id, _LIVING]
    return await page_of(connection, add_ons, page, *wanted, orderable=ORDERABLE)


async def delete(tx: Transaction, row: Row[Any]) -> None:
    """Hide an add-on that `locked` gave, and free its code; fees that were applied are still invoiced."""
    hidden = update(add_ons).where(add_ons.c.id == row.id).values(deleted_at=func.clock_timestamp())
    await tx.connection.execute(hidden)
    await audit_change(tx, RESOURCE, row=row, action="deleted")


@dataclass(frozen=True)
class Application:
    """Who pays for an add-on, and how much: minor units of a currency."""

    customer: Customer
    amount_cents: Decimal
    amount_currency: str


async def apply(tx: Transaction, row: Row[Any], wanted: Application) -> Row[Any]:
    """Note a fee that the next invoice of the customer's subscriptions in this currency will have (B122).

    `row` is what `locked` gave.
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
    made: Row[Any] = (await tx.connection.execute(_applied().where(applied_add_ons.c.id == identity))).one()
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


async def applied_to(connection: AsyncConnection, customer_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of what was applied to a customer, newest first, and its number."""
    return await _applications(connection, applied_add_ons.c.customer_id == customer_id, page)


async def applications_of(connection: AsyncConnection, add_on_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of an add-on's applications, newest first, and their number."""
    return await _applications(connection, applied_add_ons.c.add_on_id == add_on_id, page)


async def _applications(
    connection: AsyncConnection, wanted: ColumnElement[bool], page: Page
) -> tuple[Sequence[Row[Any]], int]:
    orderable = {"amount_cents": applied_add_ons.c.amount_cents}
    return await page_of(connection, applied_add_ons, page, wanted, rows=_applied(), orderable=orderable)


async def application_counts(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count the applications of each add-on (by shown id); 0 included."""
    statement = (
        select(add_ons.c.id, func.count(applied_add_ons.c.id))
        .outerjoin(applied_add_ons, applied_add_ons.c.add_on_id == add_ons.c.id)
        .where(add_ons.c.project_id == project_id, _LIVING)
        .group_by(add_ons.c.id)
    )
    return {shown_id("add_on", found): int(number) for found, number in (await connection.execute(statement)).all()}
