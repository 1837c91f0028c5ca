"""Changing an invoice: finalize, void, delete a draft, set its due date (C14, B101, B110, B111).

Each change checks the state machine on the locked row, writes its audit entry and webhook, and tells the workflow that
follows the invoice, all in the caller's transaction.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.payment_port import collects_automatically
from adapters.postgres.customers import billing_zone_store
from adapters.postgres.events import correction_store
from adapters.postgres.invoices import (
    credit_carryover_store,
    held_adjustment_store,
    invoice_collection_store,
    payment_attempt_store,
    reopened_period_store,
)
from adapters.postgres.invoices.invoice_store import Fee, Invoice
from adapters.postgres.invoices.invoice_write_store import DRAW_NUMBER, number_prefix, webhook_data, webhook_order
from adapters.postgres.journal import audit_store
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.wallets import wallet_move_store
from billing.collection import OpenInvoice
from billing.invoice import IllegalTransition, InvoiceEvent, InvoiceStatus, transition
from models.identifiers import (
    invoice_workflow_id,
    subscription_workflow_id,
)
from models.messages.subscription import InvoiceStatusChanged
from models.problems import conflict, invalid
from models.tables import customers, invoice_lines, invoices
from models.webhook_types import WebhookType

#: What can happen to an invoice here; each is a webhook `invoice.<action>`.
InvoiceAction = Literal["created", "deleted", "issued", "paid", "updated", "voided"]
INVOICE_STATUS_CHANGED: Final = "invoice_status_changed"

#: Tells the workflow to ask the provider at once instead of at its next turn.
MAY_BE_PAID: Final = "payment_reported"

_FINALIZE: Final = text(
    DRAW_NUMBER
    + """
UPDATE invoices SET
    number = drawn.number, status = CAST(:status AS text), issued_at = CAST(:at AS timestamptz),
    due_at = coalesce(due_at, CAST(:due_at AS timestamptz)), paid_at = CAST(:paid_at AS timestamptz),
    settled_minor = CAST(:prepaid_minor AS bigint), prepaid_minor = CAST(:prepaid_minor AS bigint),
    auto_collect = CAST(:auto_collect AS boolean), updated_at = clock_timestamp()
FROM drawn
WHERE invoices.id = CAST(:id AS uuid)
RETURNING invoices.number
"""
)

_TITLES: Final = {
    "issued": "Invoice issued",
    "paid": "Invoice marked paid",
    "voided": "Invoice voided",
    "deleted": "Draft deleted",
    "updated": "Invoice changed",
    "payment_received": "Part of the invoice paid",
    "payment_refunded": "Payment refunded",
}


def next_status(row: Invoice, event: InvoiceEvent) -> InvoiceStatus:
    """Return the status after an event. Raises `Problem` 409 `illegal_transition`."""
    try:
        return transition(row.status, event)
    except IllegalTransition as error:
        raise conflict("illegal_transition", f"{str(error).capitalize()}.", invoice_status=row.status) from None


async def finalize(tx: Transaction, row: Invoice) -> str | None:
    """Issue a draft: it gets its number and is immutable from now on.

    Wallets pay first (B133), and an invoice with nothing left to pay is paid at once.

    `row` is the locked view. A one-off invoice gets a workflow that collects it; answers that workflow's id, to be
    delivered after the commit. Raises `Problem` 409 `illegal_transition`.
    """
    at = row.customer_now
    issued = next_status(row, "issue")
    drawn = await wallet_move_store.wallet_draw_for(
        tx.connection, row.customer_id, due_minor=row.total_minor, currency=row.currency, at=at
    )
    # Wallets are locked before the number is drawn, here as in a close.
    owed = await credit_carryover_store.carryover_of(tx.connection, row.id)
    wallet = await credit_carryover_store.lock_wallet(tx, row.customer_id, row.currency) if owed else None
    status: InvoiceStatus = issued if row.total_minor > drawn.total_minor else "paid"
    term = await tx.connection.scalar(select(customers.c.net_payment_term).where(customers.c.id == row.customer_id))
    timezone = await billing_zone_store.zone_of_invoice(tx.connection, row.customer_id, row.subscription_id)
    collect = row.kind == "one_off" and status == "issued" and collects_automatically(row.payment_provider)
    number: str | None = await tx.connection.scalar(
        _FINALIZE,
        {
            "project_id": tx.scope.project_id,
            "billing_entity_id": row.billing_entity_id,
            "is_final": True,
            "number_prefix": number_prefix(at, timezone),
            "status": status,
            "at": at,
            "due_at": at + timedelta(days=term or 0),
            "prepaid_minor": drawn.total_minor,
            "paid_at": at if status == "paid" else None,
            "auto_collect": collect,
            "id": row.id,
        },
    )
    await wallet_move_store.apply_draw(tx, row.id, drawn=drawn, at=at)
    if wallet is not None:
        await credit_carryover_store.grant(tx, wallet, row.id, minor=owed, at=at)
    for action in ("issued", "paid") if status == "paid" else ("issued",):
        await log(tx, row, action, number=number)
    if is_followed_by_its_subscription(row):
        return await notify(tx, row, status)
    return await _follow(tx, row, number, collect=collect) if status == "issued" else None


def is_followed_by_its_subscription(row: Invoice) -> bool:
    """Tell whose workflow collects an invoice: a one-off, and one made after the subscription's end, has its own."""
    return row.subscription_id is not None and row.kind != "adjustment"


async def _follow(tx: Transaction, row: Invoice, number: str | None, *, collect: bool) -> str:
    """Have a workflow of its own care for an issued invoice that has no subscription."""
    at = row.customer_now
    invoice = OpenInvoice(
        invoice_id=row.id,
        number=number,
        total_minor=row.total_minor,
        currency=row.currency,
        next_attempt_at=at if collect else None,
    )
    frozen_at = at if row.test_clock_id is not None else None
    return await invoice_collection_store.follow(tx, invoice, frozen_at=frozen_at)


async def notify(tx: Transaction, row: Invoice, status: str) -> str:
    """Tell the workflow that follows the invoice what became of it."""
    message = InvoiceStatusChanged(invoice_id=row.id, status=status)
    if row.subscription_id is not None and is_followed_by_its_subscription(row):
        await tx.enqueue_subscription_signal(
            subscription_id=row.subscription_id,
            signal=INVOICE_STATUS_CHANGED,
            message=message,
        )
        return subscription_workflow_id(tx.scope.project_id, row.subscription_id)
    workflow_id = invoice_workflow_id(row.id)
    await tx.enqueue_signal(
        workflow_id=workflow_id,
        signal=INVOICE_STATUS_CHANGED,
        message=message,
    )
    return workflow_id


async def void(tx: Transaction, row: Invoice, *, rebill: bool = False) -> str | None:
    """Void a draft or an open invoice: it bills nothing any more (R20). `row` is the locked view.

    What wallets paid goes back to them, and uses of coupons wait for the next invoice again. What the invoice charged
    is forgiven, its add-ons included; with `rebill` the next invoice bills it again.

    Raises `Problem` 409 `illegal_transition` for a paid or voided one, `payment_pending` while a charge's outcome is
    unknown, `invoice_partly_paid` when money was received; 422 for `rebill` on an invoice without a subscription.
    """
    if rebill and row.subscription_id is None:
        raise invalid("rebill", "has no effect on a one-off invoice; make a new one instead")
    status = next_status(row, "void")
    await no_open_attempt(tx.connection, row.id)
    if row.settled_minor > row.prepaid_minor:
        raise conflict("invoice_partly_paid", "Refund what was paid of this invoice before it is voided.")
    await held_adjustment_store.restore_adjustments(tx.connection, row.id, with_add_ons=rebill)
    await correction_store.reopen(tx.connection, row.id)
    if row.subscription_id is not None:
        if not rebill:
            await reopened_period_store.forgive(tx.connection, row.subscription_id, row.id)
        # Also after forgiving: a correction of what is forgiven now may have been billed already.
        await reopened_period_store.reopen(tx, row.subscription_id, row.id)
    if row.prepaid_minor:
        await wallet_move_store.restore_adjustments(tx, row.id, row.customer_now)
    nothing = {"next_attempt_at": None, "settled_minor": 0, "prepaid_minor": 0}
    await _set(tx.connection, row.id, status=status, voided_at=row.customer_now, **nothing)
    await log(tx, row, "voided", data={"rebill": rebill})
    return None if row.status == "draft" else await notify(tx, row, status)


async def delete_draft(tx: Transaction, row: Invoice) -> None:
    """Delete a draft and its lines; what they billed is on the next invoice of its subscription (R20).

    Raises `Problem` 409 `invoice_is_final`: an issued invoice is a permanent record (B101).
    """
    if row.status != "draft":
        raise conflict(
            "invoice_is_final", "Only drafts can be deleted; void an issued invoice.", invoice_status=row.status
        )
    await held_adjustment_store.restore_adjustments(tx.connection, row.id, with_add_ons=True)
    await correction_store.reopen(tx.connection, row.id)
    if row.subscription_id is not None:
        await reopened_period_store.reopen(tx, row.subscription_id, row.id)
    await tx.connection.execute(delete(invoice_lines).where(invoice_lines.c.invoice_id == row.id))
    await tx.connection.execute(delete(invoices).where(invoices.c.id == row.id))
    await log(tx, row, "deleted")


async def set_due_date(tx: Transaction, row: Invoice, due_at: datetime) -> None:
    """Move the due date of a draft or an open invoice. Raises `Problem` 409 `invoice_is_final` for a settled one."""
    if row.status in ("paid", "voided"):
        raise conflict(
            "invoice_is_final", f"The invoice is {row.status}; nothing of it changes.", invoice_status=row.status
        )
    await _set(tx.connection, row.id, due_at=due_at)
    await log(tx, row, "updated", changes={"due_date": {"old": row.due_at, "new": due_at}})


async def describe_line(tx: Transaction, row: Invoice, *, line: Fee, description: str) -> None:
    """Return a line of a draft, whose locked view is `row`, other words; its amounts are never edited (B101).

    Raises `Problem` 409 `invoice_issued`: what was issued is a permanent record.
    """
    if row.status != "draft":
        raise conflict("invoice_issued", f"The invoice is {row.status}; only a draft's lines can be described anew.")
    changes = audit_store.changes_between({"description": line.description}, {"description": description})
    if not changes:
        return
    statement = update(invoice_lines).where(invoice_lines.c.id == line.id)
    await tx.connection.execute(statement.values(description=description))
    await log(tx, row, "updated", changes=changes, data={"line": line.position})


async def _set(connection: AsyncConnection, invoice_id: UUID, **values: Any) -> None:
    statement = update(invoices).where(invoices.c.id == invoice_id)
    await connection.execute(statement.values(**values, updated_at=func.clock_timestamp()))


async def no_open_attempt(
    connection: AsyncConnection, invoice_id: UUID, statuses: Collection[str] = payment_attempt_store.OPEN
) -> None:
    """Refuse to settle otherwise what a provider may just have been paid for: 409 `payment_pending` (C7)."""
    attempts = await payment_attempt_store.attempts_of(connection, invoice_id)
    if any(attempt.status in statuses for attempt in attempts):
        raise conflict("payment_pending", "A charge of this invoice is under way; try again when it is settled.")


async def audit(
    tx: Transaction,
    row: Invoice,
    action: str,
    *,
    changes: Mapping[str, object] | None = None,
    number: str | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    """Write an entry into the invoice's event log; `data` is added to what every entry says."""
    await tx.at(row.customer_now).audit(
        resource_type="invoice",
        resource_id=row.id,
        action=action,
        title=_TITLES[action],
        changes=changes,
        data={
            "invoice_number": number or row.number,
            "total_minor": row.total_minor,
            "currency": row.currency,
            **(data or {}),
        },
    )


async def log(
    tx: Transaction,
    row: Invoice,
    action: InvoiceAction,
    *,
    changes: Mapping[str, object] | None = None,
    number: str | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    """Write the audit entry and the webhook of a change; the webhook names the fields of `changes`, if given."""
    await audit(tx, row, action, changes=changes, number=number, data=data)
    about = webhook_data(
        invoice_id=row.id,
        customer_shown=row.shown_customer,
        subscription_id=row.subscription_id,
        total_minor=row.total_minor,
        currency=row.currency,
        status=action if changes is None else row.status,
        invoice_number=number or row.number,
        **({} if changes is None else {"changed": sorted(changes)}),
    )
    await tx.at(row.customer_now).webhook(WebhookType.of("invoice", action), about, ordering_key=webhook_order(row.id))
