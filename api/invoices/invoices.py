"""Invoices: make one for a cutoff, preview, list, read, and their event log (seed 001, B94-B107, B113, B115)."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from adapters.postgres import resolver
from adapters.postgres.invoices import billing_store, invoice_store
from adapters.postgres.invoices.invoice_store import InvoiceFilter
from adapters.postgres.journal import audit_store
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.subscriptions.subscription_store import wanted_id
from adapters.postgres.wallets import settlement_store, wallet_move_store
from api.http.commands import Commands
from api.http.deps import Caller, CallerDep, CommandsDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, reply
from api.http.routing import resource_router
from api.invoices.invoice_actions import draft_one_off, shown_invoice
from api.invoices.invoice_adjustments import discounted, preview_extras
from api.invoices.invoice_bodies import InvoiceQuery, NewInvoice, NewOneOff, PreviewRequest, statuses
from api.invoices.invoice_shapes import (
    InvoiceDocument,
    InvoiceEvent,
    InvoicesDocument,
    PreviewDocument,
    SettlementDocument,
    preview_lines,
)
from api.invoices.invoice_targets import Target, targets
from billing.charges import Charge
from billing.closing.periods import Window
from billing.invoice import AbsurdInvoice, total
from billing.period import inclusive_end
from models.identifiers import shown_id
from models.messages.base import SubscriptionRef
from models.messages.subscription import InvoiceNow
from models.problems import Problem, invalid
from operations.proposing import Proposal, propose

router = resource_router("invoices")

_NOTHING = ("nothing_to_bill", "subscription_ended")


@router.post(
    "/invoices",
    status_code=201,
    response_model=InvoicesDocument,
    operation_id="create_invoice",
    summary="Bill a customer up to a cutoff",
)
async def create_invoice(
    request: Request, body: NewInvoice, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> Response:
    """Bill everything unbilled up to the cutoff as an issued invoice, or as a draft.

    Each period of the window is rated by itself; every event accepted before this request is counted (B107). When
    everything is billed the answer is 409 `nothing_to_bill` with `existing_invoice_id`. A customer with several
    subscriptions gets an invoice for each: the answer is the first, `related_invoices` names the others. With
    `line_items` it is a one-off draft instead.
    """
    if body.line_items is not None:
        return created(await draft_one_off(_one_off(body), caller, database))
    async with database.transaction(caller.scope) as connection:
        wanted = await targets(connection, caller, body, body.cutoff_date)
    made = await _bill(request, body, wanted, caller, commands)
    async with database.transaction(caller.scope) as connection:
        first = await shown_invoice(connection, caller, str(made[0]))
    if body.customer_id is not None:
        first = first.model_copy(update={"customer_id": body.customer_id})
    related = [shown_id("invoice", invoice_id) for invoice_id in made[1:]]
    return created(InvoicesDocument.showing(first, related_invoices=related) if related else first)


def _one_off(body: NewInvoice) -> NewOneOff:
    if body.customer_id is None or body.line_items is None:
        raise invalid("customer_id", "is required for a one-off invoice", "missing")
    return NewOneOff(
        customer_id=body.customer_id, currency=body.currency, line_items=body.line_items, due_date=body.due_date
    )


async def _bill(
    request: Request, body: NewInvoice, wanted: Sequence[Target], caller: Caller, commands: Commands
) -> list[UUID]:
    """Ask each subscription's workflow for its invoice; what has nothing to bill is left out unless all have."""
    made: list[UUID] = []
    nothing: Problem | None = None
    for target in wanted:
        subscription_id = target.terms.subscription_id
        ref = SubscriptionRef(
            organization_id=caller.organization_id, project_id=caller.project_id, subscription_id=subscription_id
        )
        command = InvoiceNow(
            request_id=_request_id(request, caller, subscription_id),
            cutoff_end=target.end,
            draft=body.draft or not body.auto_finalize,
        )
        try:
            closed = await commands.invoice_now(ref, command)
        except Problem as problem:
            if problem.code not in _NOTHING:
                raise
            nothing = nothing or problem
            continue
        assert closed.invoice_id is not None, "nothing to bill is a problem"
        made.append(closed.invoice_id)
    if not made:
        assert nothing is not None, "there is at least one target"
        raise nothing
    return made


def _request_id(request: Request, caller: Caller, subscription_id: UUID) -> str:
    """Name the command so that the request, sent again under its Idempotency-Key, finds the invoice it made."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return uuid.uuid4().hex
    return uuid.uuid5(caller.project_id, f"invoice:{subscription_id}:{key}").hex


@router.post(
    "/invoices/preview",
    response_model=PreviewDocument,
    operation_id="preview_invoice",
    summary="Show what would be billed",
)
async def preview_invoice(body: PreviewRequest, caller: CallerDep, database: DatabaseDep) -> Response:
    """Work out the invoice that a cutoff would give now; nothing is stored (B113)."""
    cutoff = body.billing_period_end or body.cutoff_date
    async with database.transaction(caller.scope) as connection:
        wanted = await targets(connection, caller, body, cutoff)
        return reply(await _preview(connection, wanted, body))


async def _preview(connection: AsyncConnection, wanted: Sequence[Target], body: PreviewRequest) -> dict[str, Any]:
    proposals: list[Proposal] = []
    charges: dict[UUID, Charge] = {}
    for target in wanted:
        terms = target.terms
        start = max(terms.billing_starts_at, body.billing_period_start or terms.billing_starts_at)
        if start >= target.end:
            raise invalid("billing_period_end", "must be after billing_period_start")
        window = Window(kind="on_demand", start=start, end=target.end, at=target.now)
        # Every target is a subscription of the same customer: what one invoice uses, the next one has not.
        used = [proposal.adjustments for proposal in proposals]
        try:
            proposals.append(await propose(connection, terms, window, lock=False, used=used))
        except AbsurdInvoice as error:
            raise Problem(422, "absurd_invoice", f"The invoice would be absurd: {error}.") from error
        version = await billing_store.version_of(connection, terms.plan_version_id)
        charges |= {charge.id: charge for charge in version.charges}
    currencies = {proposal.bill.currency for proposal in proposals}
    if len({currency.upper() for currency in currencies}) > 1:
        raise invalid("customer_id", "has subscriptions in several currencies; name one by subscription_id")
    currency = min(currencies)
    charged = [line for proposal in proposals for line in proposal.bill.lines]
    beside = [line for proposal in proposals for line in proposal.beside]
    items, fees = preview_lines(charged, charges, currency)
    more_items, more_fees = preview_extras(beside)
    amount, discount = total(charged) + total(beside), discounted(beside)
    drawn = await wallet_move_store.wallet_draw_for(
        connection, wanted[0].terms.customer_id, due_minor=amount, currency=currency, at=wanted[0].now, lock=False
    )
    return {
        "customer_id": body.customer_id,
        "subscription_id": body.subscription_id,
        "status": "draft",
        "currency": currency,
        "total_amount": amount,
        "period_start": min(proposal.bill.period.start for proposal in proposals),
        "period_end": inclusive_end(max(target.end for target in wanted)),
        "subtotal_cents": str(amount + discount),
        "tax_amount_cents": "0",
        "coupons_amount_cents": str(discount),
        "prepaid_credit_amount_cents": str(drawn.total_minor),
        "total_cents": str(amount),
        "fees": [*fees, *more_fees],
        "line_items": [*items, *more_items],
    }


@router.get(
    "/invoices",
    response_model=list[InvoiceDocument],
    responses=LISTED,
    operation_id="list_invoices",
    summary="List invoices",
)
async def list_invoices(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep, query: Annotated[InvoiceQuery, Query()]
) -> Response:
    """List the project's invoices with their lines, newest first. An unknown customer or subscription gives none."""
    project = caller.project_id
    async with database.transaction(caller.scope) as connection:
        wanted = InvoiceFilter(
            customer_id=await wanted_id(connection, project, resolver.CUSTOMER, query.customer_id),
            subscription_id=await wanted_id(connection, project, resolver.SUBSCRIPTION, query.subscription_id),
            statuses=statuses(query.status),
        )
        rows, count = await invoice_store.listed(connection, project, wanted, page)
        lines = await invoice_store.lines_of(connection, [row.id for row in rows])
    documents = [InvoiceDocument.of(row, lines.get(row.id, [])) for row in rows]
    return listed(page, documents, count, request, last=rows[-1].id if rows else None)


@router.get(
    "/invoices/{invoice_id}",
    response_model=InvoiceDocument,
    operation_id="get_invoice",
    summary="Read an invoice",
)
async def get_invoice(invoice_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one invoice with its lines, by its id, uuid or number."""
    async with database.transaction(caller.scope) as connection:
        return reply(await shown_invoice(connection, caller, invoice_id))


@router.get(
    "/invoices/{invoice_id}/events",
    response_model=list[InvoiceEvent],
    operation_id="list_invoice_events",
    summary="Read an invoice's event log",
)
async def list_invoice_events(invoice_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read everything that happened to an invoice, oldest first: created, issued, charges, payment (B115)."""
    async with database.transaction(caller.scope) as connection:
        row = await invoice_store.view(connection, caller.project_id, invoice_id)
        entries = await audit_store.history_of(connection, "invoice", row.id)
    return reply([InvoiceEvent.of(entry) for entry in entries])


@router.get(
    "/invoices/{invoice_id}/settlements",
    response_model=list[SettlementDocument],
    operation_id="list_invoice_settlements",
    summary="List what paid an invoice",
)
async def list_settlements(invoice_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """List the payments and wallet credits that settled an invoice, oldest first; their sum is what is paid (B114)."""
    async with database.transaction(caller.scope) as connection:
        row = await invoice_store.view(connection, caller.project_id, invoice_id)
        found = await settlement_store.of_invoice(connection, row.id)
    return reply([SettlementDocument.of(settlement) for settlement in found])
