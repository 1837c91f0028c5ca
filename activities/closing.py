"""Closing: everything unbilled of a subscription becomes one invoice, in one transaction (C5, C8, design section 4)."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.lifecycle import begin_for, scope_of
from adapters.payment_port import collects_automatically
from adapters.postgres.alerts import threshold_store
from adapters.postgres.database import Database
from adapters.postgres.events import correction_store
from adapters.postgres.invoices import (
    billing_store,
    carried_amount_store,
    credit_carryover_store,
    invoice_adjustment_store,
    invoice_store,
    progressive_billing_store,
)
from adapters.postgres.invoices.billing_store import Bill, Terms
from adapters.postgres.invoices.invoice_write_store import AlreadyBilled, NewInvoice, NewLine, new_line, write_invoice
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.wallets import wallet_move_store
from adapters.postgres.wallets.wallet_move_store import NO_WALLET_DRAW, WalletDraw
from billing.invoice import AbsurdInvoice, InvoiceStatus, total
from billing.money import UnknownCurrency
from billing.period import Period
from models.identifiers import shown_id
from models.messages.base import SubscriptionRef
from models.messages.closing import ClosePeriods, InvoiceClosed


class ClosingActivities:
    """The close of one subscription."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="close_periods")
    async def close_periods(self, message: ClosePeriods) -> InvoiceClosed:
        """Bill what is unbilled in `[start, end)`; a second run with the same billing key finds the first invoice.

        What no retry can cure (an absurd amount, a plan that cannot be read) is a non-retryable ApplicationError whose
        type says which, so that the workflow parks the close with it (C10).
        """
        return await billed_once(
            self._database,
            message.subscription,
            message.billing_key,
            lambda begun: close(begun.at(message.at), message),
        )


async def billed_once(
    database: Database,
    ref: SubscriptionRef,
    billing_key: str,
    bill: Callable[[Transaction], Awaitable[InvoiceClosed]],
) -> InvoiceClosed:
    """Bill in one transaction, or answer the invoice that another run has written under the key meanwhile (C8).

    What no retry can cure is a non-retryable ApplicationError (C10).
    """
    with _bill_or_park():
        try:
            async with begin_for(database, ref) as tx:
                return await bill(tx)
        except AlreadyBilled:
            async with database.transaction(scope_of(ref)) as connection:
                known = await invoice_store.by_billing_key(connection, billing_key)
            assert known is not None, "the key that was taken belongs to an invoice"
            return known


@contextmanager
def _bill_or_park() -> Iterator[None]:
    """Turn what no retry can cure into the ApplicationError that the workflow parks a close with (C10)."""
    try:
        yield
    except AbsurdInvoice as error:
        raise ApplicationError(str(error), type="AbsurdInvoice", non_retryable=True) from error
    except (UnknownCurrency, ValidationError) as error:
        raise ApplicationError(str(error), type="UnreadablePlan", non_retryable=True) from error


async def close(tx: Transaction, message: ClosePeriods) -> InvoiceClosed:
    """Bill what is unbilled in the window, in the caller's transaction, under the subscription's lock.

    Raises `AlreadyBilled`, `AbsurdInvoice`, `UnknownCurrency`.
    """
    terms = await billing_store.terms_of(tx.connection, message.subscription.subscription_id, lock=True)
    # Read before the usage is, so that a correction that comes later stays pending.
    settles = terms.has_corrections and message.kind != "progressive"
    corrections = await correction_store.pending(tx.connection, terms.subscription_id) if settles else []
    bill = await _bill(tx.connection, message, terms)
    if not bill.lines:
        # An earlier run of the same close leaves nothing to bill: its invoice is the answer (C8).
        known = await invoice_store.by_billing_key(tx.connection, message.billing_key)
        if known is not None:
            return known
    held = await invoice_adjustment_store.pending_adjustments(tx.connection, terms, bill, lock=True)
    priced_together = invoice_adjustment_store.adjustments_for(held, bill, terms.subscription_id)
    lines = [*(new_line(line, terms.subscription_id) for line in bill.lines), *priced_together.lines]
    # A draft is no demand for money: what waits for the next invoice goes on waiting.
    if lines and terms.has_carried and not message.draft:
        lines += await carried_amount_store.take_over(tx.connection, terms.customer_id, bill.currency)
    due = total(lines)
    lines += credit_carryover_store.carryover_line(due)
    if not lines or (message.kind == "progressive" and not bill.lines):
        await threshold_store.record_crossings(tx, message, currency=bill.currency, invoice_id=None)
        await correction_store.mark_billed(tx.connection, corrections, None)
        await _move_period(tx.connection, message)
        return InvoiceClosed(invoice_id=None, existing_invoice_id=bill.last_invoice_id, currency=bill.currency)
    drawn = await _wallet_draw(tx.connection, message, terms, bill, lines)
    if not message.draft:
        left = total(lines) - drawn.total_minor
        lines += carried_amount_store.carry_on(terms.customer_id, terms.payment_provider, left, bill.currency)
    invoice = _invoice(tx, message, terms, bill, lines, prepaid_minor=drawn.total_minor)
    assert invoice.total_minor >= 0, "the total is the sum of the lines, and never negative (C2)"
    await invoice_adjustment_store.apply_adjustments(tx.connection, priced_together, invoice.id, at=message.at)
    await threshold_store.record_crossings(tx, message, currency=bill.currency, invoice_id=invoice.id)
    number = await write_invoice(tx.connection, invoice)
    await correction_store.mark_billed(tx.connection, corrections, invoice.id)
    if due < 0 and invoice.is_final:
        credited = credit_carryover_store.CarriedOverInvoice(
            invoice.customer_id, invoice.id, invoice.currency, minor=-due, at=invoice.at
        )
        await credit_carryover_store.grant(tx, credited)
    if drawn.draws:
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


async def _bill(connection: AsyncConnection, message: ClosePeriods, terms: Terms) -> Bill:
    if message.kind == "progressive":
        version = message.plan_version_id or terms.plan_version_id
        running = Period(start=message.start, end=message.end)
        return await progressive_billing_store.unbilled(
            connection, terms.subscription_id, running, at=message.at, plan_version_id=version
        )
    return await billing_store.bill(
        connection,
        terms,
        start=message.start,
        end=message.end,
        plan_version_id=message.plan_version_id,
        closes_period=message.kind in ("period", "final"),
        ends_subscription=message.kind == "final",
    )


async def _wallet_draw(
    connection: AsyncConnection, message: ClosePeriods, terms: Terms, bill: Bill, lines: Sequence[NewLine]
) -> WalletDraw:
    """Return what the customer's wallets pay; customers without credits cost no statement (B133)."""
    if message.draft or not terms.has_wallet:
        return NO_WALLET_DRAW
    due = total(lines)
    return await wallet_move_store.wallet_draw_for(
        connection, terms.customer_id, due_minor=due, currency=bill.currency, at=message.at
    )


async def _move_period(connection: AsyncConnection, message: ClosePeriods) -> None:
    following = _next_period(message)
    if following is not None:
        await billing_store.set_current_period(connection, message.subscription.subscription_id, following)


def _next_period(message: ClosePeriods) -> tuple[datetime, datetime] | None:
    if message.next_period_start is None or message.next_period_end is None:
        return None
    return message.next_period_start, message.next_period_end


def _invoice(
    tx: Transaction, message: ClosePeriods, terms: Terms, bill: Bill, lines: Sequence[NewLine], *, prepaid_minor: int
) -> NewInvoice:
    status = _status(message, total(lines) - prepaid_minor)
    return NewInvoice(
        scope=tx.scope,
        actor=tx.actor,
        customer_id=terms.customer_id,
        customer_shown=terms.customer_code if terms.customer_code_chosen else shown_id("customer", terms.customer_id),
        subscription_id=terms.subscription_id,
        billing_entity_id=terms.billing_entity_id,
        kind=message.kind,
        status=status,
        currency=bill.currency,
        lines=lines,
        billing_key=message.billing_key,
        at=message.at,
        due_at=message.at + timedelta(days=terms.net_payment_term_days),
        period_start=bill.period.start,
        period_end=bill.period.end,
        auto_collect=(
            message.kind != "on_demand"
            and not message.by_hand
            and status == "issued"
            and collects_automatically(terms.payment_provider)
        ),
        prepaid_minor=prepaid_minor,
        next_period=_next_period(message),
    )


def _status(message: ClosePeriods, due_minor: int) -> InvoiceStatus:
    """Nothing due means paid at once: there is nothing to collect."""
    if message.draft:
        return "draft"
    return "issued" if due_minor > 0 else "paid"
