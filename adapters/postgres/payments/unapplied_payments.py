"""Money that came for an invoice which no longer needs it: recorded, announced, and to be given back (B128)."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, update

from adapters.payment_port import MANUAL
from adapters.postgres.invoices.invoice_write_store import webhook_data, webhook_order
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.payments.payment_store import Collectable
from models.identifiers import shown_id
from models.tables import payment_attempts
from models.webhook_types import WebhookType


@dataclass(frozen=True)
class UnappliedPayment:
    """How much of a payment, in minor units of the invoice's currency, pays no invoice."""

    payment_id: UUID
    provider: str
    amount_minor: int


async def record(tx: Transaction, invoice: Collectable, payment: UnappliedPayment) -> None:
    """Record unapplied money on its payment, in the audit log, as `payment.unapplied` and as a notification."""
    statement = update(payment_attempts).where(payment_attempts.c.id == payment.payment_id)
    changes = {"unapplied_minor": payment.amount_minor, "updated_at": func.clock_timestamp()}
    await tx.connection.execute(statement.values(**changes))
    shown = shown_id("payment", payment.payment_id)
    await tx.audit(
        resource_type="invoice",
        resource_id=invoice.invoice_id,
        action="payment_unapplied",
        title="Payment came after the invoice was settled",
        data={
            "payment_id": shown,
            "amount_minor": payment.amount_minor,
            "invoice_status": invoice.status,
            "provider": payment.provider,
        },
    )
    data = webhook_data(
        invoice_id=invoice.invoice_id,
        customer_shown=invoice.customer_shown,
        subscription_id=invoice.subscription_id,
        total_minor=invoice.total_minor,
        currency=invoice.currency,
        status=invoice.status,
        invoice_number=invoice.number,
        payment_id=shown,
        unapplied_amount_cents=str(payment.amount_minor),
    )
    await tx.webhook(WebhookType.PAYMENT_UNAPPLIED, data, ordering_key=webhook_order(invoice.invoice_id))
    way = "Refund it" if payment.provider == MANUAL else "Refund it at the provider"
    await tx.notify(
        kind="payment",
        title=f"Payment {shown} came for an invoice that is {invoice.status}",
        body=f"{payment.amount_minor} minor units of {invoice.currency} came through {payment.provider} for "
        f"{invoice.number}, which no longer needed them. {way}, and note that with POST /v1/payments/{{id}}/refund.",
        resource_type="payment",
        resource_id=payment.payment_id,
        key=f"payment_unapplied:{payment.payment_id}",
    )
