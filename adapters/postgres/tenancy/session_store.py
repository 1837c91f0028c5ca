"""Sessions of the dashboard: a row for each, found by the hash of its cookie, gone at log-out (system scope)."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from models.tables import dashboard_sessions

_table = dashboard_sessions.c
_now = func.clock_timestamp()


@dataclass(frozen=True)
class OpenSession:
    """The API key that a session was begun with, and the token that its forms carry."""

    key_id: UUID
    csrf: str


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


async def begin(connection: AsyncConnection, token: str, session: OpenSession, *, lasts: timedelta) -> None:
    """Store a session; of its token only the hash is kept."""
    values = {"token_hash": _hashed(token), "key_id": session.key_id, "csrf": session.csrf}
    await connection.execute(insert(dashboard_sessions).values(**values, expires_at=_now + lasts))


async def find(connection: AsyncConnection, token: str) -> OpenSession | None:
    """Return the session of a token; None for one that is unknown, over or expired."""
    found = select(_table.key_id, _table.csrf).where(_table.token_hash == _hashed(token), _table.expires_at > _now)
    row = (await connection.execute(found)).first()
    return None if row is None else OpenSession(row.key_id, row.csrf)


async def end(connection: AsyncConnection, token: str) -> None:
    """End the session of a token; again is harmless."""
    await connection.execute(delete(dashboard_sessions).where(_table.token_hash == _hashed(token)))


async def forget_expired(connection: AsyncConnection) -> None:
    """Delete the sessions that have expired."""
    await connection.execute(delete(dashboard_sessions).where(_table.expires_at <= _now))
