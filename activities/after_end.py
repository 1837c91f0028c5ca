"""Billing an ended subscription once more: its late usage and corrections become an invoice of kind ``adjustment``."""

from datetime import datetime

from temporalio import activity

from activities.closing import billed_once
from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database
from adapters.postgres.invoices import invoice_collection_store, invoice_store
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.subscriptions import ended_subscription_store, subscription_store
from billing.collection import OpenInvoice
from models.identifiers import request_billing_key
from models.messages.after_end import BillAfterEnd
from models.messages.closing import ClosePeriods, InvoiceClosed
from operations.closing import close


class AfterEndActivities:
    """The bill of a subscription that has had its final invoice."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="bill_after_end")
    async def bill_after_end(self, message: BillAfterEnd) -> InvoiceClosed:
        """Bill what is unbilled; the invoice and the start of the workflow that collects it commit together.

        Safe to run again: the second run finds the first one's invoice. Errors that no retry can cure are those of
        `close_periods`.
        """
        return await billed_once(
            self._database, message.subscription, _key(message), lambda begun: _bill(begun, message)
        )


def _key(message: BillAfterEnd) -> str:
    return request_billing_key(message.subscription.subscription_id, f"after-end:{message.request_id}")


async def _bill(tx: Transaction, message: BillAfterEnd) -> InvoiceClosed:
    if message.cutoff_end is None:
        await ended_subscription_store.mark_billed(tx.connection, message.subscription.subscription_id)
    known = await invoice_store.by_billing_key(tx.connection, _key(message))
    if known is not None:
        return known
    row = await subscription_store.view_by_id(tx.connection, message.subscription.subscription_id)
    if row.ended_at is None:
        return InvoiceClosed(invoice_id=None)
    if row.trial_ends_at is not None and row.ended_at <= row.trial_ends_at:
        return InvoiceClosed(invoice_id=None)
    at = await clock_store.now(tx.connection, row.test_clock_id)
    closed = await close(tx.at(at), _close_of(message, ended_at=row.ended_at, starts_at=row.starts_at, at=at))
    if closed.invoice_id is not None and closed.status == "issued":
        frozen = at if row.test_clock_id is not None else None
        invoice = OpenInvoice(
            invoice_id=closed.invoice_id,
            number=closed.number,
            total_minor=closed.total_minor,
            currency=closed.currency,
            next_attempt_at=at if closed.collect else None,
        )
        await invoice_collection_store.follow(tx, invoice, frozen_at=frozen)
    return closed


def _close_of(message: BillAfterEnd, *, ended_at: datetime, starts_at: datetime, at: datetime) -> ClosePeriods:
    by_hand = message.cutoff_end is not None
    end = ended_at if message.cutoff_end is None else min(message.cutoff_end, ended_at)
    return ClosePeriods(
        subscription=message.subscription,
        kind="adjustment",
        start=(message.start or starts_at) if by_hand else ended_at,
        end=end,
        at=at,
        billing_key=_key(message),
        draft=message.draft,
        by_hand=by_hand,
    )
