"""Outbox rows that nobody can read: set aside with their error, shown to operators, released when it is mended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import Transaction
from models.tables import outbox, projects

_LONGEST_ERROR: Final = 500


@dataclass(frozen=True)
class ParkedRow:
    """A row that waits for an operator."""

    id: int
    project_id: UUID
    topic: str
    ordering_key: str
    last_error: str
    parked_at: datetime


async def park(connection: AsyncConnection, row_id: int, project_id: UUID, error: str) -> None:
    """Set a row aside, with a notification in its project; later rows of its key go on without it."""
    values = {"delivered_at": None, "parked_at": func.clock_timestamp(), "last_error": error[:_LONGEST_ERROR]}
    await connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))
    owner = select(projects.c.organization_id).where(projects.c.id == project_id)
    organization: Any = await connection.scalar(owner)
    if organization is None:
        return
    await Transaction(connection, ProjectScope(organization, project_id), SYSTEM_ACTOR).notify(
        kind="outbox",
        title="A message could not be delivered and was set aside",
        body=f"Row {row_id} of the outbox: {error[:_LONGEST_ERROR]}. An operator can look at it with `durabill outbox` "
        f"and send it with `durabill outbox --release {row_id}`.",
        resource_type="outbox",
        resource_id=None,
        key=f"outbox.parked/{row_id}",
    )


async def parked(connection: AsyncConnection, *, limit: int = 1000) -> Sequence[ParkedRow]:
    """List what was set aside, oldest first (system scope)."""
    columns = (outbox.c.id, outbox.c.project_id, outbox.c.topic, outbox.c.ordering_key, outbox.c.last_error)
    found = select(*columns, outbox.c.parked_at).where(text("parked_at IS NOT NULL")).order_by(outbox.c.id)
    return [ParkedRow(*row) for row in await connection.execute(found.limit(limit))]


async def release_parked(connection: AsyncConnection, row_id: int) -> bool:
    """Let the relay deliver a row that was set aside; returns whether there is such a row (system scope)."""
    waiting = update(outbox).where(outbox.c.id == bindparam("row"), text("parked_at IS NOT NULL"))
    changed = await connection.execute(
        waiting.values(parked_at=None, attempts=0, next_attempt_at=func.clock_timestamp()), {"row": row_id}
    )
    return changed.rowcount == 1


async def list_or_release(database: Database, *, release: int | None) -> tuple[Sequence[ParkedRow], bool]:
    """Release a row if one is named, then list what is still set aside; returns whether one was released."""
    try:
        async with database.transaction(SYSTEM) as connection:
            released = release is not None and await release_parked(connection, release)
            return await parked(connection), released
    finally:
        await database.close()
