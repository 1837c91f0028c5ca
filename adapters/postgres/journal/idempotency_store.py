"""Stored answers of requests that carried an ``Idempotency-Key`` (C6)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from models.tables import idempotency_keys

KEPT: Final = timedelta(days=7)
"""How long an answer is replayed; at least 24 hours are promised."""


@dataclass(frozen=True)
class IdempotentRequest:
    """One request as idempotency sees it: where, under which key, and the hash of what it says."""

    project_id: UUID
    route: str
    key: str
    request_hash: bytes


@dataclass(frozen=True)
class StoredAnswer:
    """An answer that was given once and is given again."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class IdempotencyConflict:
    """Why the request may not run: another body under the same key, or the first one is still running."""

    reason: Literal["other_request", "in_progress"]


_table = idempotency_keys.c
_now = func.clock_timestamp()


async def claim(
    connection: AsyncConnection, asked: IdempotentRequest, *, lock_seconds: int
) -> StoredAnswer | IdempotencyConflict | None:
    """Take the key for this request; None means that it is ours and the work may begin.

    A holder that crashed loses the key when its lock expires; returns older than ``KEPT`` count as never given.
    """
    locked = _now + func.make_interval(0, 0, 0, 0, 0, 0, lock_seconds)
    expired = _table.created_at < _now - KEPT
    abandoned = and_(
        _table.response_status.is_(None), _table.locked_until < _now, _table.request_hash == asked.request_hash
    )
    fresh = {"response_status": None, "response_headers": None, "response_body": None, "created_at": _now}
    taken = await connection.execute(
        insert(idempotency_keys)
        .values(**vars(asked), locked_until=locked)
        .on_conflict_do_update(
            index_elements=[_table.project_id, _table.route, _table.key],
            set_={"request_hash": asked.request_hash, "locked_until": locked, **fresh},
            where=or_(expired, abandoned),
        )
        .returning(_table.key)
    )
    if taken.first() is not None:
        return None
    row = (await connection.execute(select(idempotency_keys).where(*_same(asked)))).first()
    if row is None or (row.response_status is None and row.request_hash == asked.request_hash):
        return IdempotencyConflict("in_progress")
    if row.request_hash != asked.request_hash:
        return IdempotencyConflict("other_request")
    return StoredAnswer(row.response_status, row.response_headers or {}, row.response_body or b"")


async def store_response(connection: AsyncConnection, asked: IdempotentRequest, answer: StoredAnswer) -> None:
    """Store the answer for those who ask again."""
    await connection.execute(
        update(idempotency_keys)
        .where(*_same(asked))
        .values(
            response_status=answer.status,
            response_headers=answer.headers,
            response_body=answer.body,
            locked_until=None,
        )
    )


async def release(connection: AsyncConnection, asked: IdempotentRequest) -> None:
    """Give the key back, so that the request can be made again at once."""
    await connection.execute(delete(idempotency_keys).where(*_same(asked), _table.response_status.is_(None)))


async def forget_old(connection: AsyncConnection) -> None:
    """Delete the answers that are no longer replayed; the transaction is a SYSTEM one."""
    await connection.execute(delete(idempotency_keys).where(_table.created_at < _now - KEPT))


def _same(asked: IdempotentRequest) -> tuple[ColumnElement[bool], ...]:
    return (_table.project_id == asked.project_id, _table.route == asked.route, _table.key == asked.key)
