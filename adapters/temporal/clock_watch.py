"""A look at test clocks that stand still: why a subscription does not arrive, and a second call to those that could.

A workflow whose task fails again and again cannot say so itself; its server can. A clock that waits for such a one, or
for one that is gone, is `failed` with the reason. Whoever else is late is told once more where the clock goes, in case
the first call was set aside.
"""

from datetime import timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from adapters.postgres.customers import clock_store
from adapters.postgres.customers.clock_store import LaggingSubscription
from adapters.postgres.database import SYSTEM, Database
from models.identifiers import subscription_workflow_id

EVERY_SECONDS: Final = 10.0
SETTLED_EVERY_SECONDS: Final = 0.5
_QUIET: Final = timedelta(seconds=20)
_MOST: Final = 50
#: A task that is tried so often does not fail by chance.
_FAILING_ATTEMPT: Final = 4
_MOST_EVENTS_READ: Final = 20
_BUSY: Final = "busy"


class ClockWatch:
    """Looks after clocks that advance; one worker at a time does it."""

    def __init__(self, client: Client, database: Database, *, quiet: timedelta = _QUIET) -> None:
        self._client = client
        self._database = database
        self._quiet = quiet

    async def look(self) -> bool:
        """Look once; answers False: there is nothing more to do at once."""
        async with self._database.transaction(SYSTEM) as connection:
            late = await clock_store.lagging(connection, quiet=self._quiet, most=_MOST)
        for each in late:
            reason = await self._reason(each)
            if reason == _BUSY:
                continue
            async with self._database.transaction(SYSTEM) as connection:
                if reason is None:
                    await clock_store.resend_clock(connection, each)
                else:
                    await clock_store.failed(connection, each.subscription_id, reason)
        return False

    async def settle(self) -> bool:
        """Let clocks be ready whose participants have nothing due any more; answers False: there is nothing more."""
        async with self._database.transaction(SYSTEM) as connection:
            await clock_store.settle_advancing(connection)
        return False

    async def _reason(self, late: LaggingSubscription) -> str | None:
        """Return why a subscription's workflow does not go on: None if it only waits, `_BUSY` if it is at work."""
        workflow_id = subscription_workflow_id(late.project_id, late.subscription_id)
        try:
            found = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return "its workflow is not there"
            raise
        if found.status != WorkflowExecutionStatus.RUNNING:
            status = "unknown" if found.status is None else found.status.name.lower()
            return f"its workflow is {status}"
        description = found.raw_description
        attempt = description.pending_workflow_task.attempt
        if attempt < _FAILING_ATTEMPT:
            return _BUSY if attempt or description.pending_activities else None
        return f"its workflow's task has failed {attempt - 1} times: {await self._failure(found)}"

    async def _failure(self, found: WorkflowExecutionDescription) -> str:
        """Read what the last task failed of, from the end of the history."""
        request = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self._client.namespace,
            execution=found.raw_description.workflow_execution_info.execution,
            maximum_page_size=_MOST_EVENTS_READ,
        )
        answer: Any = await self._client.workflow_service.get_workflow_execution_history_reverse(request)
        for event in answer.history.events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return str(event.workflow_task_failed_event_attributes.failure.message)
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                return "no worker finished it in time"
        return "see it in the Temporal UI"
