"""Settlements: what paid an invoice, and the one rule that makes it paid (B111, B114, B133).

Whoever settles holds the invoice's row lock. An invoice is paid exactly when its settlements reach its total; a check
in the schema holds that too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import case, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.rows import records
from models.identifiers import new_id
from models.tables import invoices, settlements

SettlementType = Literal["payment", "wallet_credit"]
WALLET_CREDIT: Final = "wallet_credit"


@dataclass(frozen=True, slots=True)
class Settlement:
    """What paid a part of an invoice, in minor units; less than 0 for what went back while it was open."""

    id: UUID
    invoice_id: UUID
    type: SettlementType
    source_id: UUID
    amount_minor: int
    created_at: datetime


async def apply_payment(
    connection: AsyncConnection,
    project_id: UUID,
    invoice_id: UUID,
    *,
    source_id: UUID,
    amount_minor: int,
    at: datetime,
    payment_intent_id: str | None = None,
) -> bool:
    """Count a payment towards a locked, open invoice; returns whether it is paid now.

    `amount_minor` is more than 0 and not more than what is due. `at` is when the money came, in the customer's time.
    """
    await record(connection, project_id, invoice_id, kind="payment", source_id=source_id, amount=amount_minor, at=at)
    settled = invoices.c.settled_minor + amount_minor
    paid = settled >= invoices.c.total_minor
    values: dict[str, Any] = {
        "settled_minor": settled,
        "status": case((paid, literal("paid")), else_=invoices.c.status),
        "paid_at": case((paid, at), else_=invoices.c.paid_at),
        "next_attempt_at": case((paid, None), else_=invoices.c.next_attempt_at),
        "updated_at": func.clock_timestamp(),
    }
    if payment_intent_id is not None:
        values["payment_intent_id"] = payment_intent_id
    statement = update(invoices).where(invoices.c.id == invoice_id).values(**values).returning(invoices.c.status)
    return str(await connection.scalar(statement)) == "paid"


async def reverse_payment(
    connection: AsyncConnection, project_id: UUID, invoice_id: UUID, *, source_id: UUID, amount_minor: int, at: datetime
) -> None:
    """Count a refund of a partial payment: so much of a locked, open invoice is due again."""
    await record(connection, project_id, invoice_id, kind="payment", source_id=source_id, amount=-amount_minor, at=at)
    values = {"settled_minor": invoices.c.settled_minor - amount_minor, "updated_at": func.clock_timestamp()}
    await connection.execute(update(invoices).where(invoices.c.id == invoice_id).values(**values))


async def record(
    connection: AsyncConnection,
    project_id: UUID,
    invoice_id: UUID,
    *,
    kind: SettlementType,
    source_id: UUID,
    amount: int,
    at: datetime,
) -> None:
    """Write the row alone; the caller sets the invoice's sums in the same transaction."""
    statement = insert(settlements).values(
        id=new_id(),
        project_id=project_id,
        invoice_id=invoice_id,
        type=kind,
        source_id=source_id,
        amount_minor=amount,
        settled_at=at,
    )
    await connection.execute(statement)


async def of_invoice(connection: AsyncConnection, invoice_id: UUID) -> Sequence[Settlement]:
    """Read what settled an invoice, oldest first."""
    statement = select(settlements).where(settlements.c.invoice_id == invoice_id).order_by(settlements.c.id)
    return records(Settlement, await connection.execute(statement))
