"""The outbox: rows written in the transaction of the state they tell about, delivered later by the relay."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import exact_json
from adapters.postgres.rows import Columns
from billing.subscriptions.subscription import SubscriptionState
from models.identifiers import SUBSCRIPTION_WORKFLOW, new_id, subscription_workflow_id
from models.messages.base import Message
from models.messages.subscription import SubscriptionStart

WORKFLOW_START = "workflow.start"
WORKFLOW_SIGNAL = "workflow.signal"
WEBHOOK = "webhook"

#: Written once: a statement that is built anew for each row costs more than the row.
_ENQUEUE: Final = text("""
INSERT INTO outbox (project_id, topic, ordering_key, payload)
VALUES (:project_id, :topic, :ordering_key, CAST(:payload AS jsonb)) RETURNING id
""")


def envelope(kind: str, data: Columns, *, at: datetime, identity: str | None = None) -> dict[str, object]:
    """Return what a webhook says: ``{id, type, created_at, data}``; the id stays the same on every delivery (C9, C26).

    ``created_at`` is ``at``, in RFC 3339 and UTC. ``identity`` is the id of a message that has one already.
    """
    return {"id": identity or f"msg_{new_id().hex}", "type": kind, "created_at": shown_instant(at), "data": data}


def shown_instant(instant: datetime) -> str:
    """Return an instant as webhooks write it: RFC 3339 in UTC, with microseconds where there are any."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def enqueue(
    connection: AsyncConnection, *, project_id: UUID, topic: str, ordering_key: str, payload: Columns
) -> int:
    """Write one outbox row in the caller's transaction; returns its id.

    Rows of one ``ordering_key`` (a workflow's id, a resource) are delivered in the order of their ids.
    """
    values = {
        "project_id": project_id,
        "topic": topic,
        "ordering_key": ordering_key,
        "payload": exact_json(dict(payload)),
    }
    return int((await connection.execute(_ENQUEUE, values)).scalar_one())


async def enqueue_start(
    connection: AsyncConnection, *, project_id: UUID, workflow: str, workflow_id: str, message: Message
) -> str:
    """Write the row that starts a workflow by its registered name; returns the workflow's id."""
    await enqueue(
        connection,
        project_id=project_id,
        topic=WORKFLOW_START,
        ordering_key=workflow_id,
        payload={"workflow": workflow, "workflow_id": workflow_id, "message": message.model_dump(mode="json")},
    )
    return workflow_id


async def enqueue_signal(
    connection: AsyncConnection, *, project_id: UUID, workflow_id: str, signal: str, message: Message
) -> None:
    """Write the row that signals a workflow."""
    await enqueue(
        connection,
        project_id=project_id,
        topic=WORKFLOW_SIGNAL,
        ordering_key=workflow_id,
        payload={"workflow_id": workflow_id, "signal": signal, "message": message.model_dump(mode="json")},
    )


async def enqueue_subscription_start(connection: AsyncConnection, state: SubscriptionState) -> str:
    """Write the row that starts a new subscription's workflow, beside the subscription's own row.

    ``state`` is ``lifecycle.created(...)``; returns the workflow's id, for ``Commands.start_subscription``.
    """
    return await enqueue_start(
        connection,
        project_id=state.project_id,
        workflow=SUBSCRIPTION_WORKFLOW,
        workflow_id=subscription_workflow_id(state.project_id, state.subscription_id),
        message=SubscriptionStart(state=state),
    )


async def enqueue_subscription_signal(
    connection: AsyncConnection, *, project_id: UUID, subscription_id: UUID, signal: str, message: Message
) -> None:
    """Write the row that signals a subscription's workflow, in the transaction of the fact it tells."""
    workflow_id = subscription_workflow_id(project_id, subscription_id)
    await enqueue_signal(connection, project_id=project_id, workflow_id=workflow_id, signal=signal, message=message)
