"""Closing: everything unbilled of a subscription becomes one invoice, in one transaction (C5, C8, R22).

terms -> quantities -> rate -> difference -> discounts -> credits -> settle by wallet -> number -> write. What decides
is in `billing/closing`; `operations/proposing.py` reads what it needs; this file locks and writes.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from adapters.payment_port import collects_automatically
from adapters.postgres.alerts import threshold_store
from adapters.postgres.events import correction_store
from adapters.postgres.events.correction_store import PendingCorrection
from adapters.postgres.invoices import (
    billing_store,
    carried_amount_store,
    credit_carryover_store,
    held_adjustment_store,
    invoice_store,
    reopened_period_store,
)
from adapters.postgres.invoices.billing_store import Terms
from adapters.postgres.invoices.invoice_write_store import NewInvoice, write_invoice
from adapters.postgres.journal import failure_notifications
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.wallets import wallet_move_store
from adapters.postgres.wallets.wallet_move_store import NO_WALLET_DRAW, WalletDraw
from billing.closing.periods import Window
from billing.invoice import InvoiceStatus
from models.identifiers import shown_id
from models.messages.closing import ClosePeriods, InvoiceClosed
from operations.proposing import Proposal, propose, wallet_draw


async def close(tx: Transaction, message: ClosePeriods) -> InvoiceClosed:
    """Bill what is unbilled in the window, in the caller's transaction, under the subscription's lock.

    Raises `AlreadyBilled`, `AbsurdInvoice`, `UnknownCurrency`.
    """
    terms = await billing_store.terms_of(tx.connection, message.subscription.subscription_id, lock=True)
    # Read before the usage is, so that a correction that comes later stays pending.
    settles = terms.has_corrections and message.kind != "progressive"
    pending = await correction_store.pending(tx.connection, terms.subscription_id) if settles else []
    window = _window(message)
    proposal = await propose(tx.connection, terms, window, lock=True, draft=message.draft)
    corrections = await _without_left_out(tx, terms, proposal, pending)
    if not proposal.bill.lines:
        # An earlier run of the same close leaves nothing to bill: its invoice is the answer (C8).
        known = await invoice_store.by_billing_key(tx.connection, message.billing_key)
        if known is not None:
            return known
    if message.kind != "progressive":
        rated = {period.start for period in proposal.bill.rated}
        await reopened_period_store.mark_rated(tx.connection, proposal.reopened, rated)
    if not proposal.lines or (message.kind == "progressive" and not proposal.bill.lines):
        currency, last = proposal.bill.currency, proposal.bill.history.last_invoice_id
        await threshold_store.record_crossings(tx, message, currency=currency, invoice_id=None)
        await correction_store.mark_billed(tx.connection, corrections, None)
        await _move_period(tx, message)
        return InvoiceClosed(invoice_id=None, existing_invoice_id=last, currency=currency)
    # Wallets are locked before the number is drawn, here as in every other transaction that does both.
    drawn = NO_WALLET_DRAW if message.draft else await wallet_draw(tx.connection, terms, proposal, window)
    # An invoice that somebody asked for shows its amount; charging too little answers `amount_not_collectable`.
    if not message.draft and message.kind != "on_demand":
        left = proposal.total_minor - drawn.total_minor
        currency, provider = proposal.bill.currency, terms.payment_provider
        carried = carried_amount_store.carry_on(terms.customer_id, provider, left, currency)
        proposal = replace(proposal, lines=(*proposal.lines, *carried))
    invoice = _invoice(tx, message, terms, proposal, drawn)
    owed = proposal.owed_minor if invoice.is_final else 0
    wallet = await credit_carryover_store.lock_wallet(tx, terms.customer_id, invoice.currency) if owed else None
    await held_adjustment_store.apply_adjustments(tx.connection, terms, proposal.adjustments, invoice.id, at=message.at)
    await threshold_store.record_crossings(tx, message, currency=invoice.currency, invoice_id=invoice.id)
    number = await write_invoice(tx.connection, invoice)
    await correction_store.mark_billed(tx.connection, corrections, invoice.id)
    if wallet is not None:
        await credit_carryover_store.grant(tx, wallet, invoice.id, minor=owed, at=invoice.at)
    await wallet_move_store.apply_draw(tx, invoice.id, drawn=drawn, at=invoice.at)
    return InvoiceClosed(
        invoice_id=invoice.id,
        status=invoice.status,
        number=number,
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        collect=invoice.auto_collect,
        due_at=invoice.due_at,
        line_count=len(invoice.lines),
    )


async def _without_left_out(
    tx: Transaction, terms: Terms, proposal: Proposal, pending: Sequence[PendingCorrection]
) -> list[UUID]:
    """Tell operators of the periods that are left out, and return the corrections of the others, which are settled."""
    left_out = proposal.bill.left_out
    for period, reason in left_out:
        shown = shown_id("subscription", terms.subscription_id)
        await failure_notifications.period_left_out(
            tx, subscription_id=terms.subscription_id, shown=shown, period=period, reason=reason
        )
    return [
        correction.id
        for correction in pending
        if not any(period.contains(correction.occurred_at) for period, _ in left_out)
    ]


def _window(message: ClosePeriods) -> Window:
    return Window(
        kind=message.kind,
        start=message.start,
        end=message.end,
        at=message.at,
        plan_version_id=message.plan_version_id,
    )


async def _move_period(tx: Transaction, message: ClosePeriods) -> None:
    following = _next_period(message)
    if following is not None:
        await billing_store.set_current_period(tx.connection, message.subscription.subscription_id, following)


def _next_period(message: ClosePeriods) -> tuple[datetime, datetime] | None:
    if message.next_period_start is None or message.next_period_end is None:
        return None
    return message.next_period_start, message.next_period_end


def _invoice(
    tx: Transaction,
    message: ClosePeriods,
    terms: Terms,
    proposal: Proposal,
    drawn: WalletDraw,
) -> NewInvoice:
    status = _status(message, proposal.total_minor - drawn.total_minor)
    return NewInvoice(
        scope=tx.scope,
        actor=tx.actor,
        customer_id=terms.customer_id,
        customer_shown=terms.customer_code if terms.customer_code_chosen else shown_id("customer", terms.customer_id),
        subscription_id=terms.subscription_id,
        billing_entity_id=terms.billing_entity_id,
        kind=message.kind,
        status=status,
        currency=proposal.bill.currency,
        lines=proposal.lines,
        billing_key=message.billing_key,
        at=message.at,
        timezone=terms.cycle.timezone,
        due_at=message.at + timedelta(days=terms.net_payment_term_days),
        period_start=proposal.bill.period.start,
        period_end=proposal.bill.period.end,
        auto_collect=(
            message.kind != "on_demand"
            and not message.by_hand
            and status == "issued"
            and collects_automatically(terms.payment_provider)
        ),
        prepaid_minor=drawn.total_minor,
        next_period=_next_period(message),
    )


def _status(message: ClosePeriods, due_minor: int) -> InvoiceStatus:
    """Nothing due means paid at once: there is nothing to collect."""
    if message.draft:
        return "draft"
    return "issued" if due_minor > 0 else "paid"
