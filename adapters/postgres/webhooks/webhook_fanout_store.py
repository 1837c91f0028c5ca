"""Webhook rows of the outbox become messages and deliveries: each row once, numbered for each resource (C9, B167).

A resource's messages are numbered here, by one process at a time and in the order in which their rows became visible,
so that a number never belongs to something older than a smaller one: what commits later is numbered later. Rows that
nobody wants cost one statement, however many they are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver, exact_json
from adapters.postgres.journal.outbox_store import envelope
from adapters.postgres.prepared import Prepared
from adapters.postgres.subscriptions import parking_store
from models.identifiers import new_id

_LOCK: Final = 0x_D0_4A_B1_12


def subscribes_to(events: str, message_type: str) -> str:
    """Write in SQL whether a list of event types has a type: by name, as `invoice.*`, or by being empty."""
    kind = f"split_part({message_type}, '.', 1) || '.*'"
    return f"(cardinality({events}) = 0 OR {events} && ARRAY[{message_type}, {kind}])"


# Everything that waits is marked as delivered; only what somebody wants is read. Nobody is told what happened before
# the endpoint was registered (a replay tells that on request). What a disabled endpoint asks for is kept for a replay.
_TAKE: Final = Prepared(
    text(f"""
WITH lock AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(:lock) AS got),
waiting AS MATERIALIZED (
    SELECT id, project_id, payload->>'type' AS type, payload->>'id' AS message_id, created_at FROM outbox
    WHERE delivered_at IS NULL AND parked_at IS NULL AND topic = 'webhook' AND (SELECT got FROM lock)
    ORDER BY id LIMIT :most
), taken AS MATERIALIZED (
    SELECT w.id, w.message_id, (
        SELECT coalesce(array_agg(e.id ORDER BY e.id) FILTER (WHERE e.status = 'active'), '{{}}')
        FROM webhook_endpoints e
        WHERE e.project_id = w.project_id AND e.deleted_at IS NULL AND e.created_at <= w.created_at
          AND {subscribes_to("e.events", "w.type")}
        HAVING count(*) > 0
    ) AS takers
    FROM waiting w
), wanted AS MATERIALIZED (
    SELECT t.id, CASE WHEN t.takers IS NOT NULL AND NOT EXISTS (
        SELECT FROM webhook_messages m WHERE m.outbox_id = t.id OR m.id = t.message_id) THEN t.takers END AS takers
    FROM taken t
), done AS (
    UPDATE outbox o SET delivered_at = clock_timestamp(), attempts = o.attempts + 1, last_error = NULL
    FROM wanted w WHERE o.id = w.id AND o.delivered_at IS NULL
    RETURNING o.id, o.project_id, o.ordering_key, o.created_at, w.takers,
        CASE WHEN w.takers IS NOT NULL THEN o.payload END AS payload
)
SELECT counted.rows, d.* FROM (SELECT count(*) AS rows FROM done) counted
LEFT JOIN (SELECT * FROM done WHERE takers IS NOT NULL) d ON true
ORDER BY d.id
""")  # noqa: S608 - put together from constants
)

_LAST_NUMBERS: Final = Prepared(
    text("""
SELECT k.project_id, k.ordering_key, greatest((
    SELECT m.sequence FROM webhook_messages m
    WHERE m.project_id = k.project_id AND m.ordering_key = k.ordering_key ORDER BY m.sequence DESC LIMIT 1
), (
    SELECT s.sequence FROM webhook_sequences s WHERE s.project_id = k.project_id AND s.ordering_key = k.ordering_key
), 0) AS sequence
FROM unnest(CAST(:projects AS uuid[]), CAST(:keys AS text[])) AS k (project_id, ordering_key)
""")
)

_WRITE_MESSAGES: Final = Prepared(
    text("""
INSERT INTO webhook_messages (id, project_id, outbox_id, ordering_key, sequence, type, payload)
SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:projects AS uuid[]), CAST(:rows AS bigint[]), CAST(:keys AS text[]),
    CAST(:sequences AS bigint[]), CAST(:types AS text[]), CAST(:payloads AS jsonb[]))
""")
)

# The transaction's instant, so that those of one batch are equally due and go in the order of their ids.
_WRITE_DELIVERIES: Final = Prepared(
    text("""
INSERT INTO webhook_deliveries (id, project_id, message_id, endpoint_id, next_attempt_at)
SELECT d.*, now() FROM unnest(CAST(:ids AS uuid[]), CAST(:projects AS uuid[]), CAST(:messages AS text[]),
    CAST(:endpoints AS uuid[])) AS d
""")
)


@dataclass(frozen=True)
class FanOutResult:
    """How many outbox rows were taken, and how many deliveries they made."""

    rows: int
    deliveries: int


@dataclass(frozen=True)
class _Message:
    row: int
    project_id: UUID
    ordering_key: str
    takers: Sequence[UUID]
    payload: dict[str, object]


async def fan_out(connection: AsyncConnection, *, limit: int) -> FanOutResult:
    """Turn waiting outbox rows into messages and their deliveries; nothing while another process does.

    A message that no endpoint wants is not kept, and not numbered. A row that cannot be read is parked with its error.
    """
    raw = await driver(connection)
    found = await (await _TAKE.run(raw, {"most": limit, "lock": _LOCK})).fetchall()
    rows = [row for row in found if row.id is not None]
    if not rows:
        return FanOutResult(found[0].rows, 0)
    messages: dict[str, _Message] = {}
    for row in rows:
        try:
            message = _message(row)
        except (KeyError, TypeError, ValueError) as error:
            await parking_store.park(connection, row.id, row.project_id, f"{type(error).__name__}: {error}")
        else:
            messages.setdefault(str(message.payload["id"]), message)
    if messages:
        await _write(raw, list(messages.values()))
    return FanOutResult(found[0].rows, sum(len(message.takers) for message in messages.values()))


def _message(row: Any) -> _Message:
    return _Message(row.id, row.project_id, row.ordering_key, row.takers, completed(row.payload, row.created_at))


def completed(payload: Mapping[str, object], recorded_at: datetime) -> dict[str, object]:
    """Return what is sent, without its number: the seed's ``{type, data}`` with an id and an instant (C26, B167).

    Whoever wrote the outbox row may have given the id and the instant (in the subscription's time) already. Raises
    KeyError, TypeError or ValueError for a row that is no message.
    """
    if not isinstance(payload["type"], str) or not isinstance(payload["data"], dict):
        raise TypeError("a message has a type, a text, and data, an object")
    identity = payload.get("id")
    made = envelope(
        payload["type"], payload["data"], at=recorded_at, identity=None if identity is None else str(identity)
    )
    return {**made, "created_at": payload.get("created_at") or made["created_at"]}


async def _write(raw: Any, messages: Sequence[_Message]) -> None:
    """Number the messages, and write them with their deliveries; they come in the order of their rows."""
    numbers = await _numbers(raw, {(message.project_id, message.ordering_key) for message in messages})
    sequences = []
    for message in messages:
        numbers[message.project_id, message.ordering_key] += 1
        sequences.append(numbers[message.project_id, message.ordering_key])
    numbered = [{**message.payload, "sequence": number} for message, number in zip(messages, sequences, strict=True)]
    await _WRITE_MESSAGES.run(
        raw,
        {
            "ids": [message.payload["id"] for message in messages],
            "projects": [message.project_id for message in messages],
            "rows": [message.row for message in messages],
            "keys": [message.ordering_key for message in messages],
            "sequences": sequences,
            "types": [message.payload["type"] for message in messages],
            "payloads": [exact_json(payload) for payload in numbered],
        },
    )
    pairs = [(message, taker) for message in messages for taker in message.takers]
    await _WRITE_DELIVERIES.run(
        raw,
        {
            "ids": [new_id() for _ in pairs],
            "projects": [message.project_id for message, _ in pairs],
            "messages": [message.payload["id"] for message, _ in pairs],
            "endpoints": [taker for _, taker in pairs],
        },
    )


async def _numbers(raw: Any, resources: Iterable[tuple[UUID, str]]) -> dict[tuple[UUID, str], int]:
    asked = sorted(resources)
    parameters = {"projects": [project for project, _ in asked], "keys": [key for _, key in asked]}
    found: dict[tuple[UUID, str], int] = defaultdict(int)
    for row in await (await _LAST_NUMBERS.run(raw, parameters)).fetchall():
        found[row.project_id, row.ordering_key] = row.sequence
    return found
