"""Payments: recorded by hand, waited for, refunded, tried again; attempts at providers are listed too (B128, B129)."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Request, Response

from adapters.payment_port import MANUAL
from adapters.postgres import resolver
from adapters.postgres.database import Connection
from adapters.postgres.invoices import invoice_store
from adapters.postgres.invoices.invoice_store import Invoice
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page
from adapters.postgres.payments import offline_payment_store, payment_view_store
from adapters.postgres.payments.offline_payment_store import ReceivedPayment
from adapters.postgres.payments.payment_view_store import Payment, PaymentFilter
from adapters.postgres.subscriptions.subscription_store import wanted_id
from api.http.deps import CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.invoices.invoice_actions import DeskDep, InvoiceCommandContext, charged, collected
from api.payments.payment_shapes import (
    CheckoutDocument,
    CheckoutRequest,
    PaymentDocument,
    PaymentQuery,
    PaymentRecord,
    RefundRequest,
    stored_statuses,
)
from models.identifiers import parse_id, shown_id
from models.problems import Problem, invalid

router = resource_router("Payments")

PaymentId = Annotated[str, Path(max_length=100)]
_Change = Callable[[Transaction, Invoice, Payment], Awaitable[str | None]]


def not_configured(provider: str, what: str) -> Problem:
    """Refuse what only a provider's own pages can do."""
    return Problem(503, "provider_not_configured", f"This server is not set up for {what} at {provider}.")


@router.post(
    "/payments/record",
    response_model=PaymentDocument,
    responses={201: {"model": PaymentDocument, "description": "Recorded; the answer to a body with `amount_cents`."}},
    operation_id="record_payment",
    summary="Record manual payment",
)
async def record_payment(body: PaymentRecord, desk: DeskDep) -> Response:
    """Record money that came outside Durabill, in part or in full: what reaches the total pays the invoice (B128).

    More than is due is 422 `more_than_due`; a draft, paid or voided invoice is 409.
    """
    money = ReceivedPayment(amount_minor=body.minor(), at=body.paid_at, reference=body.reference, notes=body.notes)
    caller = desk.caller
    async with caller.begin(desk.database) as tx:
        row = await invoice_store.view(tx.connection, caller.project_id, body.invoice_id, lock=True)
        if body.currency is not None and body.currency.upper() != row.currency.upper():
            raise invalid("currency", f"the invoice is in {row.currency}")
        payment_id, workflow_id = await offline_payment_store.record(tx, row, money)
        document = await _document(tx.connection, caller.project_id, str(payment_id))
    if workflow_id is not None:
        await desk.commands.deliver(workflow_id)
    return reply(document) if body.amount_cents is None else created(document)


async def _document(connection: Connection, project_id: UUID, ref: str) -> PaymentDocument:
    return PaymentDocument.of(await payment_view_store.view(connection, project_id, ref))


@router.post(
    "/payments/checkout",
    response_model=CheckoutDocument,
    operation_id="create_checkout_session",
    summary="Create checkout session",
)
async def create_checkout(body: CheckoutRequest, caller: CallerDep, database: DatabaseDep) -> Response:
    """Make a pending payment over what is due; the manual provider has no page, so `checkout_url` is empty (B129)."""
    async with caller.begin(database) as tx:
        row = await invoice_store.view(tx.connection, caller.project_id, body.invoice_id, lock=True)
        if body.provider != MANUAL:
            raise not_configured(body.provider, "checkout")
        payment_id = await offline_payment_store.checkout(tx, row)
    return reply(
        {
            "payment_id": shown_id("payment", payment_id),
            "checkout_url": "",
            "provider": body.provider,
            "expires_at": row.customer_now + offline_payment_store.CHECKOUT_LASTS,
        }
    )


@router.get(
    "/payments",
    response_model=list[PaymentDocument],
    responses=LISTED,
    operation_id="list_payments",
    summary="List payments",
)
async def list_payments(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep, query: Annotated[PaymentQuery, Query()]
) -> Response:
    """List payments and attempts, newest first. An unknown invoice or customer gives none."""
    project = caller.project_id
    async with database.transaction(caller.scope) as connection:
        wanted = PaymentFilter(
            invoice_id=await _invoice_id(connection, project, query.invoice_id),
            customer_id=await wanted_id(connection, project, resolver.CUSTOMER, query.customer_id),
            statuses=stored_statuses(query.status),
            provider=query.provider,
        )
        rows, count = await payment_view_store.listed(connection, project, wanted, page)
    return listed_as(PaymentDocument.of, page, rows, count, request)


async def _invoice_id(connection: Connection, project_id: UUID, ref: str | None) -> UUID | None:
    """Return the id that a filter means; one that names nothing matches nothing."""
    if ref is None or (found := parse_id(ref)) is not None:
        return None if ref is None else found
    try:
        return (await invoice_store.view(connection, project_id, ref)).id
    except Problem:
        return UUID(int=0)


@router.get("/payments/{payment_id}", response_model=PaymentDocument, operation_id="get_payment", summary="Get payment")
async def get_payment(payment_id: PaymentId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one payment by its id or uuid."""
    async with database.transaction(caller.scope) as connection:
        return reply(await _document(connection, caller.project_id, payment_id))


async def _changed(ref: str, change: _Change, desk: InvoiceCommandContext) -> PaymentDocument:
    """Change a payment under its invoice's lock, answer with its document, and tell the workflow after the commit."""
    caller = desk.caller
    async with caller.begin(desk.database) as tx:
        row, payment = await locked(tx.connection, caller.project_id, ref)
        workflow_id = await change(tx, row, payment)
        document = await _document(tx.connection, caller.project_id, ref)
    if workflow_id is not None:
        await desk.commands.deliver(workflow_id)
    return document


async def locked(connection: Connection, project_id: UUID, ref: str) -> tuple[Invoice, Payment]:
    """Lock a payment's invoice, and read both after that. Raises `Problem` 404 `payment_not_found`."""
    found = await payment_view_store.view(connection, project_id, ref)
    row = await invoice_store.view(connection, project_id, str(found.invoice_id), lock=True)
    return row, await payment_view_store.view(connection, project_id, ref)


async def _mark_paid(payment_id: PaymentId, desk: DeskDep) -> Response:
    """Note that a pending payment came: it settles its invoice."""
    return reply(await _changed(payment_id, offline_payment_store.succeed, desk))


for _path, _name in (("mark-paid", "mark_payment_paid"), ("mark_paid", "mark_payment_paid_alias")):
    router.add_api_route(
        f"/payments/{{payment_id}}/{_path}",
        _mark_paid,
        methods=["POST"],
        response_model=PaymentDocument,
        operation_id=_name,
        summary="Mark payment paid",
        include_in_schema=_path == "mark-paid",
    )


@router.post(
    "/payments/{payment_id}/refund",
    response_model=PaymentDocument,
    operation_id="refund_payment",
    summary="Refund payment",
)
async def refund_payment(payment_id: PaymentId, desk: DeskDep, body: RefundRequest | None = None) -> Response:
    """Note that money was given back, in part or in full; all refunds together are at most the payment (B128).

    A paid invoice stays paid. A payment that a provider took is refunded there: 409 `refund_at_provider`.
    """
    wanted = body or RefundRequest()

    async def change(tx: Transaction, row: Invoice, payment: Payment) -> None:
        await offline_payment_store.refund(tx, row, payment=payment, amount_minor=wanted.minor(), reason=wanted.reason)

    return reply(await _changed(payment_id, change, desk))


@router.post(
    "/payments/{payment_id}/retry",
    response_model=PaymentDocument,
    operation_id="retry_payment",
    summary="Retry failed payment",
)
async def retry_payment(payment_id: PaymentId, desk: DeskDep) -> Response:
    """Wait again for a failed payment; one that a provider declined is charged again, as another payment (B128)."""
    caller = desk.caller
    async with desk.database.transaction(caller.scope) as connection:
        payment = await payment_view_store.view(connection, caller.project_id, payment_id)
    offline_payment_store.must_be_failed(payment)
    if payment.provider == MANUAL:
        return reply(await _changed(payment_id, offline_payment_store.retry, desk))
    charged(await collected(str(payment.invoice_id), desk))
    wanted = PaymentFilter(invoice_id=payment.invoice_id, provider=payment.provider)
    async with desk.database.transaction(caller.scope) as connection:
        (newest,), _ = await payment_view_store.listed(connection, caller.project_id, wanted, Page(limit=1))
    return reply(PaymentDocument.of(newest))


@router.delete("/payments/{payment_id}", status_code=204, operation_id="delete_payment", summary="Delete payment")
async def delete_payment(payment_id: PaymentId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a payment that is still waited for; every other one is kept: 409."""
    async with caller.begin(database) as tx:
        row, payment = await locked(tx.connection, caller.project_id, payment_id)
        await offline_payment_store.remove(tx, row, payment)
    return no_content()
