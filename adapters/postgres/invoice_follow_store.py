"""Having a workflow of its own care for an issued invoice that no subscription's workflow follows."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import outbox_store
from adapters.postgres.database import ProjectScope
from billing.collection import OpenInvoice
from models.identifiers import INVOICE_WORKFLOW, invoice_workflow_id
from models.messages.closing import InvoiceClosed
from models.messages.collecting import FollowInvoice


async def follow(
    connection: AsyncConnection,
    scope: ProjectScope,
    closed: InvoiceClosed,
    *,
    at: datetime,
    frozen_at: datetime | None,
) -> str:
    """Write the row that starts the workflow of an issued invoice; answers the workflow's id.

    `at` is the customer's now, when its first attempt is due if it is collected by itself; `frozen_at` that of the
    customer's test clock.
    """
    assert closed.invoice_id is not None, "only an invoice can be followed"
    workflow_id = invoice_workflow_id(closed.invoice_id)
    message = FollowInvoice(
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        invoice=OpenInvoice(
            invoice_id=closed.invoice_id,
            number=closed.number,
            total_minor=closed.total_minor,
            currency=closed.currency,
            next_attempt_at=at if closed.collect else None,
        ),
        frozen_at=frozen_at,
    )
    await outbox_store.enqueue(
        connection,
        project_id=scope.project_id,
        topic=outbox_store.WORKFLOW_START,
        ordering_key=workflow_id,
        payload={
            "workflow": INVOICE_WORKFLOW,
            "workflow_id": workflow_id,
            "message": message.model_dump(mode="json"),
        },
    )
    return workflow_id
