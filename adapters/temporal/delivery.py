"""Delivering outbox rows to Temporal: starts and signals of workflows, safe to repeat.

Used by the relay for everything, and by the API right after a commit for one workflow. Both may deliver the same row:
a start finds the workflow that the other one started, and our signals carry absolute facts.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, TypeAlias

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.journal import relay_store
from adapters.postgres.journal.outbox_store import WORKFLOW_SIGNAL, WORKFLOW_START
from adapters.postgres.journal.relay_store import DueRow
from adapters.postgres.rows import SQLAlchemyError
from adapters.postgres.subscriptions import parking_store
from adapters.telemetry.counters import SET_ASIDE
from adapters.temporal.upkeep import start_reprocessing
from models.identifiers import INVOICE_WORKFLOW, PROJECT, REPROCESS_WORKFLOW, WEBHOOK_WORKFLOW
from models.messages.collecting import CollectInvoiceUntilSettled
from models.messages.subscription import RunLimits, SubscriptionStart
from models.messages.webhooks import RetryWebhook
from models.problems import Problem
from models.visibility import search_attributes
from settings import Settings

_LOG = structlog.get_logger(__name__)
_AT_ONCE: Final = 30
#: What a later attempt may cure: a server that is away, a workflow that is not there yet.
_TRANSIENT: Final = (RPCError, RuntimeError, OSError, SQLAlchemyError, Problem)
#: The row that could not be delivered, why, and whether it is unreadable.
_Failure: TypeAlias = tuple[DueRow, str, bool]


class NotDelivered(Exception):
    """Raised for a row that has to be tried again later."""


def _is_transient(error: Exception) -> bool:
    """Tell what a later attempt may cure from a row that is wrong itself: that one is parked."""
    if isinstance(error, RPCError):
        return error.status != RPCStatusCode.INVALID_ARGUMENT
    return isinstance(error, (*_TRANSIENT, NotDelivered))


class Delivery:
    """Delivers outbox rows with one Temporal client."""

    def __init__(self, client: Client, database: Database, settings: Settings) -> None:
        self._client = client
        self._database = database
        self._queue = settings.temporal_task_queue
        self._limits = RunLimits(history_events=settings.continue_as_new_after_events)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def deliver_now(self, ordering_key: str) -> None:
        """Deliver everything that waits for one key, in order; what fails stays for the relay.

        Raises `Problem` 503 when Postgres cannot be reached.
        """
        async with self._database.transaction(SYSTEM) as connection:
            rows = await relay_store.rows_of(connection, ordering_key)
        if rows:
            await self.deliver(rows)

    async def deliver(self, rows: Sequence[DueRow]) -> int:
        """Deliver rows, those of one key in the order of their ids, different keys at the same time.

        A row that fails holds back the later ones of its key, and nobody else; one that cannot be read is parked.
        Answers how many were delivered or parked.
        """
        in_order = sorted(rows, key=lambda row: (row.ordering_key, row.id))
        groups = [list(group) for _, group in groupby(in_order, key=lambda row: row.ordering_key)]
        results = await asyncio.gather(*(self._deliver_group(group) for group in groups))
        delivered = [row.id for done, _ in results for row in done]
        failed = [failure for _, failure in results if failure is not None]
        if delivered:
            async with self._database.transaction(SYSTEM) as connection:
                await relay_store.mark_delivered(connection, sorted(delivered))
        for failure in sorted(failed, key=lambda failure: failure[0].id):
            await self._record(failure)
        return len(delivered) + sum(unreadable for _, _, unreadable in failed)

    async def _record(self, failure: _Failure) -> None:
        """Note why a row was not delivered, in a transaction of its own: what cannot be noted holds back nobody."""
        row, error, unreadable = failure
        try:
            async with self._database.transaction(SYSTEM) as connection:
                if unreadable:
                    await parking_store.park(connection, row.id, row.project_id, error)
                else:
                    await relay_store.mark_failed(connection, row, error)
        except SQLAlchemyError:
            _LOG.exception("outbox_failure_not_noted", row=row.id, ordering_key=row.ordering_key)

    async def _deliver_group(self, rows: Iterable[DueRow]) -> tuple[list[DueRow], _Failure | None]:
        done: list[DueRow] = []
        async with self._slots:
            for row in rows:
                try:
                    await self._deliver_row(row)
                except Exception as error:  # whatever one row raises, the other keys' rows go on
                    reason = f"{type(error).__name__}: {error}"
                    if not _is_transient(error):
                        SET_ASIDE.labels("outbox").inc()
                        _LOG.exception("outbox_row_parked", row=row.id, ordering_key=row.ordering_key)
                        return done, (row, reason, True)
                    _LOG.warning("outbox_row_waits", row=row.id, ordering_key=row.ordering_key, error=str(error))
                    return done, (row, reason, False)
                done.append(row)
        return done, None

    async def _deliver_row(self, row: DueRow) -> None:
        match row.topic:
            case topic if topic == WORKFLOW_START:
                await self._start(row)
            case topic if topic == WORKFLOW_SIGNAL:
                await self.signal(row.payload["workflow_id"], row.payload["signal"], row.payload["message"])
            case topic:
                raise NotDelivered(f"nobody delivers the topic {topic!r}")

    async def _start(self, row: DueRow) -> None:
        match row.payload["workflow"]:
            case workflow if workflow == INVOICE_WORKFLOW:
                await self._start_invoice(row)
            case workflow if workflow == WEBHOOK_WORKFLOW:
                await self._start_webhook(row)
            case workflow if workflow == REPROCESS_WORKFLOW:
                await start_reprocessing(self._client, self._queue, row.payload)
            case _:
                await self._start_subscription(row)

    async def _start_subscription(self, row: DueRow) -> None:
        start = SubscriptionStart.model_validate(row.payload["message"]).model_copy(update={"limits": self._limits})
        state = start.state
        try:
            await self._client.start_workflow(
                row.payload["workflow"],
                start,
                id=row.payload["workflow_id"],
                task_queue=self._queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=search_attributes(state),
                static_summary=f"plan {state.plan_code}, version {state.plan_version}",
                # One tenant's burst of work does not delay the others'.
                priority=Priority(fairness_key=str(state.project_id)),
            )
        except WorkflowAlreadyStartedError:
            _LOG.info("workflow_is_over", ordering_key=row.ordering_key)

    async def _start_invoice(self, row: DueRow) -> None:
        """Start the workflow of an invoice without a subscription."""
        start = CollectInvoiceUntilSettled.model_validate(row.payload["message"])
        with contextlib.suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(
                INVOICE_WORKFLOW,
                start,
                id=row.payload["workflow_id"],
                task_queue=self._queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                search_attributes=TypedSearchAttributes([SearchAttributePair(PROJECT, str(start.project_id))]),
                static_summary=f"invoice {start.invoice.number}",
                priority=Priority(fairness_key=str(start.project_id)),
            )

    async def _start_webhook(self, row: DueRow) -> None:
        """Start the workflow that tries a webhook again, or tell the one that runs how the delivery stands.

        A delivery that is sent again from the start may fail again, so its workflow may run more than once.
        """
        start = RetryWebhook.model_validate(row.payload["message"])
        await self._client.start_workflow(
            WEBHOOK_WORKFLOW,
            start,
            id=row.payload["workflow_id"],
            task_queue=self._queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal="delivery_state_changed",
            start_signal_args=[start.standing],
            search_attributes=TypedSearchAttributes([SearchAttributePair(PROJECT, str(start.project_id))]),
            static_summary=f"{start.message_type} to {start.url}"[:200],
            priority=Priority(fairness_key=str(start.endpoint_id)),
        )

    async def signal(self, workflow_id: str, signal: str, message: object) -> None:
        """Signal a workflow; one that is over needs no signal. Raises `NotDelivered` if it was never started."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(signal, message)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            await self._must_be_over(workflow_id)

    async def _must_be_over(self, workflow_id: str) -> None:
        try:
            await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise NotDelivered(f"{workflow_id} is not running") from error
            raise

    async def worker_polling(self) -> bool:
        """Return whether a worker has asked for workflow tasks of our queue lately."""
        answer = await self._client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=self._client.namespace,
                task_queue=TaskQueue(name=self._queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
        return len(answer.pollers) > 0
