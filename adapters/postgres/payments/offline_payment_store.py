"""Payments that come outside Durabill: recorded, waited for, refunded (C15, B111, B128).

Everything here happens under the lock of the invoice's row, which the caller took with `invoice_store.view(lock=True)`;
a payment is read after it, so two requests about one payment take turns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import delete, func, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.payment_port import MANUAL
from adapters.postgres.invoices import invoice_store, payment_attempt_store
from adapters.postgres.invoices.invoice_change_store import (
    MAY_BE_PAID,
    audit,
    log,
    next_status,
    no_open_attempt,
    notify,
)
from adapters.postgres.invoices.invoice_store import Invoice
from adapters.postgres.invoices.invoice_write_store import webhook_data, webhook_order
from adapters.postgres.invoices.payment_attempt_store import OPEN
from adapters.postgres.journal import failure_notifications
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.payments import payment_store, unapplied_payments
from adapters.postgres.payments.payment_view_store import Payment
from adapters.postgres.payments.unapplied_payments import UnappliedPayment
from adapters.postgres.wallets import settlement_store
from models.identifiers import new_id, shown_id
from models.problems import Problem, conflict
from models.tables import payment_attempts, refunds
from models.webhook_types import WebhookType

#: How long a checkout is waited for.
#: What can happen to a payment here; each is a webhook `payment.<action>`.
PaymentAction = Literal["created", "deleted", "failed", "refunded", "retried", "succeeded"]
CHECKOUT_LASTS: Final = timedelta(days=30)


@dataclass(frozen=True)
class ReceivedPayment:
    """Money that is said to have come: minor units of the invoice's currency (None: all that is due)."""

    amount_minor: int | None = None
    at: datetime | None = None
    reference: str | None = None
    notes: str | None = None


def due(row: Invoice) -> int:
    """Return what is left to pay of an invoice, in minor units."""
    return int(row.total_minor - row.settled_minor)


async def mark_paid(tx: Transaction, row: Invoice) -> str | None:
    """Note that all that is due came outside Durabill (C15). `row` is the locked view.

    Raises `Problem` 409 `illegal_transition`, `payment_pending`.
    """
    next_status(row, "pay")
    await no_open_attempt(tx.connection, row.id)
    _, workflow_id = await _receive(tx, row, ReceivedPayment())
    return workflow_id


async def record(tx: Transaction, row: Invoice, money: ReceivedPayment) -> tuple[UUID, str | None]:
    """Record a payment of an open invoice, in part or in full; the last one pays it (B128).

    Gives the payment's id, and the workflow to be told after the commit when the invoice is paid now. Raises `Problem`
    409 `invoice_not_open` or `payment_pending`, 422 `more_than_due`.
    """
    await _must_be_open(tx.connection, row)
    if money.amount_minor is not None and money.amount_minor > due(row):
        raise Problem(422, "more_than_due", f"Only {due(row)} minor units are due.", extra={"due_cents": str(due(row))})
    return await _receive(tx, row, money)


async def _must_be_open(connection: AsyncConnection, row: Invoice) -> None:
    if row.status not in invoice_store.OPEN_STATUSES:
        raise conflict(
            "invoice_not_open", f"The invoice is {row.status}; it takes no payment.", invoice_status=row.status
        )
    await no_open_attempt(connection, row.id, OPEN)


async def _receive(tx: Transaction, row: Invoice, money: ReceivedPayment) -> tuple[UUID, str | None]:
    amount = due(row) if money.amount_minor is None else money.amount_minor
    at = money.at or row.customer_now
    payment_id = await _insert(
        tx,
        row,
        amount,
        {"status": "succeeded", "finished_at": at, "reference": money.reference, "metadata": _notes(money.notes)},
    )
    return payment_id, await _settle(tx, row, payment_id=payment_id, amount=amount)


def _notes(notes: str | None) -> dict[str, str]:
    return {} if notes is None else {"notes": notes}


async def _insert(tx: Transaction, row: Invoice, amount: int, values: Mapping[str, Any]) -> UUID:
    identity = new_id()
    statement = insert(payment_attempts).values(
        id=identity,
        project_id=tx.scope.project_id,
        invoice_id=row.id,
        provider=MANUAL,
        idempotency_key=f"{MANUAL}:{identity}",
        amount_minor=amount,
        currency=row.currency,
        started_at=row.customer_now,
        **values,
    )
    await tx.connection.execute(statement)
    return identity


async def _settle(tx: Transaction, row: Invoice, *, payment_id: UUID, amount: int) -> str | None:
    """Count a payment that succeeded; returns the workflow to be told if the invoice is paid by it."""
    paid = await settlement_store.apply_payment(
        tx.connection, tx.scope.project_id, row.id, source_id=payment_id, amount_minor=amount, at=row.customer_now
    )
    await _note(tx, row, payment_id=payment_id, action="succeeded", amount=amount)
    if not paid:
        data = {"payment_id": shown_id("payment", payment_id), "amount_minor": amount}
        await audit(tx, row, "payment_received", data=data)
        return None
    await log(tx, row, "paid")
    attempts = await payment_attempt_store.attempts_of(tx.connection, row.id)
    # A charge that is under way may take the money again: its workflow finds out before it ends.
    under_way = any(attempt.status in OPEN for attempt in attempts)
    return await notify(tx, row, MAY_BE_PAID if under_way else "paid")


async def checkout(tx: Transaction, row: Invoice) -> UUID:
    """Wait for what is due to come outside Durabill; each call makes another pending payment.

    Raises `Problem` 409 `invoice_not_open`, `payment_pending`.
    """
    await _must_be_open(tx.connection, row)
    values = {"status": "pending", "expires_at": row.customer_now + CHECKOUT_LASTS}
    payment_id = await _insert(tx, row, due(row), values)
    await _note(tx, row, payment_id=payment_id, action="created", amount=due(row))
    return payment_id


async def succeed(tx: Transaction, row: Invoice, payment: Payment) -> str | None:
    """Record that a payment came, whatever became of its invoice since; returns the workflow to be told, if any.

    What the invoice still needs is applied to it; the remainder is kept as unapplied money, to be given back. A payment
    that was reported as failed can come all the same. Raises `Problem` 409 `payment_not_pending`.
    """
    if payment.provider != MANUAL or payment.status not in ("pending", "declined"):
        raise _not_pending()
    nothing = {"failure_code": None, "failure_message": None}
    await _set(tx.connection, payment.id, status="succeeded", finished_at=row.customer_now, **nothing)
    is_open = row.status in invoice_store.OPEN_STATUSES
    applied = min(payment.amount_minor, max(due(row), 0)) if is_open else 0
    if payment.amount_minor > applied:
        invoice = await payment_store.lock_invoice(tx.connection, row.id)
        assert invoice is not None, "an invoice with a payment is never deleted"
        unapplied = UnappliedPayment(payment.id, MANUAL, amount_minor=payment.amount_minor - applied)
        await unapplied_payments.record(tx.at(row.customer_now), invoice, unapplied)
    if not applied:
        await _note(tx, row, payment_id=payment.id, action="succeeded", amount=payment.amount_minor)
        return None
    return await _settle(tx, row, payment_id=payment.id, amount=applied)


async def fail(tx: Transaction, row: Invoice, payment: Payment) -> None:
    """Note that a pending payment will not come. Raises `Problem` 409 `payment_not_pending`."""
    must_be_pending(payment)
    message = "The payment was reported as failed."
    await _set(
        tx.connection,
        payment.id,
        status="declined",
        failure_code="reported_failed",
        failure_message=message,
        finished_at=row.customer_now,
    )
    await _note(tx, row, payment_id=payment.id, action="failed", amount=payment.amount_minor)
    await failure_notifications.payment_failed(
        tx, invoice_id=row.id, number=row.number, payment=str(payment.id), reason=message.rstrip(".")
    )


async def retry(tx: Transaction, row: Invoice, payment: Payment) -> None:
    """Wait for a failed payment again. Raises `Problem` 409 `payment_not_failed` and as `record`."""
    must_be_failed(payment)
    await _must_be_open(tx.connection, row)
    await _set(
        tx.connection,
        payment.id,
        status="pending",
        failure_code=None,
        failure_message=None,
        finished_at=None,
        expires_at=row.customer_now + CHECKOUT_LASTS,
    )
    await _note(tx, row, payment_id=payment.id, action="retried", amount=payment.amount_minor)


async def remove(tx: Transaction, row: Invoice, payment: Payment) -> None:
    """Delete a payment that is still waited for. Raises `Problem` 409 `payment_not_pending`."""
    must_be_pending(payment)
    await tx.connection.execute(delete(payment_attempts).where(payment_attempts.c.id == payment.id))
    await _note(tx, row, payment_id=payment.id, action="deleted", amount=payment.amount_minor)


async def refund(
    tx: Transaction,
    row: Invoice,
    *,
    payment: Payment,
    amount_minor: int | None,
    reason: str | None,
) -> None:
    """Note that a payment was given back, in part or in full (None: what is left of it).

    A paid invoice stays paid; of an open one so much is due again. What a provider took is refunded there, but what of
    it pays no invoice is noted here afterwards. Raises `Problem` 409 `payment_not_refundable`,
    `refund_at_provider` and `payment_pending`, 422 `more_than_paid`.
    """
    left = payment.amount_minor - payment.refunded_minor
    if payment.provider != MANUAL and not payment.unapplied_minor:
        raise conflict("refund_at_provider", f"Refund this payment at {payment.provider}, which took it.")
    if payment.status not in ("succeeded", "refunded") or not left:
        raise conflict("payment_not_refundable", "Only a payment that came, and is not given back, can be refunded.")
    amount = left if amount_minor is None else amount_minor
    if amount > left:
        raise Problem(422, "more_than_paid", f"Only {left} minor units are left of this payment.")
    refund_id = new_id()
    values = {"id": refund_id, "project_id": tx.scope.project_id, "payment_id": payment.id, "amount_minor": amount}
    await tx.connection.execute(insert(refunds).values(**values, reason=reason, refunded_at=row.customer_now))
    if payment.provider != MANUAL and amount > payment.unapplied_minor:
        raise Problem(422, "more_than_unapplied", f"Only {payment.unapplied_minor} minor units pay no invoice.")
    of_invoice = max(amount - payment.unapplied_minor, 0)
    await _set(
        tx.connection,
        payment.id,
        status="refunded",
        refunded_minor=payment_attempts.c.refunded_minor + amount,
        unapplied_minor=func.greatest(payment_attempts.c.unapplied_minor - amount, 0),
    )
    if of_invoice and row.status in invoice_store.OPEN_STATUSES:
        await no_open_attempt(tx.connection, row.id, OPEN)
        at = row.customer_now
        await settlement_store.reverse_payment(
            tx.connection, tx.scope.project_id, row.id, source_id=refund_id, amount_minor=of_invoice, at=at
        )
    data = {"payment_id": shown_id("payment", payment.id), "amount_minor": amount, "reason": reason}
    await audit(tx, row, "payment_refunded", data=data)
    await _note(tx, row, payment_id=payment.id, action="refunded", amount=amount)


def must_be_pending(payment: Payment) -> None:
    """Raise `Problem` 409 `payment_not_pending` unless somebody outside Durabill is waited for."""
    if payment.provider != MANUAL or payment.status != "pending":
        raise _not_pending()


def _not_pending() -> Problem:
    return conflict("payment_not_pending", "Only a pending payment of the manual provider can be changed so.")


def must_be_failed(payment: Payment) -> None:
    """Raise `Problem` 409 `payment_not_failed` unless the payment failed."""
    if payment.status != "declined":
        raise conflict("payment_not_failed", "Only a failed payment can be tried again.")


async def _set(connection: AsyncConnection, payment_id: UUID, **values: Any) -> None:
    statement = update(payment_attempts).where(payment_attempts.c.id == payment_id)
    await connection.execute(statement.values(**values, updated_at=func.clock_timestamp()))


async def _note(
    tx: Transaction,
    row: Invoice,
    *,
    payment_id: UUID,
    action: PaymentAction,
    amount: int,
) -> None:
    """Write the payment's audit entry and its webhook."""
    tx = tx.at(row.customer_now)
    await tx.audit(
        resource_type="payment",
        resource_id=payment_id,
        action=action,
        title=f"Payment {action}",
        data={"invoice_id": row.id, "amount_minor": amount, "currency": row.currency},
    )
    about = webhook_data(
        invoice_id=row.id,
        customer_shown=row.shown_customer,
        subscription_id=row.subscription_id,
        total_minor=amount,
        currency=row.currency,
        status=action,
        payment_id=shown_id("payment", payment_id),
    )
    await tx.webhook(WebhookType.of("payment", action), about, ordering_key=webhook_order(row.id))
