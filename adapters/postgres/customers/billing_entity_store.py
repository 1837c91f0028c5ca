"""Billing entities: who issues a customer's invoices, and from which series their numbers are drawn (B119)."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, case, cast, exists, false, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.failures import violated_constraint
from adapters.postgres.journal import changing
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resolver import BILLING_ENTITY, required
from adapters.postgres.resources import BillingEntity
from adapters.postgres.rows import Columns, records
from models.identifiers import shown_id
from models.problems import Problem, conflict, invalid, not_found
from models.tables import billing_entities, customers, invoices

RESOURCE: Final = changing.Resource(billing_entities, "billing_entity", "Billing entity", BillingEntity)
ORDERABLE: Final = {
    "name": billing_entities.c.name,
    "code": billing_entities.c.code,
    "updated_at": billing_entities.c.updated_at,
}
_LIVING: Final = billing_entities.c.deleted_at.is_(None)


async def create(tx: Transaction, values: Columns) -> BillingEntity:
    """Add a billing entity; `values` are columns of `billing_entities`. A default one replaces the one before.

    Raises `Problem` 409 `billing_entity_exists` for a code in use, `invoice_prefix_in_use` for another's prefix,
    `invoice_numbers_taken` when an invoice has a number of the series already.
    """
    if values.get("is_default"):
        await _end_default(tx.connection, tx.scope.project_id)
    try:
        row = await changing.insert_new(tx, RESOURCE, values)
    except IntegrityError as error:
        raise _taken(error) from error
    if row is None:
        raise conflict("billing_entity_exists", f"This project has a billing entity {values['code']!r} already.")
    await _refuse_taken_numbers(tx.connection, row)
    await changing.audit_change(tx, RESOURCE, row=row, action="created")
    return row


def _taken(error: IntegrityError) -> Problem:
    match violated_constraint(error):
        case "uq_billing_entities_prefix":
            return conflict("invoice_prefix_in_use", "Another billing entity of this project numbers with this prefix.")
        case "uq_billing_entities_default":
            return conflict("default_changed", "Another billing entity was just made the default; try again.")
    raise error


async def _end_default(connection: AsyncConnection, project_id: UUID) -> None:
    statement = update(billing_entities).where(billing_entities.c.project_id == project_id, _LIVING)
    await connection.execute(statement.where(billing_entities.c.is_default).values(is_default=False))


async def _refuse_taken_numbers(connection: AsyncConnection, row: BillingEntity) -> None:
    """Refuse a series that would give a number again; asked after the write, which shut others out of the prefix."""
    start = f"{row.invoice_prefix or row.code}-"
    tail = func.substr(invoices.c.number, len(start) + 1)
    ahead = case((tail.regexp_match("^[0-9]{1,18}$"), cast(tail, BigInteger) >= row.next_invoice_number), else_=false())
    taken = exists().where(invoices.c.project_id == row.project_id, func.starts_with(invoices.c.number, start), ahead)
    if await connection.scalar(select(taken)):
        raise conflict("invoice_numbers_taken", f"Invoices have numbers {start}... from next_invoice_number on.")


async def listed(connection: AsyncConnection, project_id: UUID, page: Page) -> tuple[tuple[BillingEntity, ...], int]:
    """Return one part of the project's billing entities, newest first, and their number."""
    wanted = [billing_entities.c.project_id == project_id, _LIVING]
    rows, total = await page_of(connection, billing_entities, page, *wanted, orderable=ORDERABLE)
    return records(BillingEntity, rows), total


async def customer_counts(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count, for each billing entity (by shown id), its customers; 0 included."""
    statement = (
        select(billing_entities.c.id, func.count(customers.c.id))
        .outerjoin(
            customers, (customers.c.billing_entity_id == billing_entities.c.id) & customers.c.deleted_at.is_(None)
        )
        .where(billing_entities.c.project_id == project_id, _LIVING)
        .group_by(billing_entities.c.id)
    )
    rows = (await connection.execute(statement)).all()
    return {shown_id("billing_entity", entity): int(number) for entity, number in rows}


async def resolve_locked(connection: AsyncConnection, project_id: UUID, refs: Mapping[str, str | None]) -> UUID | None:
    """Find the one billing entity that synonymous fields name, and keep it from being deleted until the commit.

    `refs` are references by field; None without any. Raises `Problem` 404, or 422 if they name different ones.
    """
    found = {
        field: await required(connection, project_id, BILLING_ENTITY, ref)
        for field, ref in refs.items()
        if ref is not None
    }
    if not found:
        return None
    if len({row.id for row in found.values()}) > 1:
        raise invalid(list(found)[-1], f"names another billing entity than {next(iter(found))}")
    row = next(iter(found.values()))
    statement = select(billing_entities.c.id).where(billing_entities.c.id == row.id, _LIVING)
    held: UUID | None = await connection.scalar(statement.with_for_update(read=True, key_share=True))
    if held is None:
        raise not_found("billing_entity", row.code)
    return held


async def terms_for_customer(connection: AsyncConnection, project_id: UUID, billing_entity_id: UUID | None) -> Columns:
    """Return the columns that a new customer takes from its billing entity, or from the project's default one.

    Empty without any. The entity is kept from being deleted until the transaction ends.
    """
    chosen = billing_entities.c.is_default if billing_entity_id is None else billing_entities.c.id == billing_entity_id
    statement = select(
        billing_entities.c.id.label("billing_entity_id"),
        billing_entities.c.net_payment_term,
        billing_entities.c.invoice_grace_period,
    ).where(billing_entities.c.project_id == project_id, chosen, _LIVING)
    row = (await connection.execute(statement.with_for_update(read=True, key_share=True))).one_or_none()
    return {} if row is None else row._asdict()


async def change(tx: Transaction, row: BillingEntity, values: Columns) -> BillingEntity:
    """Change columns of a billing entity that `locked` gave; invoices keep the numbers they have.

    Raises `Problem` 409 `invoice_prefix_in_use` or `invoice_numbers_taken`.
    """
    if values.get("is_default") and not row.is_default:
        await _end_default(tx.connection, tx.scope.project_id)
    try:
        changed = await changing.change(tx, RESOURCE, row=row, values=values)
    except IntegrityError as error:
        raise _taken(error) from error
    if changing.changes_of(row, values).keys() & {"invoice_prefix", "next_invoice_number"}:
        await _refuse_taken_numbers(tx.connection, changed)
    return changed


async def delete(tx: Transaction, row: BillingEntity) -> None:
    """Hide a billing entity that `locked` gave, and free its code and prefix.

    Raises `Problem` 409 `billing_entity_has_customers` or `billing_entity_has_invoices`.
    """
    customer = select(customers.c.id).where(customers.c.billing_entity_id == row.id, customers.c.deleted_at.is_(None))
    if (await tx.connection.execute(customer.limit(1))).first() is not None:
        raise conflict("billing_entity_has_customers", "This billing entity has customers; give them another first.")
    invoice = select(invoices.c.id).where(invoices.c.billing_entity_id == row.id).limit(1)
    if (await tx.connection.execute(invoice)).first() is not None:
        raise conflict(
            "billing_entity_has_invoices", "This billing entity issued invoices, which are permanent records."
        )
    await changing.hide(tx, RESOURCE, row)
