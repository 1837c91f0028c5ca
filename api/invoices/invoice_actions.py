"""What can be done with an invoice: one-off drafts, finalize, charge, pay, void, delete, and the bulk forms.

Charging takes money through the customer's provider; paying notes that it came otherwise (conflicts C14, C15).
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from adapters.payments.registry import ProviderChoice
from adapters.postgres import resolver
from adapters.postgres.customers import billing_entity_store, clock_store
from adapters.postgres.database import Database
from adapters.postgres.invoices import invoice_change_store, invoice_store
from adapters.postgres.invoices.invoice_store import Invoice
from adapters.postgres.invoices.invoice_write_store import NewInvoice as InvoiceToWrite
from adapters.postgres.invoices.invoice_write_store import write_invoice
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.payments import offline_payment_store
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.subscriptions import lifecycle_store
from api.http.commands import Commands
from api.http.deps import Caller, CallerDep, CommandsDep, DatabaseDep
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.invoices.abandon_attempt import abandon_waiting_attempt
from api.invoices.invoice_bodies import BulkInvoices, BulkVoid, InvoiceChange, NewLineItem, NewOneOff, VoidInvoice
from api.invoices.invoice_shapes import (
    ONE_OFF,
    BulkFinalized,
    BulkResult,
    BulkVoided,
    ChargeDocument,
    InvoiceDocument,
)
from billing.invoice import LARGEST_MINOR, InvoiceLine, total
from billing.money import exponent, to_minor
from billing.numbers import exact, plain
from models.identifiers import new_id, shown_id
from models.messages.base import SubscriptionRef
from models.messages.collecting import CollectInvoiceUntilSettled, InvoiceCollected
from models.messages.subscription import ChargeInvoice
from models.messages.subscription_steps import invoice_to_collect
from models.problems import Problem, conflict, invalid

router = resource_router("invoices")


@dataclass(frozen=True)
class InvoiceCommandContext:
    """What handling an invoice takes: who asks, the record, and the way to the workflows."""

    caller: Caller
    database: Database
    commands: Commands
    providers: ProviderChoice


def _desk(request: Request, caller: CallerDep, database: DatabaseDep, commands: CommandsDep) -> InvoiceCommandContext:
    return InvoiceCommandContext(caller, database, commands, request.app.state.providers)


DeskDep = Annotated[InvoiceCommandContext, Depends(_desk)]

_Change = Callable[[Transaction, Invoice], Awaitable[str | None]]
_DEFAULT_CURRENCY: Final = "USD"


@router.post(
    "/invoices/one_off",
    status_code=201,
    response_model=InvoiceDocument,
    operation_id="create_one_off_invoice",
    summary="Draft an invoice of lines of your own",
)
async def create_one_off(body: NewOneOff, caller: CallerDep, database: DatabaseDep) -> Response:
    """Make a draft without a period; it gets its number and is collected when it is finalized (B112)."""
    return created(await draft_one_off(body, caller, database))


async def draft_one_off(body: NewOneOff, caller: Caller, database: Database) -> InvoiceDocument:
    """Write a one-off draft and answer with its document.

    Raises `Problem` 404 `customer_not_found` or `billing_entity_not_found`, 422 for a line without amount and price, or
    an absurd or negative total.
    """
    async with database.transaction(caller.scope) as connection:
        customer = await resolver.required(connection, caller.project_id, resolver.CUSTOMER, body.customer_id)
        currency = body.currency or customer.currency or _DEFAULT_CURRENCY
        lines = [_line(index, item, currency) for index, item in enumerate(body.line_items)]
        if not 0 <= total(lines) <= LARGEST_MINOR:
            raise invalid("line_items", f"must add up to 0 to {LARGEST_MINOR} minor units")
        at = await clock_store.now(connection, customer.test_clock_id)
        refs = {"billing_entity_id": body.billing_entity_id, "billing_entity_code": body.billing_entity_code}
        issuer = await billing_entity_store.resolve_locked(connection, caller.project_id, refs)
        identity = new_id()
        invoice = InvoiceToWrite(
            id=identity,
            scope=caller.scope,
            actor=caller.actor,
            customer_id=customer.id,
            customer_shown=customer.code if customer.code_chosen else shown_id("customer", customer.id),
            billing_entity_id=issuer or customer.billing_entity_id,
            kind=ONE_OFF,
            status="draft",
            currency=currency,
            lines=lines,
            billing_key=f"{identity}:{ONE_OFF}",
            at=at,
            due_at=body.due_date,
            metadata={"customer_supplied": body.customer_id},
        )
        await write_invoice(connection, invoice)
        return await shown_invoice(connection, caller, str(identity))


def _line(index: int, item: NewLineItem, currency: str) -> InvoiceLine:
    """Round a line once to whole minor units, half away from zero (R2)."""
    amount = item.exact_amount
    if amount is None:
        raise invalid(f"line_items.{index}.amount", "is required, or unit_price", "missing")
    with exact():
        minor = to_minor(amount.scaleb(-exponent(currency)), currency)
        price = None if item.unit_price is None else item.unit_price.scaleb(-exponent(currency))
    priced = item.priced_amount
    if priced is not None and to_minor(priced.scaleb(-exponent(currency)), currency) != minor:
        message = f"must be quantity x unit_price, rounded once ({plain(priced)}); send one of the two"
        raise invalid(f"line_items.{index}.amount", message, "contradictory_line")
    if abs(minor) > LARGEST_MINOR:
        raise invalid(f"line_items.{index}.amount", f"must not be more than {LARGEST_MINOR} minor units")
    return InvoiceLine(
        reference=f"{ONE_OFF}:{index}",
        kind="one_off",
        description=item.description,
        quantity=item.quantity,
        total_quantity=item.quantity,
        unit_amount=_storable(price, index),
        amount_minor=minor,
    )


def _storable(price: Decimal | None, index: int) -> Decimal | None:
    """Refuse a price whose major units need more decimals than a row holds."""
    if price is not None and len(plain(price).partition(".")[2]) > 18:
        raise invalid(f"line_items.{index}.unit_price", "has too many decimals")
    return price


async def shown_invoice(connection: AsyncConnection, caller: Caller, ref: str) -> InvoiceDocument:
    """Return an invoice together with its lines. Raises `Problem` 404 `invoice_not_found`."""
    row = await invoice_store.view(connection, caller.project_id, ref)
    lines = await invoice_store.lines_of(connection, [row.id])
    return InvoiceDocument.of(row, lines.get(row.id, []))


async def _changed(ref: str, change: _Change, desk: InvoiceCommandContext, *, settles: bool = False) -> InvoiceDocument:
    """Carry out a change on the locked invoice, answer with its document, and tell its workflow after the commit.

    `settles` says that no charge may succeed after the change: one that waits for the card's owner is canceled first.
    """
    caller = desk.caller
    if settles:
        may_be_paid = await abandon_waiting_attempt(desk.database, caller.scope, caller.actor, desk.providers, ref)
        if may_be_paid is not None:
            await desk.commands.deliver(may_be_paid)
    async with caller.begin(desk.database) as tx:
        row = await invoice_store.view(tx.connection, caller.project_id, ref, lock=True)
        workflow_id = await change(tx, row)
        document = await shown_invoice(tx.connection, caller, str(row.id))
    if workflow_id is not None:
        await desk.commands.deliver(workflow_id)
    return document


@router.post(
    "/invoices/bulk_finalize",
    response_model=BulkFinalized,
    operation_id="bulk_finalize_invoices",
    summary="Finalize several drafts",
)
async def bulk_finalize(body: BulkInvoices, desk: DeskDep) -> Response:
    """Finalize each draft by itself; what is refused says why and holds back nobody (B110)."""
    results, done = await _bulk(body, invoice_change_store.finalize, desk)
    return reply(BulkFinalized(results=results, finalized_count=done, failed_count=len(results) - done))


@router.post(
    "/invoices/bulk_void",
    response_model=BulkVoided,
    operation_id="bulk_void_invoices",
    summary="Void several invoices",
)
async def bulk_void(body: BulkVoid, desk: DeskDep) -> Response:
    """Void each invoice by itself; what is refused says why and holds back nobody (B111)."""
    results, done = await _bulk(body, _voiding(rebill=body.rebill), desk, settles=True)
    return reply(BulkVoided(results=results, voided_count=done, failed_count=len(results) - done))


async def _bulk(
    body: BulkInvoices, change: _Change, desk: InvoiceCommandContext, *, settles: bool = False
) -> tuple[list[BulkResult], int]:
    """Change each invoice by itself; returns what became of each, and how many were changed."""
    results = []
    for ref in dict.fromkeys(body.invoice_ids):
        try:
            document = await _changed(ref, change, desk, settles=settles)
        except Problem as problem:
            if problem.status >= 500:
                raise
            results.append(BulkResult(invoice_id=ref, success=False, error=problem.detail))
        else:
            results.append(BulkResult(invoice_id=document.id, success=True))
    return results, sum(result.success for result in results)


@router.post(
    "/invoices/{invoice_id}/finalize",
    response_model=InvoiceDocument,
    operation_id="finalize_invoice",
    summary="Issue a draft",
)
async def finalize_invoice(invoice_id: str, desk: DeskDep) -> Response:
    """Return a draft its number and make it immutable; a one-off is then collected if its customer has a provider."""
    return reply(await _changed(invoice_id, invoice_change_store.finalize, desk))


@router.post(
    "/invoices/{invoice_id}/void",
    response_model=InvoiceDocument,
    operation_id="void_invoice",
    summary="Void an invoice",
)
async def void_invoice(invoice_id: str, desk: DeskDep, body: VoidInvoice | None = None) -> Response:
    """Void a draft or an open invoice: it bills nothing any more. A paid one is 409 (B111).

    What it charged is forgiven; with `rebill` the next invoice bills it again (docs/corrections.md).
    """
    change = _voiding(rebill=body is not None and body.rebill)
    return reply(await _changed(invoice_id, change, desk, settles=True))


def _voiding(*, rebill: bool) -> _Change:
    async def void(tx: Transaction, row: Invoice) -> str | None:
        return await invoice_change_store.void(tx, row, rebill=rebill)

    return void


@router.post(
    "/invoices/{invoice_id}/pay",
    response_model=InvoiceDocument,
    operation_id="mark_invoice_paid",
    summary="Mark an invoice paid",
)
async def mark_invoice_paid(invoice_id: str, desk: DeskDep) -> Response:
    """Note that the money came outside Durabill; nothing is charged (B111)."""
    return reply(await _changed(invoice_id, offline_payment_store.mark_paid, desk, settles=True))


@router.put(
    "/invoices/{invoice_id}", response_model=InvoiceDocument, operation_id="update_invoice", summary="Change an invoice"
)
async def update_invoice(invoice_id: str, body: InvoiceChange, desk: DeskDep) -> Response:
    """Set the due date, or go to a status that the invoice may go to. Lines are never edited (B101)."""
    if body.issued_at is not None or body.paid_at is not None:
        raise invalid("issued_at" if body.issued_at else "paid_at", "is set by issuing and paying, not by hand")
    if body.rebill and (body.status or "").lower() != "voided":
        raise invalid("rebill", "goes with the status voided")
    wanted = None if body.status is None else _change_to(body.status, rebill=body.rebill)
    due = body.due_date
    if due is not None:

        async def move(tx: Transaction, row: Invoice) -> None:
            await invoice_change_store.set_due_date(tx, row, due)

        await _changed(invoice_id, move, desk)
    if wanted is not None:
        change, settles = wanted
        await _changed(invoice_id, change, desk, settles=settles)
    async with desk.database.transaction(desk.caller.scope) as connection:
        return reply(await shown_invoice(connection, desk.caller, invoice_id))


def _change_to(status: str, *, rebill: bool) -> tuple[_Change, bool]:
    """Return the change to a status, and whether it settles the invoice. Raises `Problem` 422 for another status."""
    match status.lower():
        case "finalized" | "issued":
            return invoice_change_store.finalize, False
        case "paid":
            return offline_payment_store.mark_paid, True
        case "voided":
            return _voiding(rebill=rebill), True
    raise invalid("status", "can be set to finalized, paid or voided")


@router.delete("/invoices/{invoice_id}", status_code=204, operation_id="delete_draft_invoice", summary="Delete a draft")
async def delete_invoice(invoice_id: str, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a draft; an issued invoice is a permanent record, so that is 409 (B101, B110)."""
    async with caller.begin(database) as tx:
        row = await invoice_store.view(tx.connection, caller.project_id, invoice_id, lock=True)
        await invoice_change_store.delete_draft(tx, row)
    return no_content()


@router.post(
    "/invoices/{invoice_id}/charge",
    response_model=ChargeDocument,
    responses={
        202: {"model": ChargeDocument, "description": "The provider's answer is not known yet; it will be found out."},
        402: {"description": "The card was declined, or its owner must act: `code` and `decline_code` say why."},
    },
    operation_id="charge_invoice",
    summary="Charge the customer's saved payment method",
)
async def charge_invoice(invoice_id: str, desk: DeskDep) -> Response:
    """Take the money now, once: of ten parallel charges one succeeds, the others are 409 (B124-B127)."""
    return charged(await collected(invoice_id, desk))


async def collected(invoice_ref: str, desk: InvoiceCommandContext) -> InvoiceCollected:
    """Have the invoice's workflow collect it now. Raises `Problem` 404, 409 for what is not open, 503."""
    caller = desk.caller
    async with desk.database.transaction(caller.scope) as connection:
        row = await invoice_store.view(connection, caller.project_id, invoice_ref)
    if row.status not in invoice_store.OPEN_STATUSES:
        raise _not_chargeable(row.status)
    command = ChargeInvoice(request_id=uuid.uuid4().hex, invoice_id=row.id)
    if row.subscription_id is None or not invoice_change_store.is_followed_by_its_subscription(row):
        return await desk.commands.charge_one_off(command)
    async with desk.database.transaction(caller.scope) as connection:
        standing = await lifecycle_store.find_invoice_status(connection, row.subscription_id, row.id)
    ref = SubscriptionRef(
        organization_id=caller.organization_id, project_id=caller.project_id, subscription_id=row.subscription_id
    )
    start = CollectInvoiceUntilSettled(
        organization_id=caller.organization_id,
        project_id=caller.project_id,
        invoice=invoice_to_collect(row.id, standing),
        frozen_at=row.customer_now if row.test_clock_id is not None else None,
    )
    return await desk.commands.charge(ref, command, otherwise=start)


def charged(collected: InvoiceCollected) -> Response:
    """Answer with what the provider said. Raises `Problem` 402 for a decline, 409 for what cannot be charged."""
    shown = shown_id("invoice", collected.invoice_id)
    document = ChargeDocument.showing(collected, invoice_id=shown)
    match collected.status:
        case "paid":
            return reply(document)
        case "pending":
            return reply(document, 202)
        case "declined":
            raise _payment_required("charge_declined", collected, shown)
        case "requires_action":
            raise _payment_required("payment_requires_action", collected, shown)
        case "not_collectable":
            code = collected.code or "not_collectable"
            if code.startswith("invoice_"):
                raise _not_chargeable(code.removeprefix("invoice_"))
            raise conflict(code, collected.message or "The invoice cannot be charged.", invoice_id=shown)


def _payment_required(code: str, collected: InvoiceCollected, shown: str) -> Problem:
    return Problem(
        402,
        code,
        collected.message or "The payment failed.",
        extra={
            "invoice_id": shown,
            "decline_code": collected.code,
            "payment_intent_id": collected.payment_intent_id,
            "attempt_no": collected.attempt_no,
            **({"action_url": collected.action_url} if collected.action_url else {}),
        },
    )


def _not_chargeable(status: str) -> Problem:
    if status == "paid":
        return conflict("invoice_already_paid", "The invoice is paid; nothing was charged.", invoice_status=status)
    return conflict(
        "invoice_not_open", f"The invoice is {status}; only an issued one can be charged.", invoice_status=status
    )
