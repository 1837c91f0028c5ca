"""What the portal's first page counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.invoices.invoice_store import OPEN_STATUSES
from models.tables import invoices, wallets


@dataclass(frozen=True)
class Outstanding:
    """What is still due of a customer's open invoices of one currency, in minor units."""

    currency: str
    invoices: int
    amount_minor: int


async def outstanding(connection: AsyncConnection, customer_id: UUID) -> Sequence[Outstanding]:
    """Add up what is still due of a customer's invoices, by currency, the largest number of invoices first."""
    currency = func.upper(invoices.c.currency)
    count = func.count()
    statement = (
        select(currency, count, func.sum(invoices.c.total_minor - invoices.c.settled_minor))
        .where(invoices.c.customer_id == customer_id, invoices.c.status.in_(OPEN_STATUSES))
        .group_by(currency)
        .order_by(count.desc(), currency)
    )
    return [Outstanding(row[0], row[1], int(row[2])) for row in (await connection.execute(statement)).all()]


async def wallet_balances(connection: AsyncConnection, customer_id: UUID, at: datetime) -> Mapping[str, int]:
    """Return what a customer's wallets hold at an instant in whole minor units, by currency in capitals."""
    currency = func.upper(wallets.c.currency)
    statement = (
        select(currency, func.sum(func.floor(wallets.c.credits_balance * wallets.c.rate_amount)))
        .where(
            wallets.c.customer_id == customer_id,
            wallets.c.status == "active",
            or_(wallets.c.expires_at.is_(None), wallets.c.expires_at > at),
        )
        .group_by(currency)
    )
    return {row[0]: int(row[1]) for row in (await connection.execute(statement)).all()}
