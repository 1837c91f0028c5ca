"""The ledger of the sandbox provider: what a remote provider would remember of its charges."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update

from adapters.postgres.rows import AsyncConnection, Row
from models.tables import sandbox_charges


async def take_turn(connection: AsyncConnection, key: str) -> None:
    """Keep other calls with the same key waiting until the transaction ends: two must not both decide."""
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


async def entry(connection: AsyncConnection, key: str) -> Row[Any] | None:
    """Find a charge by its idempotency key."""
    found = await connection.execute(select(sandbox_charges).where(sandbox_charges.c.idempotency_key == key))
    row: Row[Any] | None = found.one_or_none()
    return row


async def declines(connection: AsyncConnection, project_id: UUID, customer_ref: str | None) -> int:
    """Count how often a customer of a project was declined before."""
    counted = await connection.execute(
        select(func.count()).where(
            sandbox_charges.c.customer_ref == customer_ref,
            sandbox_charges.c.metadata["project_id"].astext == str(project_id),
            sandbox_charges.c.status == "declined",
        )
    )
    return int(counted.scalar_one())


async def record(connection: AsyncConnection, values: Mapping[str, Any]) -> Row[Any]:
    """Write a charge and what was decided about it."""
    written = await connection.execute(insert(sandbox_charges).values(**values).returning(sandbox_charges))
    row: Row[Any] = written.one()
    return row


async def abandon(connection: AsyncConnection, key: str) -> None:
    """Cancel a charge that waits for its customer; one that was decided stays as it is."""
    await connection.execute(
        update(sandbox_charges)
        .where(sandbox_charges.c.idempotency_key == key, sandbox_charges.c.status == "requires_action")
        .values(status="canceled", failure_code="abandoned")
    )
