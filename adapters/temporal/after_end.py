"""Starting the workflow that bills an ended subscription once more; one that runs already only hears of it."""

import contextlib
from typing import Any, Final, TypeVar

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.common import (
    Priority,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError

from models.identifiers import (
    AFTER_END_WORKFLOW,
    INVOICE_WORKFLOW,
    PROJECT,
    after_end_workflow_id,
    invoice_workflow_id,
)
from models.messages.after_end import AfterEnd, LateUsage
from models.messages.base import SubscriptionRef
from models.messages.closing import InvoiceClosed
from models.messages.collecting import CollectInvoiceUntilSettled, InvoiceCollected
from models.messages.subscription import ChargeInvoice, InvoiceNow

_Answer = TypeVar("_Answer", InvoiceClosed, InvoiceCollected)

_SUMMARY: Final = "what is billed after the subscription's end"


def _options(ref: SubscriptionRef) -> dict[str, Any]:
    return {
        "id": after_end_workflow_id(ref.project_id, ref.subscription_id),
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "search_attributes": TypedSearchAttributes([SearchAttributePair(PROJECT, str(ref.project_id))]),
        "static_summary": _SUMMARY,
        "priority": Priority(fairness_key=str(ref.project_id)),
    }


async def bill_late_usage(client: Client, queue: str, start: AfterEnd, late: LateUsage) -> None:
    """Have changed usage of an ended subscription billed; again is harmless."""
    await client.start_workflow(
        AFTER_END_WORKFLOW,
        start,
        task_queue=queue,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        start_signal="late_usage",
        start_signal_args=[late],
        **_options(start.subscription),
    )


async def invoice_now(client: Client, queue: str, ref: SubscriptionRef, command: InvoiceNow) -> InvoiceClosed:
    """Bill everything unbilled of an ended subscription up to the cutoff, and give the answer."""
    start = WithStartWorkflowOperation[Any, Any](
        AFTER_END_WORKFLOW,
        AfterEnd(subscription=ref),
        task_queue=queue,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        **_options(ref),
    )
    return await _started_and_updated(client, start, "invoice_now", command, InvoiceClosed)


async def charge_invoice(
    client: Client, queue: str, start: CollectInvoiceUntilSettled, command: ChargeInvoice
) -> InvoiceCollected:
    """Charge an open invoice that no running workflow follows, by a workflow of its own, and give the answer."""
    begin = WithStartWorkflowOperation[Any, Any](
        INVOICE_WORKFLOW,
        start,
        task_queue=queue,
        id=invoice_workflow_id(start.invoice.invoice_id),
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        search_attributes=TypedSearchAttributes([SearchAttributePair(PROJECT, str(start.project_id))]),
        static_summary=f"invoice {start.invoice.number}",
        priority=Priority(fairness_key=str(start.project_id)),
    )
    return await _started_and_updated(client, begin, "charge_invoice", command, InvoiceCollected)


async def _started_and_updated(
    client: Client,
    start: WithStartWorkflowOperation[Any, Any],
    update: str,
    command: InvoiceNow | ChargeInvoice,
    answer_type: type[_Answer],
) -> _Answer:
    try:
        answer = await client.execute_update_with_start_workflow(
            update,
            command,
            start_workflow_operation=start,
            id=f"{update}:{command.request_id}",
            result_type=answer_type,
        )
    except (RPCError, WorkflowUpdateRPCTimeoutOrCancelledError):
        # The start has a future of its own with the same error, which is logged unless somebody has looked at it.
        with contextlib.suppress(Exception):
            await start.workflow_handle()
        raise
    assert isinstance(answer, answer_type)
    return answer
