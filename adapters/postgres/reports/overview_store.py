"""Counts for the dashboard's first page."""

from dataclasses import dataclass

from sqlalchemy import Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from models.tables import customers, events, invoices, plans, subscriptions

MOST_COUNTED = 100_000
"""Where counting of a large table stops."""


@dataclass(frozen=True)
class Overview:
    """How much there is in a project; ``events`` stops at ``MOST_COUNTED``."""

    customers: int
    plans: int
    events: int
    subscriptions: dict[str, int]
    invoices: dict[str, int]


async def overview(connection: AsyncConnection) -> Overview:
    """Count what the transaction's project has: subscriptions and invoices by status."""
    known = select(func.count()).select_from(customers)
    alive = known.where(customers.c.deleted_at.is_(None), customers.c.is_organization.is_(False))
    some = select(events.c.project_id).limit(MOST_COUNTED).subquery()
    return Overview(
        customers=int(await connection.scalar(alive) or 0),
        plans=int(await connection.scalar(select(func.count()).select_from(plans)) or 0),
        events=int(await connection.scalar(select(func.count()).select_from(some)) or 0),
        subscriptions=await _by_status(connection, subscriptions),
        invoices=await _by_status(connection, invoices),
    )


async def _by_status(connection: AsyncConnection, table: Table) -> dict[str, int]:
    rows = await connection.execute(
        select(table.c.status, func.count()).group_by(table.c.status).order_by(table.c.status)
    )
    return {status: int(number) for status, number in rows.all()}
