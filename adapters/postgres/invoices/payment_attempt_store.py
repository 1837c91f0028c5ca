"""The payment attempts of an invoice, as its changes need to see them; `payments.payment_store` makes and ends them."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from models.tables import payment_attempts

#: The outcome is not known yet, or the customer must act.
OPEN: Final = ("pending", "unknown", "requires_action")

#: Stripe forgets idempotency keys after a day; an older attempt is only looked up, never sent (C7).
RESEND_WITHIN: Final = timedelta(hours=23)

MAY_SEND: Final = (payment_attempts.c.created_at > func.clock_timestamp() - RESEND_WITHIN).label("may_send")


async def attempts_of(connection: AsyncConnection, invoice_id: UUID) -> list[Row[Any]]:
    """Read an invoice's attempts at a provider, oldest first; `may_send` says that the provider still knows its key."""
    statement = (
        select(payment_attempts, MAY_SEND)
        .where(payment_attempts.c.invoice_id == invoice_id, payment_attempts.c.attempt_no.is_not(None))
        .order_by(payment_attempts.c.attempt_no)
    )
    return list((await connection.execute(statement)).all())
