"""Clean-up of what grows with time: stored answers, read notifications, audit entries, keys of events (system scope).

Each statement deletes the oldest rows, a bounded number at a time, by an index that leads with their time.
"""

from datetime import timedelta
from typing import Final

from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

#: Rows of one statement.
MOST: Final = 10_000

_ANSWERS: Final = text("""
    DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < clock_timestamp() - CAST(:kept AS interval)
        ORDER BY created_at LIMIT :most))
""")
_NOTIFICATIONS: Final = text("""
    DELETE FROM notifications WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM notifications
        WHERE created_at < clock_timestamp() - CAST(:kept AS interval) AND read_at IS NOT NULL
        ORDER BY created_at LIMIT :most))
""")
_AUDIT: Final = text("""
    DELETE FROM audit_log WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM audit_log WHERE recorded_at < clock_timestamp() - CAST(:kept AS interval) LIMIT :most))
""")
# An event's id begins with the instant of its arrival: an old event that arrived today keeps its key as long as others.
_EVENT_KEYS: Final = text("""
    DELETE FROM event_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM event_keys WHERE event_id < (
            SELECT CAST(rpad(lpad(to_hex(CAST(extract(epoch FROM clock_timestamp() - CAST(:kept AS interval)) * 1000
                                              AS bigint)), 12, '0'), 32, '0') AS uuid))
        LIMIT :most))
""")


async def _deleted(connection: AsyncConnection, statement: TextClause, kept: timedelta, most: int) -> int:
    result: CursorResult[tuple[()]] = await connection.execute(statement, {"kept": kept, "most": most})
    return result.rowcount


async def prune_answers(connection: AsyncConnection, *, kept: timedelta, most: int = MOST) -> int:
    """Delete answers of idempotent requests that are no longer replayed; returns how many."""
    return await _deleted(connection, _ANSWERS, kept, most)


async def prune_notifications(connection: AsyncConnection, *, kept: timedelta, most: int = MOST) -> int:
    """Delete notifications of that age that somebody has read; returns how many."""
    return await _deleted(connection, _NOTIFICATIONS, kept, most)


async def prune_audit(connection: AsyncConnection, *, kept: timedelta, most: int = MOST) -> int:
    """Delete audit entries that were recorded longer ago; returns how many."""
    return await _deleted(connection, _AUDIT, kept, most)


async def prune_event_keys(connection: AsyncConnection, *, kept: timedelta, most: int = MOST) -> int:
    """Delete keys of events that arrived longer ago, after which such a key counts again; returns how many."""
    return await _deleted(connection, _EVENT_KEYS, kept, most)
