"""What an invoice owes to its customer: an invoice is never negative, the difference becomes credits in a wallet.

An adjustment may take more off than an invoice has. The invoice then gets a line that names what goes to the wallet,
so that it is 0 and the sum of its lines (C2), and the wallet gets a transaction that names the invoice. The next
invoices draw on it (B133); an operator sees it, may transfer it, or pays it out by hand.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.invoices.invoice_write_store import NewLine
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.wallets import wallet_move_store
from adapters.postgres.wallets.wallet_move_store import Move
from billing.money import exponent
from billing.wallets import to_credits
from models.identifiers import new_id
from models.tables import invoice_lines, wallets

CREDIT: Final = "wallet_credit"
"""The kind of the line that carries what an invoice owes over to a wallet."""


def carryover_line(due_minor: int) -> list[NewLine]:
    """Return the line that brings a negative sum, in minor units, to 0; none for what is not negative."""
    if due_minor >= 0:
        return []
    return [
        NewLine(
            reference=CREDIT,
            kind=CREDIT,
            description="Credit to your wallet, for your next invoices",
            quantity=Decimal(1),
            total_quantity=Decimal(1),
            amount_minor=-due_minor,
        )
    ]


@dataclass(frozen=True)
class CarriedOverInvoice:
    """An issued invoice and what it carries over to its customer's wallet, in minor units of `currency`."""

    customer_id: UUID
    invoice_id: UUID
    currency: str
    minor: int
    at: datetime


async def grant(tx: Transaction, credited: CarriedOverInvoice) -> None:
    """Put what an invoice carries over into the customer's wallet for adjustments, which is made when it is needed."""
    code = f"adjustments_{credited.currency.lower()}"
    made = insert(wallets).values(
        id=new_id(),
        project_id=tx.scope.project_id,
        customer_id=credited.customer_id,
        name="Credits from adjustments",
        code=code,
        currency=credited.currency,
        rate_amount=Decimal(10) ** exponent(credited.currency),
    )
    await tx.connection.execute(made.on_conflict_do_nothing())
    (wallet,) = await wallet_move_store.locked(
        tx.connection,
        wallets.c.customer_id == credited.customer_id,
        wallets.c.code == code,
        wallets.c.status == "active",
    )
    change = Move(
        kind="granted",
        source="adjustment",
        credits=to_credits(credited.minor, wallet.rate_amount),
        at=credited.at,
        invoice_id=credited.invoice_id,
    )
    await wallet_move_store.move(tx, wallet, change)


async def carryover_of(connection: AsyncConnection, invoice_id: UUID) -> int:
    """Return what a stored invoice carries over to a wallet, in minor units."""
    statement = select(func.coalesce(func.sum(invoice_lines.c.amount_minor), 0)).where(
        invoice_lines.c.invoice_id == invoice_id, invoice_lines.c.kind == CREDIT
    )
    return int(await connection.scalar(statement) or 0)
