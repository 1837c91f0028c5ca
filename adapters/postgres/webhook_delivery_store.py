"""What the delivery of webhooks reads and writes: outbox rows become messages, messages are due, attempts end (C9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.outbox_store import WEBHOOK
from models.identifiers import new_id
from models.tables import outbox, webhook_attempts, webhook_deliveries, webhook_endpoints, webhook_messages


@dataclass(frozen=True)
class DueDelivery:
    """A message that should be sent to an endpoint now; ``attempts`` were made before."""

    id: UUID
    project_id: UUID
    endpoint_id: UUID
    url: str
    secrets: tuple[str, ...]
    attempts: int
    message_id: str
    ordering_key: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended; ``http_status`` is None if no answer came."""

    success: bool
    http_status: int | None
    response_body: str | None
    error: str | None
    attempted_at: datetime
    duration_ms: int


async def fan_out(connection: AsyncConnection, *, limit: int) -> int:
    """Turn waiting outbox rows into messages and their deliveries, each row once; answers how many rows.

    A message that no endpoint wants is not kept. Rows that another process works on are left to it.
    """
    waiting = (
        select(outbox.c.id, outbox.c.project_id, outbox.c.ordering_key, outbox.c.payload, outbox.c.created_at)
        .where(outbox.c.delivered_at.is_(None), outbox.c.topic == WEBHOOK)
        .order_by(outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = (await connection.execute(waiting)).all()
    if not rows:
        return 0
    wanted = _wanted(rows, await _endpoints(connection, {row.project_id for row in rows}))
    if wanted:
        await _write(connection, wanted)
    await connection.execute(
        update(outbox)
        .where(outbox.c.id.in_([row.id for row in rows]))
        .values(delivered_at=func.clock_timestamp(), attempts=outbox.c.attempts + 1, last_error=None)
    )
    return len(rows)


async def _endpoints(connection: AsyncConnection, projects: set[UUID]) -> Sequence[Any]:
    columns = (webhook_endpoints.c.id, webhook_endpoints.c.project_id, webhook_endpoints.c.events)
    found = select(*columns).where(
        webhook_endpoints.c.project_id.in_(projects),
        webhook_endpoints.c.deleted_at.is_(None),
        webhook_endpoints.c.status == "active",
    )
    return (await connection.execute(found.order_by(webhook_endpoints.c.id))).all()


def _wanted(rows: Sequence[Any], endpoints: Sequence[Any]) -> list[tuple[dict[str, Any], list[UUID]]]:
    """Pair each message with the endpoints that want it, leaving out what nobody wants."""
    pairs = []
    for row in rows:
        takers = [
            endpoint.id
            for endpoint in endpoints
            if endpoint.project_id == row.project_id and (not endpoint.events or row.payload["type"] in endpoint.events)
        ]
        if takers:
            pairs.append((_message(row), takers))
    return pairs


def _message(row: Any) -> dict[str, Any]:
    payload = envelope(row.payload, sequence=row.id, recorded_at=row.created_at)
    return {
        "id": payload["id"],
        "project_id": row.project_id,
        "outbox_id": row.id,
        "sequence": row.id,
        "ordering_key": row.ordering_key,
        "type": payload["type"],
        "payload": payload,
    }


def envelope(payload: Mapping[str, Any], *, sequence: int, recorded_at: datetime) -> dict[str, Any]:
    """Give what is sent: the seed's ``{type, data}`` with an id, an instant and a sequence (conflicts C26, B167).

    Whoever wrote the outbox row may have given the id and the instant (in the subscription's time) already.
    """
    moment = recorded_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": payload.get("id") or f"msg_{new_id().hex}",
        "type": payload["type"],
        "created_at": payload.get("created_at") or moment,
        "sequence": sequence,
        "data": payload["data"],
    }


async def _write(connection: AsyncConnection, wanted: list[tuple[dict[str, Any], list[UUID]]]) -> None:
    messages = [message for message, _ in wanted]
    made = await connection.execute(
        upsert(webhook_messages).on_conflict_do_nothing().returning(webhook_messages.c.id), messages
    )
    fresh = set(made.scalars())
    deliveries = [
        {
            "id": new_id(),
            "project_id": message["project_id"],
            "message_id": message["id"],
            "endpoint_id": endpoint_id,
        }
        for message, takers in wanted
        if message["id"] in fresh
        for endpoint_id in takers
    ]
    if deliveries:
        # The transaction's instant, so that those of one batch are equally due and go in the order of their ids.
        await connection.execute(insert(webhook_deliveries).values(next_attempt_at=func.now()), deliveries)


# The first part steps from one endpoint with something to do to the next, however much each has to do.
_DUE: Final = text("""
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.endpoint_id FROM webhook_deliveries d
            WHERE d.next_attempt_at IS NOT NULL AND d.endpoint_id > waiting.endpoint_id
            ORDER BY d.endpoint_id LIMIT 1)
    FROM waiting WHERE waiting.endpoint_id IS NOT NULL
), ready AS (
    SELECT e.id, e.url, e.secrets FROM waiting JOIN webhook_endpoints e ON e.id = waiting.endpoint_id
    WHERE e.status = 'active' AND e.deleted_at IS NULL AND e.id <> ALL(CAST(:busy AS uuid[]))
      AND EXISTS (SELECT FROM webhook_deliveries d
                  WHERE d.endpoint_id = e.id AND d.next_attempt_at <= clock_timestamp())
    LIMIT :endpoints
)
SELECT d.id, d.project_id, ready.id AS endpoint_id, ready.url, ready.secrets, d.attempts, m.id AS message_id,
    m.ordering_key, m.payload
FROM ready CROSS JOIN LATERAL (
    SELECT id, project_id, message_id, attempts, next_attempt_at FROM webhook_deliveries
    WHERE endpoint_id = ready.id AND next_attempt_at <= clock_timestamp()
    ORDER BY next_attempt_at, id LIMIT :each
) d JOIN webhook_messages m ON m.id = d.message_id
ORDER BY ready.id, d.next_attempt_at, d.id
""")


async def due(connection: AsyncConnection, *, busy: Sequence[UUID], endpoints: int, each: int) -> list[DueDelivery]:
    """Give what should be sent now: at most ``each`` for every endpoint, none for those in ``busy``."""
    if endpoints < 1:
        return []
    found = await connection.execute(_DUE, {"busy": list(busy), "endpoints": endpoints, "each": each})
    return [_due(row) for row in found]


def _due(row: Any) -> DueDelivery:
    fields = row._asdict()
    return DueDelivery(**{**fields, "secrets": tuple(fields["secrets"])})


async def get_delivery(connection: AsyncConnection, delivery_id: UUID) -> DueDelivery | None:
    """Give one delivery as it would be sent now, due or not; None if there is none or its endpoint is gone."""
    d, e, m = webhook_deliveries, webhook_endpoints, webhook_messages
    joined = d.join(e, e.c.id == d.c.endpoint_id).join(m, m.c.id == d.c.message_id)
    columns = (d.c.id, d.c.project_id, d.c.endpoint_id, e.c.url, e.c.secrets, d.c.attempts, d.c.message_id)
    statement = select(*columns, m.c.ordering_key, m.c.payload).select_from(joined)
    row = (await connection.execute(statement.where(d.c.id == delivery_id, e.c.deleted_at.is_(None)))).one_or_none()
    return None if row is None else _due(row)


async def record_attempt(
    connection: AsyncConnection, delivery: DueDelivery, attempt: Attempt, *, pause: timedelta | None
) -> None:
    """Write how an attempt ended; after a failure the next one is due when ``pause`` is over, or never if it is None.

    A success is final, whatever another attempt that ran at the same time says.
    """
    following = None if attempt.success or pause is None else func.clock_timestamp() + pause
    await _record(connection, delivery, attempt, {"next_attempt_at": following})


async def record_manual_attempt(connection: AsyncConnection, delivery: DueDelivery, attempt: Attempt) -> None:
    """Write how an attempt ended that somebody asked for; after a failure the schedule goes on as it was."""
    await _record(connection, delivery, attempt, {"next_attempt_at": None} if attempt.success else {})


async def _record(
    connection: AsyncConnection, delivery: DueDelivery, attempt: Attempt, following: Mapping[str, Any]
) -> None:
    number = await connection.scalar(
        update(webhook_deliveries)
        .where(webhook_deliveries.c.id == delivery.id)
        .values(attempts=webhook_deliveries.c.attempts + 1, updated_at=func.clock_timestamp())
        .returning(webhook_deliveries.c.attempts)
    )
    outcome = {
        "status": "succeeded" if attempt.success else "failed",
        "last_attempt_at": attempt.attempted_at,
        "last_http_status": attempt.http_status,
        "last_response": attempt.response_body,
        "last_error": attempt.error,
    }
    undecided = [] if attempt.success else [webhook_deliveries.c.status != "succeeded"]
    await connection.execute(
        update(webhook_deliveries)
        .where(webhook_deliveries.c.id == delivery.id, *undecided)
        .values(**outcome, **following)
    )
    await connection.execute(
        insert(webhook_attempts).values(
            id=new_id(),
            project_id=delivery.project_id,
            delivery_id=delivery.id,
            number=number,
            success=attempt.success,
            http_status=attempt.http_status,
            response_body=attempt.response_body,
            error=attempt.error,
            duration_ms=attempt.duration_ms,
            attempted_at=attempt.attempted_at,
        )
    )
