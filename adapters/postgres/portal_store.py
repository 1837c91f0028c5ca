"""What the portal's first page counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.invoice_store import OPEN_STATUSES
from models.tables import invoices


@dataclass(frozen=True)
class Outstanding:
    """A customer's open invoices of one currency, in minor units."""

    currency: str
    invoices: int
    amount_minor: int


async def outstanding(connection: AsyncConnection, customer_id: UUID) -> Sequence[Outstanding]:
    """Add up a customer's invoices that are to be paid, by currency, the largest number of them first."""
    currency = func.upper(invoices.c.currency)
    count = func.count()
    statement = (
        select(currency, count, func.sum(invoices.c.total_minor))
        .where(invoices.c.customer_id == customer_id, invoices.c.status.in_(OPEN_STATUSES))
        .group_by(currency)
        .order_by(count.desc(), currency)
    )
    return [Outstanding(row[0], row[1], int(row[2])) for row in (await connection.execute(statement)).all()]
