"""Customers: who is billed, and how well they pay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers import billing_entity_store
from adapters.postgres.database import ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.changing import Resource, audit_change, hide
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resources import Customer
from adapters.postgres.rows import Columns, record, records
from billing.money import to_major
from billing.numbers import exact
from models.identifiers import new_id, parse_id, shown_id
from models.problems import conflict, not_found
from models.tables import (
    billing_entities,
    customers,
    invoices,
    organizations,
    payment_attempts,
    projects,
    subscriptions,
    test_clocks,
)

RESOURCE: Final = Resource(customers, "customer", "Customer", Customer)

ORDERABLE: Final = {
    "name": customers.c.name,
    "external_id": customers.c.code,
    "email": customers.c.email,
    "updated_at": customers.c.updated_at,
}
#: Columns that lists may be filtered by, by the name of the query parameter.
FILTERS: Final = {
    "external_id": customers.c.code,
    "email": customers.c.email,
    "corporate_id": customers.c.corporate_id,
    "domain": customers.c.domain,
}

_ENDED: Final = ("canceled", "terminated")


async def create(tx: Transaction, values: Columns) -> Customer:
    """Add a customer; `values` are columns of `customers`, without `code` the shown id becomes the code.

    Payment term and grace period are those of its billing entity where they are not given.

    Raises `Problem` 409 `customer_exists` for an id or external id in use (B78).
    """
    customer_id = new_id()
    given: Columns = {"code": shown_id("customer", customer_id), "code_chosen": False, **values}
    row = await _insert(tx.connection, tx.scope.project_id, customer_id, given)
    if row is None:
        raise conflict("customer_exists", f"This project has a customer {given['code']!r} already.")
    await audit_change(tx, RESOURCE, row=row, action="created")
    return row


async def lazily_created(connection: AsyncConnection, project_id: UUID, code: str) -> Customer:
    """Return the customer with that code, creating it for usage that named an unknown one (seed 003, C8).

    Safe to call at the same time from several transactions: one creates it, the others find it.
    """
    row = await _insert(connection, project_id, new_id(), {"code": code, "name": code, "created_by_usage": True})
    if row is None:
        statement = select(customers).where(customers.c.project_id == project_id, customers.c.code == code)
        found = (await connection.execute(statement.where(customers.c.deleted_at.is_(None)))).one()
        return record(Customer, found)
    organization = await connection.scalar(text("SELECT current_setting('durabill.organization_id', true)"))
    if organization:
        scope = ProjectScope(organization_id=UUID(organization), project_id=project_id)
        await audit_change(
            Transaction(connection, scope, SYSTEM_ACTOR),
            RESOURCE,
            row=row,
            action="created",
            data={"created_by": "usage"},
        )
    return row


async def organization_customer(tx: Transaction, name: str) -> Customer:
    """Return the hidden customer that stands for the organization itself, creating it at first need (C9)."""
    statement = select(customers).where(
        customers.c.project_id == tx.scope.project_id, customers.c.is_organization, customers.c.deleted_at.is_(None)
    )
    found = (await tx.connection.execute(statement)).one_or_none()
    if found is not None:
        return record(Customer, found)
    values = {"code": str(tx.scope.organization_id), "name": name, "is_organization": True}
    made = await _insert(tx.connection, tx.scope.project_id, new_id(), values)
    if made is None:
        return record(Customer, (await tx.connection.execute(statement)).one())
    await audit_change(tx.by(SYSTEM_ACTOR), RESOURCE, row=made, action="created")
    return made


async def _insert(connection: AsyncConnection, project_id: UUID, customer_id: UUID, values: Columns) -> Customer | None:
    terms = await billing_entity_store.terms_for_customer(
        connection, project_id, cast("UUID | None", values.get("billing_entity_id"))
    )
    statement = insert(customers).values(id=customer_id, project_id=project_id, **{**terms, **values})
    made = (await connection.execute(statement.on_conflict_do_nothing().returning(customers))).one_or_none()
    return None if made is None else record(Customer, made)


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, conditions: Mapping[str, str]
) -> tuple[tuple[Customer, ...], int]:
    """Return one part of the project's customers, newest first, and their number; the organization's own is hidden."""
    wanted: list[ColumnElement[bool]] = [
        customers.c.project_id == project_id,
        customers.c.deleted_at.is_(None),
        customers.c.is_organization.is_(False),
    ]
    wanted += [FILTERS[name] == value for name, value in conditions.items()]
    rows, total = await page_of(connection, customers, page, *wanted, orderable=ORDERABLE)
    return records(Customer, rows), total


async def by_id(connection: AsyncConnection, customer_id: UUID) -> Customer | None:
    """Read a customer by its uuid; None for one that is deleted or of another project than the transaction's."""
    statement = select(customers).where(customers.c.id == customer_id, customers.c.deleted_at.is_(None))
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else record(Customer, row)


async def delete(tx: Transaction, row: Customer) -> None:
    """Hide a customer that `locked` gave, and free its code.

    Raises `Problem` 409 `customer_has_invoices` or `customer_has_subscriptions` (ones that have not ended).
    """
    billed = select(invoices.c.id).where(invoices.c.customer_id == row.id).limit(1)
    if (await tx.connection.execute(billed)).first() is not None:
        raise conflict("customer_has_invoices", "This customer has invoices, which are permanent records.")
    if await has_living_subscriptions(tx.connection, row.id):
        raise conflict("customer_has_subscriptions", "This customer has subscriptions; end them first.")
    await hide(tx, RESOURCE, row)


async def has_living_subscriptions(connection: AsyncConnection, customer_id: UUID) -> bool:
    """Return whether a customer has subscriptions that have not ended."""
    living = select(subscriptions.c.id).where(
        subscriptions.c.customer_id == customer_id, subscriptions.c.status.not_in(_ENDED)
    )
    return (await connection.execute(living.limit(1))).first() is not None


async def usable_clock(connection: AsyncConnection, project_id: UUID, ref: str) -> UUID:
    """Find the test clock that a new customer is to live in, and keep it from being advanced meanwhile.

    Raises `Problem` 404 `test_clock_not_found`, 409 `test_clock_advancing` while it moves.
    """
    found = parse_id(ref)
    statement = (
        select(test_clocks.c.id, test_clocks.c.status)
        .where(test_clocks.c.id == found, test_clocks.c.project_id == project_id, test_clocks.c.deleted_at.is_(None))
        .with_for_update(read=True)
    )
    row = None if found is None else (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("test_clock", ref)
    if row.status == "advancing":
        raise conflict("test_clock_advancing", "The test clock is being advanced; wait until it is ready.")
    assert isinstance(row.id, UUID)
    return row.id


async def default_timezone(connection: AsyncConnection, project_id: UUID) -> str:
    """Return the billing zone of customers without one: the project's, else the organization's, else UTC."""
    statement = (
        select(func.coalesce(projects.c.timezone, organizations.c.timezone))
        .join(organizations, organizations.c.id == projects.c.organization_id)
        .where(projects.c.id == project_id)
    )
    return str(await connection.scalar(statement) or "UTC")


@dataclass(frozen=True)
class BillingEntityTerms:
    """What applies to a customer that has not set it: its billing entity's code, and the billing time zone."""

    code: str | None
    timezone: str


async def billing_entity_terms_of(
    connection: AsyncConnection, project_id: UUID, rows: Sequence[Customer]
) -> Mapping[UUID | None, BillingEntityTerms]:
    """Return what applies to customers by their billing entities, and under None what applies without one.

    A time zone is the billing entity's, else the project's, else the organization's, else UTC.
    """
    default = await default_timezone(connection, project_id)
    found: dict[UUID | None, BillingEntityTerms] = {None: BillingEntityTerms(None, default)}
    ids = {row.billing_entity_id for row in rows} - {None}
    if ids:
        statement = select(billing_entities).where(billing_entities.c.id.in_(ids))
        for row in (await connection.execute(statement)).all():
            found[row.id] = BillingEntityTerms(row.code, row.timezone or default)
    return found


@dataclass(frozen=True)
class Health:
    """How a customer pays: counts of invoices and payment attempts, and what is overdue in major units."""

    total_invoices: int
    paid_invoices: int
    overdue_invoices: int
    total_payments: int
    failed_payments: int
    overdue_amount: Decimal


async def health(connection: AsyncConnection, row: Customer) -> Health:
    """Count a customer's invoices and payments; an unpaid one is overdue past its due date on the customer's clock."""
    overdue = invoices.c.status.in_(("overdue", "issued", "failed")) & (invoices.c.due_at < await _now(connection, row))
    overdue |= invoices.c.status == "overdue"
    mine = invoices.c.customer_id == row.id
    counts = (
        await connection.execute(
            select(
                func.count().filter(invoices.c.status != "draft").label("total"),
                func.count().filter(invoices.c.status == "paid").label("paid"),
                func.count().filter(overdue).label("overdue"),
            ).where(mine)
        )
    ).one()
    sums = await connection.execute(
        select(func.upper(invoices.c.currency), func.sum(invoices.c.total_minor))
        .where(mine, overdue)
        .group_by(func.upper(invoices.c.currency))
    )
    attempts = (
        await connection.execute(
            select(
                func.count().label("total"),
                func.count().filter(payment_attempts.c.status == "declined").label("failed"),
            )
            .join(invoices, invoices.c.id == payment_attempts.c.invoice_id)
            .where(mine)
        )
    ).one()
    with exact():
        owed = sum((to_major(int(minor), currency) for currency, minor in sums.all()), Decimal(0))
    return Health(counts.total, counts.paid, counts.overdue, attempts.total, attempts.failed, owed)


async def _now(connection: AsyncConnection, row: Customer) -> datetime:
    """Read the customer's clock: its test clock's frozen time, or the database's wall clock (C11)."""
    if row.test_clock_id is None:
        statement = select(func.clock_timestamp())
    else:
        statement = select(test_clocks.c.frozen_time).where(test_clocks.c.id == row.test_clock_id)
    found = (await connection.execute(statement)).scalar_one()
    assert isinstance(found, datetime)
    return found.astimezone(UTC)
