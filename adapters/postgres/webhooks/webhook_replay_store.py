"""Sending again what an endpoint missed: everything since a time, under the same message ids (B164)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.webhooks import webhook_store
from adapters.postgres.webhooks.webhook_fanout_store import subscribes_to
from adapters.postgres.webhooks.webhook_store import WebhookEndpoint
from models.identifiers import new_id
from models.problems import conflict

#: Most deliveries of one request; the answer says where to go on.
LARGEST: Final = 10_000

_WANTED: Final = f"""
    FROM webhook_messages m LEFT JOIN webhook_deliveries d ON d.message_id = m.id AND d.endpoint_id = :endpoint
    WHERE m.project_id = :project AND m.created_at >= :since
      AND m.created_at < coalesce(CAST(:until AS timestamptz), 'infinity')
      AND {subscribes_to("CAST(:types AS text[])", "m.type")}
      AND CASE WHEN :everything THEN d.id IS NULL OR d.status <> 'pending'
          WHEN d.id IS NULL THEN m.created_at >= :registered_at AND {subscribes_to("CAST(:events AS text[])", "m.type")}
          ELSE d.status = 'failed' END
"""
_CHOOSE: Final = text(f"""
SELECT m.id AS message_id, d.id AS delivery_id, m.created_at {_WANTED} ORDER BY m.created_at, m.outbox_id LIMIT :most
""")
# What is due goes in the order of these instants. One that was accepted since it was chosen is at its end.
_AGAIN: Final = text("""
UPDATE webhook_deliveries d SET status = 'pending', scheduled_attempts = 0,
    next_attempt_at = now() + o.place * interval '1 microsecond', updated_at = clock_timestamp()
FROM unnest(CAST(:ids AS uuid[]), CAST(:places AS int[])) AS o (id, place)
WHERE d.id = o.id AND (d.status = 'failed' OR :everything AND d.status = 'succeeded')
""")
_ANEW: Final = text("""
INSERT INTO webhook_deliveries (id, project_id, message_id, endpoint_id, next_attempt_at)
SELECT o.id, :project, o.message_id, :endpoint, now() + o.place * interval '1 microsecond'
FROM unnest(CAST(:ids AS uuid[]), CAST(:messages AS text[]), CAST(:places AS int[])) AS o (id, message_id, place)
ON CONFLICT (message_id, endpoint_id) DO NOTHING
""")


@dataclass(frozen=True)
class Replay:
    """What to send again: messages made in ``[since, until)`` (wall time), of these types (none: every type;
    ``invoice.*``: all about invoices).

    Without ``everything`` only what the endpoint missed: what failed, and what it asks for that was said since it was
    registered and never sent to it, as it was disabled. With it also what succeeded, and what was said before the
    endpoint was there (as far as any endpoint of the project wanted it).
    """

    since: datetime
    until: datetime | None = None
    types: tuple[str, ...] = ()
    everything: bool = False


@dataclass(frozen=True)
class Replayed:
    """How many deliveries were sent on their way; ``next_since`` goes on from there if there were too many for once."""

    deliveries: int
    next_since: datetime | None


async def replay(tx: Transaction, reference: str, wanted: Replay) -> Replayed:
    """Give deliveries back to the relay, with a fresh schedule of retries each.

    Raises ``Problem`` 404 for an unknown endpoint and 409 ``webhook_endpoint_disabled`` for one that is disabled.
    """
    endpoint = await webhook_store.get(tx.connection, reference, lock=True)
    if endpoint.status != "active":
        raise conflict("webhook_endpoint_disabled", "Set the endpoint's status to active first.")
    types = sorted(set(wanted.types)) or list(endpoint.events)
    asked = {
        "endpoint": endpoint.id,
        "project": tx.scope.project_id,
        "since": wanted.since,
        "until": wanted.until,
        "types": types,
        "everything": wanted.everything,
        "registered_at": endpoint.created_at,
        "events": list(endpoint.events),
        "most": LARGEST + 1,
    }
    found = (await tx.connection.execute(_CHOOSE, asked)).all()
    chosen = found[:LARGEST]
    sent = await _send(tx.connection, endpoint, chosen, everything=wanted.everything)
    await tx.audit(
        resource_type="webhook_endpoint",
        resource_id=endpoint.id,
        action="replayed",
        title=f"{sent} webhooks sent again to {endpoint.url}",
        data={"since": wanted.since, "until": wanted.until, "types": types, "everything": wanted.everything},
    )
    return Replayed(sent, found[LARGEST].created_at if len(found) > LARGEST else None)


async def _send(
    connection: AsyncConnection, endpoint: WebhookEndpoint, chosen: Sequence[Any], *, everything: bool
) -> int:
    """Make messages due in their order, whether they were sent to this endpoint before or not; returns how many."""
    again = [(place, row.delivery_id) for place, row in enumerate(chosen) if row.delivery_id is not None]
    anew = [(place, row.message_id) for place, row in enumerate(chosen) if row.delivery_id is None]
    sent = 0
    if again:
        asked = {"ids": [each for _, each in again], "places": [place for place, _ in again], "everything": everything}
        sent += (await connection.execute(_AGAIN, asked)).rowcount
    if anew:
        parameters = {
            "ids": [new_id() for _ in anew],
            "messages": [message for _, message in anew],
            "places": [place for place, _ in anew],
            "project": endpoint.project_id,
            "endpoint": endpoint.id,
        }
        sent += (await connection.execute(_ANEW, parameters)).rowcount
    return sent
