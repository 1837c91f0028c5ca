"""Fees: the lines of invoices, listed by themselves (conflicts C32, B118)."""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from adapters.postgres import resolver
from adapters.postgres.invoices import invoice_change_store, invoice_store
from adapters.postgres.invoices.invoice_store import FeeFilter
from adapters.postgres.subscriptions.subscription_store import wanted_id
from api.http.deps import CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import reply
from api.http.routing import resource_router
from api.invoices.invoice_bodies import FeeChange, FeeQuery
from api.invoices.invoice_shapes import FeeDocument
from models.identifiers import parse_id
from models.problems import invalid

router = resource_router("fees")


@router.get("/fees", response_model=list[FeeDocument], responses=LISTED, operation_id="list_fees", summary="List fees")
async def list_fees(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep, query: Annotated[FeeQuery, Query()]
) -> Response:
    """List the project's fees, newest first: one for each line of each invoice. An unknown reference gives none."""
    project = caller.project_id
    invoice = None if query.invoice_id is None else parse_id(query.invoice_id) or UUID(int=0)
    async with database.transaction(caller.scope) as connection:
        wanted = FeeFilter(
            invoice_id=invoice,
            customer_id=await wanted_id(connection, project, resolver.CUSTOMER, query.customer_id),
            subscription_id=await wanted_id(connection, project, resolver.SUBSCRIPTION, query.subscription_id),
            fee_type=query.fee_type,
            payment_status=query.payment_status,
        )
        rows, count = await invoice_store.fees(connection, project, wanted, page)
    return listed_as(FeeDocument.of, page, rows, count, request)


@router.get("/fees/{fee_id}", response_model=FeeDocument, operation_id="get_fee", summary="Read a fee")
async def get_fee(fee_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one fee by its id or uuid."""
    async with database.transaction(caller.scope) as connection:
        return reply(FeeDocument.of(await invoice_store.fee(connection, caller.project_id, fee_id)))


@router.put("/fees/{fee_id}", response_model=FeeDocument, operation_id="update_fee", summary="Describe a fee anew")
async def update_fee(fee_id: str, body: FeeChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change the description of a draft's fee; 409 once the invoice is issued, a permanent record (B101).

    Amounts and payment status follow the invoice: other values than the fee has are 422.
    """
    async with caller.begin(database) as tx:
        found = await invoice_store.fee(tx.connection, caller.project_id, fee_id)
        invoice = await invoice_store.view(tx.connection, caller.project_id, str(found.invoice_id), lock=True)
        row = await invoice_store.fee(tx.connection, caller.project_id, fee_id)
        _refuse_money(body, FeeDocument.of(row))
        if body.description is not None:
            await invoice_change_store.describe_line(tx, invoice, line=row, description=body.description)
        return reply(FeeDocument.of(await invoice_store.fee(tx.connection, caller.project_id, fee_id)))


def _refuse_money(body: FeeChange, shown: FeeDocument) -> None:
    if body.payment_status is not None and body.payment_status != shown.payment_status:
        raise invalid("payment_status", "follows the invoice: record a payment, or void or refund it", "immutable")
    for name in ("taxes_amount_cents", "total_amount_cents"):
        amount = getattr(body, name)
        if amount is not None and amount != Decimal(getattr(shown, name)):
            raise invalid(name, "is what was billed; make a credit note or another invoice", "immutable")
