"""Having a workflow of its own care for an issued invoice that no subscription's workflow follows."""

from datetime import datetime

from adapters.postgres.journal.transaction import Transaction
from billing.collection import OpenInvoice
from models.identifiers import INVOICE_WORKFLOW, invoice_workflow_id
from models.messages.collecting import CollectInvoiceUntilSettled


async def follow(tx: Transaction, invoice: OpenInvoice, *, frozen_at: datetime | None) -> str:
    """Have a workflow of its own care for an issued invoice; returns the workflow's id.

    `frozen_at` is the time of the customer's test clock; None means the wall clock.
    """
    message = CollectInvoiceUntilSettled(
        organization_id=tx.scope.organization_id, project_id=tx.scope.project_id, invoice=invoice, frozen_at=frozen_at
    )
    return await tx.enqueue_start(
        workflow=INVOICE_WORKFLOW,
        workflow_id=invoice_workflow_id(invoice.invoice_id),
        message=message,
    )
