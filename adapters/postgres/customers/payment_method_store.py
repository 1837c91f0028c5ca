"""Payment methods: the saved ways in which a customer pays, one of them the default (B131).

The default's provider and reference come before the customer's own `payment_provider`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import Columns, record, records
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import customers, payment_methods

#: A customer's default method, to be joined with `is_default_of`.
DEFAULT_METHOD: Final = payment_methods.alias("default_method")

#: Who collects from a customer: the provider of the default method, else the customer's own.
PROVIDER: Final = func.coalesce(DEFAULT_METHOD.c.provider, customers.c.payment_provider).label("payment_provider")

_ORDERABLE: Final[Mapping[str, ColumnElement[Any]]] = {
    "updated_at": payment_methods.c.updated_at,
    "provider": payment_methods.c.provider,
    "type": payment_methods.c.type,
}


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """A saved way to pay, with the customer's code."""

    id: UUID
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    provider: str
    provider_payment_method_id: str
    type: str
    is_default: bool
    details: dict[str, object]
    created_at: datetime
    updated_at: datetime


def is_default_of(customer_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition under which a customer's default method is joined."""
    return and_(DEFAULT_METHOD.c.customer_id == customer_id, DEFAULT_METHOD.c.is_default)


def _viewed() -> Select[Any]:
    return select(
        payment_methods,
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
    ).join(customers, customers.c.id == payment_methods.c.customer_id)


async def view(connection: AsyncConnection, project_id: UUID, ref: str) -> PaymentMethod:
    """Read a method by `pm_...` or uuid. Raises `Problem` 404 `payment_method_not_found`."""
    statement = _viewed().where(payment_methods.c.project_id == project_id, payment_methods.c.id == parse_id(ref))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("payment_method", ref)
    return record(PaymentMethod, row)


async def listed(
    connection: AsyncConnection, project_id: UUID, customer_id: UUID | None, page: Page
) -> tuple[tuple[PaymentMethod, ...], int]:
    """List the project's methods, or one customer's, newest first, and count them all."""
    conditions: list[ColumnElement[bool]] = [payment_methods.c.project_id == project_id]
    if customer_id is not None:
        conditions.append(payment_methods.c.customer_id == customer_id)
    rows, total = await page_of(connection, payment_methods, page, *conditions, rows=_viewed(), orderable=_ORDERABLE)
    return records(PaymentMethod, rows), total


async def create(tx: Transaction, values: Columns) -> PaymentMethod:
    """Save a method; `values` are columns. A new default takes the place of the old one.

    Raises `Problem` 409 `payment_method_exists` when the customer has this very method.
    """
    if values["is_default"]:
        await _clear_default(tx.connection, cast("UUID", values["customer_id"]))
    statement = insert(payment_methods).values(id=new_id(), project_id=tx.scope.project_id, **values)
    statement = statement.on_conflict_do_nothing(
        index_elements=["customer_id", "provider", "provider_payment_method_id"]
    )
    made = await tx.connection.scalar(statement.returning(payment_methods.c.id))
    if made is None:
        raise conflict("payment_method_exists", "The customer has this payment method already.")
    row = await view(tx.connection, tx.scope.project_id, str(made))
    await _audit(tx, row, "created")
    return row


async def _clear_default(connection: AsyncConnection, customer_id: UUID) -> None:
    """Leave the customer without a default; others who want to set one wait until the transaction ends."""
    lock = select(customers.c.id).where(customers.c.id == customer_id).with_for_update(key_share=True)
    await connection.execute(lock)
    statement = update(payment_methods).where(
        payment_methods.c.customer_id == customer_id, payment_methods.c.is_default
    )
    await connection.execute(statement.values(is_default=False, updated_at=func.clock_timestamp()))


async def set_default(tx: Transaction, ref: str) -> PaymentMethod:
    """Make a method its customer's default, in place of the one before (B131). Raises `Problem` 404."""
    row = await view(tx.connection, tx.scope.project_id, ref)
    await _clear_default(tx.connection, row.customer_id)
    statement = update(payment_methods).where(payment_methods.c.id == row.id)
    await tx.connection.execute(statement.values(is_default=True, updated_at=func.clock_timestamp()))
    # Read again: it may have been deleted while the lock was waited for.
    changed = await view(tx.connection, tx.scope.project_id, ref)
    await _audit(tx, changed, "default_set")
    return changed


async def remove(tx: Transaction, ref: str) -> None:
    """Delete a method that is not the default. Raises `Problem` 404, and 409 `default_payment_method`."""
    row = await view(tx.connection, tx.scope.project_id, ref)
    statement = delete(payment_methods).where(payment_methods.c.id == row.id, payment_methods.c.is_default.is_(False))
    if not (await tx.connection.execute(statement)).rowcount:
        raise conflict("default_payment_method", "Make another method the default first, then delete this one.")
    await _audit(tx, row, "deleted")


async def _audit(tx: Transaction, row: PaymentMethod, action: str) -> None:
    await tx.audit(
        resource_type="payment_method",
        resource_id=row.id,
        action=action,
        title=f"Payment method {action.replace('_', ' ')}",
        data={"customer_id": row.customer_id, "provider": row.provider, "is_default": row.is_default},
    )
