"""UsageFlow's invoices: camelCase, upper-case status, the amount in major units as a number (conflicts C11, C22)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

from fastapi import Query, Request, Response
from pydantic import BaseModel, Field

from adapters.postgres import resolver
from adapters.postgres.invoices import invoice_store
from adapters.postgres.invoices.invoice_store import Invoice, InvoiceFilter, StoredLine
from adapters.postgres.subscriptions.subscription_store import wanted_id
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import ExactNumber, Ref
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import reply
from api.http.routing import resource_router
from api.invoices.invoice_bodies import statuses
from api.invoices.invoice_shapes import customer_shown
from billing.money import to_major
from billing.period import inclusive_end
from models.identifiers import shown_id

router = resource_router("UsageFlow", area="")


class UsageFlowQuery(BaseModel):
    """What a list of invoices is about."""

    customerId: Ref | None = None
    status: str | None = Field(default=None, max_length=32, description="One status, in any case.")


class UsageFlowLine(Answer):
    """One line; `amount` is in major units."""

    description: str = Field(examples=["API Calls — usage (12,000 calls)"])
    quantity: ExactNumber = Field(examples=[12000])
    amount: ExactNumber = Field(examples=[20])
    metric: str | None = Field(examples=["API_CALL"])


class UsageFlowInvoice(Answer):
    """An invoice as UsageFlow shows it; `amount` is in major units, an integer when it is whole."""

    id: str = Field(examples=["inv_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    invoiceNumber: str | None
    customerId: str
    subscriptionId: str | None
    status: str = Field(examples=["ISSUED"])
    amount: ExactNumber = Field(examples=[120])
    currency: str
    periodStart: datetime | None
    periodEnd: datetime | None
    dueDate: datetime | None
    paidAt: datetime | None
    createdAt: datetime
    lineItems: list[UsageFlowLine]

    @classmethod
    def of(cls, invoice: Invoice, lines: Sequence[StoredLine]) -> Self:
        """Show an invoice with its lines."""
        currency = invoice.currency
        return cls(
            id=shown_id("invoice", invoice.id),
            invoiceNumber=invoice.number,
            customerId=customer_shown(invoice),
            subscriptionId=None
            if invoice.subscription_id is None
            else shown_id("subscription", invoice.subscription_id),
            status=invoice.status.upper(),
            amount=to_major(invoice.total_minor, currency),
            currency=currency,
            periodStart=invoice.period_start,
            periodEnd=None if invoice.period_end is None else inclusive_end(invoice.period_end),
            dueDate=invoice.due_at,
            paidAt=invoice.paid_at,
            createdAt=invoice.created_at,
            lineItems=[
                UsageFlowLine(
                    description=line.description,
                    quantity=line.quantity,
                    amount=to_major(line.amount_minor, currency),
                    metric=line.metric_key,
                )
                for line in lines
            ],
        )


@router.get(
    "/invoices",
    response_model=list[UsageFlowInvoice],
    responses=LISTED,
    operation_id="usageflow_list_invoices",
    summary="List invoices (UsageFlow)",
)
async def list_invoices(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep, query: Annotated[UsageFlowQuery, Query()]
) -> Response:
    """List the project's invoices, newest first."""
    project = caller.project_id
    async with database.transaction(caller.scope) as connection:
        wanted = InvoiceFilter(
            customer_id=await wanted_id(connection, project, resolver.CUSTOMER, query.customerId),
            statuses=statuses(query.status),
        )
        rows, total = await invoice_store.listed(connection, project, wanted, page)
        lines = await invoice_store.lines_of(connection, [row.id for row in rows])
    documents = [UsageFlowInvoice.of(row, lines.get(row.id, [])) for row in rows]
    return listed(page, documents, total, request, last=rows[-1].id if rows else None)


@router.get(
    "/invoices/{invoice_id}",
    response_model=UsageFlowInvoice,
    operation_id="usageflow_get_invoice",
    summary="Read an invoice (UsageFlow)",
)
async def get_invoice(invoice_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one invoice; `amount` is in major units: 120 for 12000 cents."""
    async with database.transaction(caller.scope) as connection:
        row = await invoice_store.view(connection, caller.project_id, invoice_id)
        lines = await invoice_store.lines_of(connection, [row.id])
    return reply(UsageFlowInvoice.of(row, lines.get(row.id, [])))
