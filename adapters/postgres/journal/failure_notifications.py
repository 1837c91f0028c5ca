"""Notifications of what goes wrong: payments that fail, payments that wait for the customer, runs that are parked,
subscriptions that are suspended as unpaid."""

from uuid import UUID

from adapters.postgres.journal.transaction import Transaction
from billing.period import Period


async def payment_failed(tx: Transaction, *, invoice_id: UUID, number: str | None, payment: str, reason: str) -> None:
    """Tell that a payment of an invoice failed, once for each ``payment`` (its id, or the attempt's number)."""
    shown = number or str(invoice_id)
    await tx.notify(
        kind="payment",
        title=f"Payment failed for invoice {shown}",
        body=f"{reason}. `GET /v1/invoices/{invoice_id}` shows whether it is tried again, and when.",
        resource_type="invoice",
        resource_id=invoice_id,
        key=f"payment.failed/{invoice_id}/{payment}",
    )


async def action_required(
    tx: Transaction, *, invoice_id: UUID, number: str | None, payment: str, reason: str, action_url: str | None
) -> None:
    """Tell that a payment waits for the customer to confirm it at ``action_url``, once for each ``payment``."""
    where = f"at {action_url}" if action_url else "at the payment provider"
    await tx.notify(
        kind="payment",
        title=f"The payment of invoice {number or invoice_id} waits for the customer",
        body=f"{reason}. The customer has to confirm it {where}.",
        resource_type="invoice",
        resource_id=invoice_id,
        key=f"payment.action_required/{invoice_id}/{payment}",
    )


async def run_parked(tx: Transaction, *, subscription_id: UUID, shown: str, at: str, reason: str) -> None:
    """Tell that billing of a subscription was set aside (C10); ``at`` is in the subscription's time."""
    title = f"Billing of subscription {shown} needs attention"
    body = (
        f"At {at}: {reason}. Mend the cause, then send its workflow the update `retry_parked` (or `skip_parked`) "
        "in the Temporal UI; usage and later periods go on meanwhile."
    )
    await _of_subscription(tx, subscription_id, "parked", at=at, title=title, body=body)


async def period_left_out(tx: Transaction, *, subscription_id: UUID, shown: str, period: Period, reason: str) -> None:
    """Tell, once for each period, that one billed before cannot be rated again (C10)."""
    start, end = period.start.isoformat(), period.end.isoformat()
    await tx.notify(
        kind="billing",
        title=f"A billed period of subscription {shown} needs attention",
        body=(
            f"The period from {start} to {end} has changed since it was billed and cannot be rated again: {reason}. "
            "It stays as it was billed, and later periods are billed without it. Each next invoice tries it again: "
            "amend or void the events that are at fault, or raise the limit that is named."
        ),
        resource_type="subscription",
        resource_id=subscription_id,
        key=f"subscription.period_left_out/{subscription_id}/{start}",
    )


async def suspended(tx: Transaction, *, subscription_id: UUID, shown: str, at: str, reason: str) -> None:
    """Tell that a subscription was suspended because it was not paid (B93); ``at`` is in the subscription's time."""
    title = f"Subscription {shown} was suspended"
    body = (
        f"At {at}: {reason} It is reinstated when they are settled, or with `POST /v1/subscriptions/{shown}/reinstate`."
    )
    await _of_subscription(tx, subscription_id, "suspended", at=at, title=title, body=body)


async def _of_subscription(
    tx: Transaction,
    subscription_id: UUID,
    what: str,
    *,
    at: str,
    title: str,
    body: str,
) -> None:
    await tx.notify(
        kind="billing",
        title=title,
        body=body,
        resource_type="subscription",
        resource_id=subscription_id,
        key=f"subscription.{what}/{subscription_id}/{at}",
    )
