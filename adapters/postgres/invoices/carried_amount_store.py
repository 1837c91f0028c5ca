"""Amounts that a provider cannot take, carried from one invoice of a customer to the next (R26).

An invoice that carries an amount on has a line of less than 0, the one that takes it over a line of more than 0; what
waits is what the first ones have beyond the second ones. A voided invoice counts for neither.
"""

from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.collectable import collectable_minor
from billing.invoice import InvoiceLine
from models.tables import invoice_lines, invoices

CARRIED: Final = "carried"
"""The kind of the lines on both sides."""

_TAKEN_OVER: Final = "Carried over from earlier invoices"

_ISSUED: Final = invoices.c.status.not_in(("voided", "draft"))


async def take_over(
    connection: AsyncConnection, customer_id: UUID, currency: str, *, lock: bool = True
) -> list[InvoiceLine]:
    """Return the line of what waits for a customer's next invoice in a currency.

    `lock` keeps other invoices from it until the transaction ends.
    """
    waiting = await _waiting(connection, customer_id, currency)
    if not waiting or not lock:
        return [_line(customer_id, _TAKEN_OVER, waiting)] if waiting else []
    turn = func.hashtextextended(_reference(customer_id), 0)
    await connection.execute(select(func.pg_advisory_xact_lock(turn)))
    waiting = await _waiting(connection, customer_id, currency)
    return [_line(customer_id, _TAKEN_OVER, waiting)] if waiting else []


def carry_on(customer_id: UUID, provider: str | None, due_minor: int, currency: str) -> list[InvoiceLine]:
    """Return the line that takes off an invoice what its provider cannot take of what is due; none if it can."""
    left = due_minor - collectable_minor(provider, due_minor, currency)
    why = f"Carried to the next invoice: too small for the payment provider {provider}"
    return [_line(customer_id, why, -left)] if left > 0 else []


async def _waiting(connection: AsyncConnection, customer_id: UUID, currency: str) -> int:
    statement = (
        select(func.coalesce(-func.sum(invoice_lines.c.amount_minor), 0))
        .join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .where(
            invoice_lines.c.kind == CARRIED,
            invoice_lines.c.reference == _reference(customer_id),
            func.upper(invoices.c.currency) == currency.upper(),
            _ISSUED,
        )
    )
    return int(await connection.scalar(statement) or 0)


def carried_reference(customer_id: ColumnElement[UUID]) -> ColumnElement[str]:
    """Return the reference of a customer's carried lines as SQL."""
    return literal(f"{CARRIED}:") + cast(customer_id, Text)


def _reference(customer_id: UUID) -> str:
    return f"{CARRIED}:{customer_id}"


def _line(customer_id: UUID, description: str, amount_minor: int) -> InvoiceLine:
    return InvoiceLine(
        reference=_reference(customer_id),
        kind="carried",
        description=description,
        amount_minor=amount_minor,
    )
