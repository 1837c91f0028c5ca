"""What an invoice owes to its customer: an invoice is never negative, the difference becomes credits in a wallet.

An adjustment may take more off than an invoice has. The invoice then gets a line that names what goes to the wallet,
so that it is 0 and the sum of its lines (C2), and the wallet gets a transaction that names the invoice. The next
invoices draw on it (B133); an operator sees it, may transfer it, or pays it out by hand.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.wallets import wallet_move_store
from adapters.postgres.wallets.wallet_move_store import Move, WalletRecord
from billing.closing.bill import CREDIT
from billing.money import exponent
from billing.wallets import to_credits
from models.identifiers import new_id
from models.tables import invoice_lines, wallets


async def lock_wallet(tx: Transaction, customer_id: UUID, currency: str) -> WalletRecord:
    """Lock the customer's wallet for adjustments, which is made when it is needed; before a number is drawn."""
    code = f"adjustments_{currency.lower()}"
    made = insert(wallets).values(
        id=new_id(),
        project_id=tx.scope.project_id,
        customer_id=customer_id,
        name="Credits from adjustments",
        code=code,
        currency=currency,
        rate_amount=Decimal(10) ** exponent(currency),
    )
    await tx.connection.execute(made.on_conflict_do_nothing())
    (wallet,) = await wallet_move_store.locked(
        tx.connection,
        wallets.c.customer_id == customer_id,
        wallets.c.code == code,
        wallets.c.status == "active",
    )
    return wallet


async def grant(tx: Transaction, wallet: WalletRecord, invoice_id: UUID, *, minor: int, at: datetime) -> None:
    """Put what an issued invoice carries over into the wallet that `lock_wallet` gave, in minor units."""
    credits = to_credits(minor, wallet.rate_amount)
    change = Move(kind="granted", source="adjustment", credits=credits, at=at, invoice_id=invoice_id)
    await wallet_move_store.move(tx, wallet, change)


async def carryover_of(connection: AsyncConnection, invoice_id: UUID) -> int:
    """Return what a stored invoice carries over to a wallet, in minor units."""
    statement = select(func.coalesce(func.sum(invoice_lines.c.amount_minor), 0)).where(
        invoice_lines.c.invoice_id == invoice_id, invoice_lines.c.kind == CREDIT
    )
    return int(await connection.scalar(statement) or 0)
