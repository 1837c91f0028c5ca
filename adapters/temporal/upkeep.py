"""Starting the workflow that counts the skipped events of a window."""

import contextlib
from collections.abc import Mapping
from typing import Any

from temporalio.client import Client
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from models.identifiers import PROJECT, REPROCESS_WORKFLOW
from models.messages.upkeep import Reprocess


async def start_reprocessing(client: Client, queue: str, payload: Mapping[str, Any]) -> None:
    """Start it from its outbox row; one that was started before is left alone."""
    start = Reprocess.model_validate(payload["message"])
    with contextlib.suppress(WorkflowAlreadyStartedError):
        await client.start_workflow(
            REPROCESS_WORKFLOW,
            start,
            id=payload["workflow_id"],
            task_queue=queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=TypedSearchAttributes([SearchAttributePair(PROJECT, str(start.project_id))]),
            static_summary="count the skipped events of a window",
            priority=Priority(fairness_key=str(start.project_id)),
        )
