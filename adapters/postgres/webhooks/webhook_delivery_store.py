"""What the delivery of webhooks reads and writes: what is due, how attempts end, what is tried again (C9, B165).

The relay sends what is ``pending``. The transaction that records a scheduled attempt that failed also writes the outbox
row that tells the delivery's workflow, which keeps the times of the attempts that follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.journal import outbox_store
from adapters.postgres.prepared import Prepared
from adapters.postgres.webhooks import webhook_health_store
from models.identifiers import WEBHOOK_WORKFLOW, new_id, webhook_workflow_id
from models.messages.webhooks import RetryWebhook, WebhookDeliveryState

_OVERDUE: Final = timedelta(hours=1)


@dataclass(frozen=True)
class DueDelivery:
    """A message that should be sent to an endpoint now; ``scheduled_attempts`` of its schedule were made before.

    ``failing``: the endpoint has accepted nothing for a while, and may hang.
    """

    id: UUID
    organization_id: UUID
    project_id: UUID
    endpoint_id: UUID
    url: str
    secrets: tuple[str, ...]
    scheduled_attempts: int
    message_id: str
    message_type: str
    ordering_key: str
    payload: dict[str, Any]
    failing: bool = False


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended; ``http_status`` is None if no answer came, ``retry_after`` if it asked for no pause."""

    success: bool
    http_status: int | None
    response_body: str | None
    error: str | None
    attempted_at: datetime
    duration_ms: int
    retry_after: timedelta | None = None


@dataclass(frozen=True)
class FinishedAttempt:
    """An attempt to write down: after a failure the next one is due when ``pause`` is over, never if it is None.

    One that somebody asked for (``asked``) leaves the schedule as it was.
    """

    delivery: DueDelivery
    attempt: Attempt
    pause: timedelta | None = None
    asked: bool = False


#: A receiver that fails now and then accepts a retry within this; one that hangs is known after its first time limit.
_FAILS: Final = "coalesce(e.failing_since <= clock_timestamp() - interval '10 seconds', false)"
_COLUMNS: Final = f"""
    d.id, p.organization_id, d.project_id, e.id AS endpoint_id, e.url,
    CASE WHEN e.old_secret_until > clock_timestamp() THEN e.secrets ELSE e.secrets[1:1] END AS secrets,
    d.scheduled_attempts, m.id AS message_id, m.type AS message_type, m.ordering_key, m.payload,
    {_FAILS} AS failing
"""

# The first part steps from one endpoint with something to do to the next, however much each has to do. Who has waited
# longest comes first; those that fail have a share of their own, so that however many they are, they delay no other.
_DUE: Final = Prepared(
    text(f"""
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id FROM webhook_deliveries WHERE status = 'pending' AND next_attempt_at IS NOT NULL
     ORDER BY endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.endpoint_id FROM webhook_deliveries d
            WHERE d.status = 'pending' AND d.next_attempt_at IS NOT NULL AND d.endpoint_id > waiting.endpoint_id
            ORDER BY d.endpoint_id LIMIT 1)
    FROM waiting WHERE waiting.endpoint_id IS NOT NULL
), ready AS (
    SELECT e.*, oldest.next_attempt_at AS since FROM waiting JOIN webhook_endpoints e ON e.id = waiting.endpoint_id
    CROSS JOIN LATERAL (
        SELECT d.next_attempt_at FROM webhook_deliveries d
        WHERE d.endpoint_id = e.id AND d.status = 'pending' AND d.next_attempt_at <= clock_timestamp()
        ORDER BY d.next_attempt_at LIMIT 1
    ) oldest
    WHERE e.status = 'active' AND e.deleted_at IS NULL AND e.id <> ALL(CAST(:busy AS uuid[]))
), chosen AS (
    (SELECT * FROM ready e WHERE NOT {_FAILS} ORDER BY since LIMIT :endpoints)
    UNION ALL
    (SELECT * FROM ready e WHERE {_FAILS} ORDER BY since LIMIT :failing)
)
SELECT {_COLUMNS}
FROM chosen e JOIN projects p ON p.id = e.project_id CROSS JOIN LATERAL (
    SELECT * FROM webhook_deliveries
    WHERE endpoint_id = e.id AND status = 'pending' AND next_attempt_at <= clock_timestamp()
    ORDER BY next_attempt_at, id LIMIT :each
) d JOIN webhook_messages m ON m.id = d.message_id
ORDER BY e.id, d.next_attempt_at, d.id
""")  # noqa: S608  the columns are a constant of this file
)

_ONE: Final = Prepared(
    text(f"""
SELECT {_COLUMNS}, d.status, d.attempts, d.next_attempt_at, d.next_attempt_at - clock_timestamp() AS due_in,
    e.status = 'active' AND e.deleted_at IS NULL AS open, e.deleted_at IS NULL AS exists, d.last_error
FROM webhook_deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id JOIN projects p ON p.id = d.project_id
JOIN webhook_messages m ON m.id = d.message_id WHERE d.id = :id
""")  # noqa: S608  the columns are a constant of this file
)

# A success is final, whatever another attempt that ran at the same time says. What the relay is to send (a replay asked
# for it meanwhile) stays so when somebody's own attempt fails.
_RECORD: Final = Prepared(
    text("""
WITH o AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempt_ids AS uuid[]), CAST(:successes AS boolean[]),
        CAST(:statuses AS int[]), CAST(:bodies AS text[]), CAST(:errors AS text[]), CAST(:instants AS timestamptz[]),
        CAST(:durations AS int[]), CAST(:pauses AS interval[]), CAST(:asked AS boolean[]))
    AS o (id, attempt_id, success, http_status, body, error, at, duration_ms, pause, asked)
), d AS (
    UPDATE webhook_deliveries d SET
        attempts = d.attempts + 1, scheduled_attempts = d.scheduled_attempts + CASE WHEN o.asked THEN 0 ELSE 1 END,
        updated_at = clock_timestamp(),
        status = CASE WHEN o.success OR d.status = 'succeeded' THEN 'succeeded'
            WHEN o.asked THEN d.status ELSE 'failed' END,
        next_attempt_at = CASE WHEN o.success OR d.status = 'succeeded' THEN NULL WHEN o.asked THEN d.next_attempt_at
            WHEN e.status = 'active' AND e.deleted_at IS NULL THEN clock_timestamp() + o.pause END,
        last_attempt_at = CASE WHEN o.success OR d.status <> 'succeeded' THEN o.at ELSE d.last_attempt_at END,
        last_http_status = CASE WHEN o.success OR d.status <> 'succeeded' THEN o.http_status
            ELSE d.last_http_status END,
        last_response = CASE WHEN o.success OR d.status <> 'succeeded' THEN o.body ELSE d.last_response END,
        last_error = CASE WHEN o.success OR d.status <> 'succeeded' THEN o.error ELSE d.last_error END
    FROM o, webhook_endpoints e WHERE d.id = o.id AND e.id = d.endpoint_id
    RETURNING d.id, d.project_id, d.status, d.attempts, d.scheduled_attempts, d.next_attempt_at
), a AS (
    INSERT INTO webhook_attempts (id, project_id, delivery_id, number, success, http_status, response_body, error,
        duration_ms, attempted_at)
    SELECT o.attempt_id, d.project_id, d.id, d.attempts, o.success, o.http_status, o.body, o.error, o.duration_ms, o.at
    FROM o JOIN d USING (id)
)
SELECT id, status, attempts, scheduled_attempts, next_attempt_at FROM d
""")
)

_END: Final = text("UPDATE webhook_deliveries SET next_attempt_at = NULL WHERE id = :id AND status = 'failed'")
_RESCUE: Final = text("""
UPDATE webhook_deliveries SET status = 'pending'
WHERE status = 'failed' AND next_attempt_at < clock_timestamp() - CAST(:overdue AS interval)
""")


async def due(
    connection: AsyncConnection, *, busy: Sequence[UUID], endpoints: int, failing: int, each: int
) -> list[DueDelivery]:
    """Return what the relay should send now: at most ``each`` for every endpoint, none for those in ``busy``.

    So many ``endpoints`` that do well, and so many that are ``failing``; who has waited longest comes first.
    """
    asked = {"busy": list(busy), "endpoints": max(0, endpoints), "failing": max(0, failing), "each": each}
    found = await _DUE.run(await driver(connection), asked)
    return [_due(row) for row in await found.fetchall()]


def _due(row: Any) -> DueDelivery:
    fields = {name: getattr(row, name) for name in DueDelivery.__dataclass_fields__}
    return DueDelivery(**{**fields, "secrets": tuple(row.secrets)})


@dataclass(frozen=True)
class DeliveryStatus:
    """A delivery and where it stands; ``due_in`` is None if no attempt follows, negative if one is overdue."""

    delivery: DueDelivery
    standing: WebhookDeliveryState
    status: str
    due_in: timedelta | None
    open: bool
    exists: bool


async def find(connection: AsyncConnection, delivery_id: UUID) -> DeliveryStatus | None:
    """Return a delivery as it would be sent now; ``open`` says that its endpoint is active, ``exists`` not deleted."""
    row = await (await _ONE.run(await driver(connection), {"id": delivery_id})).fetchone()
    if row is None:
        return None
    return DeliveryStatus(_due(row), _standing(row, row.last_error), row.status, row.due_in, row.open, row.exists)


def _standing(row: Any, said: str | None) -> WebhookDeliveryState:
    # A pending one is the relay's: no attempt of the workflow follows.
    following = row.next_attempt_at if row.status == "failed" else None
    return WebhookDeliveryState(
        status=row.status,
        attempts=row.attempts,
        scheduled_attempts=row.scheduled_attempts,
        next_attempt_at=following,
        said=said,
    )


async def record_first(
    connection: AsyncConnection, ended: Sequence[FinishedAttempt], *, disable_after: timedelta
) -> None:
    """Write how attempts of the relay ended, and start the workflows of what failed (see ``record``)."""
    standings = await record(connection, ended, disable_after=disable_after)
    for one, standing in zip(ended, standings, strict=True):
        if standing.next_attempt_at is not None:
            await _start_workflow(connection, one.delivery, standing)


async def record_requested(connection: AsyncConnection, ended: FinishedAttempt, *, disable_after: timedelta) -> None:
    """Write how an attempt ended that somebody asked for; a success ends the workflow that waits (see ``record``)."""
    (standing,) = await record(connection, [ended], disable_after=disable_after)
    if ended.attempt.success:
        await _signal_settled(connection, ended.delivery, standing)


async def record(
    connection: AsyncConnection, ended: Sequence[FinishedAttempt], *, disable_after: timedelta
) -> list[WebhookDeliveryState]:
    """Write how attempts ended, what follows, and what it says about their endpoints; gives where each delivery stands.

    An endpoint that has accepted nothing for ``disable_after`` is disabled, and what failed there is not tried again.
    Attempts of one delivery go in several calls.
    """
    await webhook_health_store.record_outcomes(
        connection, [(one.delivery.endpoint_id, one.attempt) for one in ended], disable_after=disable_after
    )
    rows = await (await _RECORD.run(await driver(connection), _parameters(ended))).fetchall()
    by_id = {row.id: row for row in rows}
    return [_standing(by_id[one.delivery.id], one.attempt.error) for one in ended]


def _parameters(ended: Sequence[FinishedAttempt]) -> dict[str, Any]:
    attempts = [one.attempt for one in ended]
    return {
        "ids": [one.delivery.id for one in ended],
        "attempt_ids": [new_id() for _ in ended],
        "successes": [attempt.success for attempt in attempts],
        "statuses": [attempt.http_status for attempt in attempts],
        "bodies": [attempt.response_body for attempt in attempts],
        "errors": [attempt.error for attempt in attempts],
        "instants": [attempt.attempted_at for attempt in attempts],
        "durations": [attempt.duration_ms for attempt in attempts],
        "pauses": [one.pause for one in ended],
        "asked": [one.asked for one in ended],
    }


async def _start_workflow(connection: AsyncConnection, delivery: DueDelivery, standing: WebhookDeliveryState) -> None:
    message = RetryWebhook(
        organization_id=delivery.organization_id,
        project_id=delivery.project_id,
        delivery_id=delivery.id,
        endpoint_id=delivery.endpoint_id,
        url=delivery.url,
        message_id=delivery.message_id,
        message_type=delivery.message_type,
        standing=standing,
    )
    await outbox_store.enqueue_start(
        connection,
        project_id=delivery.project_id,
        workflow=WEBHOOK_WORKFLOW,
        workflow_id=webhook_workflow_id(delivery.id),
        message=message,
    )


async def _signal_settled(connection: AsyncConnection, delivery: DueDelivery, standing: WebhookDeliveryState) -> None:
    await outbox_store.enqueue_signal(
        connection,
        project_id=delivery.project_id,
        workflow_id=webhook_workflow_id(delivery.id),
        signal="delivery_state_changed",
        message=standing,
    )


async def end(connection: AsyncConnection, delivery_id: UUID) -> None:
    """Let no attempt follow by itself."""
    await connection.execute(_END, {"id": delivery_id})


async def requeue_lost(connection: AsyncConnection) -> int:
    """Give back to the relay what is an hour overdue: its workflow is lost, with its cluster perhaps (system scope)."""
    return (await connection.execute(_RESCUE, {"overdue": _OVERDUE})).rowcount
