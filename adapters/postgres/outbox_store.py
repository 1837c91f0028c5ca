"""The outbox: rows written in the transaction of the state they tell about, delivered later by the relay."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from models.tables import outbox

WORKFLOW_START = "workflow.start"
WORKFLOW_SIGNAL = "workflow.signal"
WEBHOOK = "webhook"


async def enqueue(
    connection: AsyncConnection, *, project_id: UUID, topic: str, ordering_key: str, payload: Mapping[str, Any]
) -> int:
    """Write one outbox row in the caller's transaction; answers its id.

    Rows of one ``ordering_key`` (a workflow's id, a resource) are delivered in the order of their ids.
    """
    row = await connection.execute(
        insert(outbox)
        .values(project_id=project_id, topic=topic, ordering_key=ordering_key, payload=dict(payload))
        .returning(outbox.c.id)
    )
    return int(row.scalar_one())
