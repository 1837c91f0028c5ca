"""What the relay reads and writes: outbox rows that are due, usage marks that are ahead of their signal.

Nothing here reads "everything after id N": rows become visible in the order of their commits, not of their ids, so a
remembered maximum would lose the late ones. A row is due until it says that it was delivered, and a mark until its
signalled version has caught up.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import Database, driver
from models.tables import outbox, usage_watermarks

#: Any number that no other program of this database uses for its advisory locks.
_LEADER: Final = 0x_D0_4A_B1_11
_KEPT: Final = timedelta(days=7)
_LONGEST_PAUSE_SECONDS: Final = 15
#: In the words of the index; webhooks are delivered by adapters/webhooks.
_WAITING: Final = text("outbox.delivered_at IS NULL AND outbox.parked_at IS NULL AND outbox.topic <> 'webhook'")

# Both lock the marks in the order in which the ingestion does.
_SIGNALLED: Final = """
    WITH told AS MATERIALIZED (
        SELECT m.subscription_id, t.version
        FROM unnest(%(subscriptions)s::uuid[], %(versions)s::bigint[]) AS t (subscription_id, version)
        JOIN usage_watermarks m ON m.subscription_id = t.subscription_id AND m.signalled_version < t.version
        ORDER BY m.subscription_id FOR UPDATE OF m
    )
    UPDATE usage_watermarks m SET signalled_version = told.version, signalled_at = clock_timestamp()
    FROM told WHERE m.subscription_id = told.subscription_id
"""
_DEFERRED: Final = """
    WITH waiting AS MATERIALIZED (
        SELECT m.subscription_id FROM usage_watermarks m WHERE m.subscription_id = ANY(%(subscriptions)s)
        ORDER BY m.subscription_id FOR UPDATE
    )
    UPDATE usage_watermarks m SET signalled_at = clock_timestamp() + make_interval(secs => %(seconds)s)
    FROM waiting WHERE m.subscription_id = waiting.subscription_id
"""


@dataclass(frozen=True)
class DueRow:
    """An outbox row that should be delivered now."""

    id: int
    project_id: UUID
    topic: str
    ordering_key: str
    payload: dict[str, Any]
    attempts: int


@dataclass(frozen=True)
class DueWatermark:
    """A subscription whose usage has changed since it was last told."""

    project_id: UUID
    subscription_id: UUID
    version: int


@asynccontextmanager
async def leadership(database: Database) -> AsyncIterator[AsyncConnection | None]:
    """Try to become the one relay of this database; returns the connection that holds the lock, or None.

    Postgres lets go of the lock when the connection ends, however the process died.
    """
    async with database.system_engine.connect() as opened:
        connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        locked = await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LEADER})
        try:
            yield connection if locked else None
        finally:
            if locked and not connection.invalidated:
                # A connection that is lost has let go already; saying so must not hide why the leadership ends.
                with suppress(SQLAlchemyError, OSError):
                    await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LEADER})


async def still_leads(connection: AsyncConnection) -> None:
    """Ask over the connection that holds the lock; raises when it is lost, and the lock with it."""
    await connection.execute(text("SELECT 1"))


async def due_rows(connection: AsyncConnection, *, limit: int) -> list[DueRow]:
    """Return rows to deliver, oldest first; none whose key has an older row that waits for a later attempt."""
    older = outbox.alias("older")
    blocked = select(literal(1)).where(
        older.c.ordering_key == outbox.c.ordering_key,
        text("older.delivered_at IS NULL AND older.parked_at IS NULL AND older.topic <> 'webhook'"),
        older.c.id < outbox.c.id,
        older.c.next_attempt_at > func.clock_timestamp(),
    )
    due = and_(outbox.c.next_attempt_at <= func.clock_timestamp(), ~blocked.exists())
    return await _undelivered(connection, due, limit)


async def rows_of(connection: AsyncConnection, ordering_key: str, *, limit: int = 100) -> list[DueRow]:
    """Return every undelivered row of one key, oldest first, also those that wait for a later attempt."""
    return await _undelivered(connection, outbox.c.ordering_key == ordering_key, limit)


async def _undelivered(connection: AsyncConnection, condition: ColumnElement[bool], limit: int) -> list[DueRow]:
    columns = (
        outbox.c.id,
        outbox.c.project_id,
        outbox.c.topic,
        outbox.c.ordering_key,
        outbox.c.payload,
        outbox.c.attempts,
    )
    statement = select(*columns).where(_WAITING, condition).order_by(outbox.c.id).limit(limit)
    return [DueRow(*row) for row in (await connection.execute(statement)).all()]


async def mark_delivered(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Note that rows were delivered; again is harmless."""
    await connection.execute(
        update(outbox)
        .where(outbox.c.id.in_(ids), outbox.c.delivered_at.is_(None))
        .values(delivered_at=func.clock_timestamp(), attempts=outbox.c.attempts + 1, last_error=None)
    )


async def mark_failed(connection: AsyncConnection, row: DueRow, error: str) -> None:
    """Note that a row could not be delivered; the pause doubles from one second to fifteen."""
    pause = min(2 ** min(row.attempts, 10), _LONGEST_PAUSE_SECONDS)
    await connection.execute(
        update(outbox)
        .where(outbox.c.id == row.id, outbox.c.delivered_at.is_(None))
        .values(
            attempts=outbox.c.attempts + 1,
            last_error=error[:500],
            next_attempt_at=func.clock_timestamp() + timedelta(seconds=pause),
        )
    )


async def retry_all_now(connection: AsyncConnection) -> None:
    """Make every row that waits for a later attempt due now: what kept them from being delivered is over."""
    await connection.execute(
        update(outbox)
        .where(_WAITING, outbox.c.next_attempt_at > func.clock_timestamp())
        .values(next_attempt_at=func.clock_timestamp())
    )


async def prune(connection: AsyncConnection, *, most: int) -> int:
    """Delete rows that were delivered more than a week ago, the oldest first; returns how many."""
    long_ago = outbox.c.delivered_at < func.clock_timestamp() - _KEPT
    old = select(outbox.c.id).where(long_ago).order_by(outbox.c.delivered_at).limit(most)
    return (await connection.execute(delete(outbox).where(outbox.c.id.in_(old)))).rowcount


async def due_watermarks(connection: AsyncConnection, *, quiet_ms: int, busy_ms: int, limit: int) -> list[DueWatermark]:
    """Return subscriptions with usage to tell: once their events pause for `quiet_ms`, at least every `busy_ms`."""
    now = func.clock_timestamp()
    pause, interval = timedelta(milliseconds=quiet_ms), timedelta(milliseconds=busy_ms)
    paused = usage_watermarks.c.marked_at <= now - pause
    overdue = or_(usage_watermarks.c.signalled_at.is_(None), usage_watermarks.c.signalled_at <= now - interval)
    rested = or_(usage_watermarks.c.signalled_at.is_(None), usage_watermarks.c.signalled_at <= now - pause)
    statement = (
        select(usage_watermarks.c.project_id, usage_watermarks.c.subscription_id, usage_watermarks.c.version)
        .where(usage_watermarks.c.version > usage_watermarks.c.signalled_version, or_(and_(paused, rested), overdue))
        .order_by(usage_watermarks.c.marked_at)
        .limit(limit)
    )
    return [
        DueWatermark(row.project_id, row.subscription_id, row.version) for row in await connection.execute(statement)
    ]


async def mark_signalled(connection: AsyncConnection, versions: Sequence[tuple[UUID, int]]) -> None:
    """Note up to which version subscriptions were told."""
    if versions:
        names = {"subscriptions": [each for each, _ in versions], "versions": [version for _, version in versions]}
        await (await driver(connection)).execute(_SIGNALLED, names, prepare=True)


async def defer_watermarks(
    connection: AsyncConnection, subscription_ids: Sequence[UUID], *, seconds: float = _LONGEST_PAUSE_SECONDS
) -> None:
    """Let marks wait whose workflow is not running, so that they do not crowd out the others."""
    if subscription_ids:
        names = {"subscriptions": list(subscription_ids), "seconds": seconds}
        await (await driver(connection)).execute(_DEFERRED, names, prepare=True)
