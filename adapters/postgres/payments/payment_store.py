"""Payment attempts: committed before the provider is called, and the outcome recorded once (C7, B126).

The number of an invoice's attempts grows only after a known failure, so at most one attempt is open at any time; the
database holds both that and "at most one success" as unique indexes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, cast, func, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.payment_port import ChargeRequest
from adapters.postgres.customers.payment_method_store import DEFAULT_METHOD, PROVIDER, is_default_of
from adapters.postgres.invoices.payment_attempt_store import MAY_SEND, OPEN
from models.identifiers import new_id, payment_key, shown_id
from models.tables import customers, invoices, payment_attempts, projects


@dataclass(frozen=True)
class Collectable:
    """An invoice, locked, with what a charge needs to know about its customer."""

    invoice_id: UUID
    status: str
    number: str | None
    total_minor: int
    due_minor: int
    currency: str
    subscription_id: UUID | None
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    payment_provider: str | None
    customer_ref: str | None
    method_ref: str | None
    payment_intent_id: str | None
    paid_at: datetime | None
    in_test_clock: bool

    @property
    def customer_shown(self) -> str:
        """Return the client's own id of the customer, else ours (C4)."""
        return self.customer_code if self.customer_code_chosen else shown_id("customer", self.customer_id)


async def lock_invoice(connection: AsyncConnection, invoice_id: UUID) -> Collectable | None:
    """Read an invoice and keep every other collection, voiding or payment of it waiting; None if it is gone."""
    statement = (
        select(
            invoices,
            customers.c.code,
            customers.c.code_chosen,
            PROVIDER,
            customers.c.payment_provider_customer_id,
            customers.c.test_clock_id.is_not(None).label("in_test_clock"),
            DEFAULT_METHOD.c.provider_payment_method_id,
        )
        .join(customers, customers.c.id == invoices.c.customer_id)
        .outerjoin(DEFAULT_METHOD, is_default_of(customers.c.id))
        .where(invoices.c.id == invoice_id)
        .with_for_update(of=invoices)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return Collectable(
        invoice_id=row.id,
        status=row.status,
        number=row.number,
        total_minor=row.total_minor,
        due_minor=row.total_minor - row.settled_minor,
        currency=row.currency,
        subscription_id=row.subscription_id,
        customer_id=row.customer_id,
        customer_code=row.code,
        customer_code_chosen=row.code_chosen,
        payment_provider=row.payment_provider,
        customer_ref=row.payment_provider_customer_id,
        method_ref=row.provider_payment_method_id,
        payment_intent_id=row.payment_intent_id,
        paid_at=row.paid_at,
        in_test_clock=row.in_test_clock,
    )


async def start_attempt(
    connection: AsyncConnection, project_id: UUID, invoice: Collectable, *, attempt_no: int, provider: str, at: datetime
) -> Row[Any]:
    """Insert an attempt to take what is due; its key is a business fact: invoice and number (C7).

    `at` is the subscription's now.
    """
    values = {
        "id": new_id(),
        "project_id": project_id,
        "invoice_id": invoice.invoice_id,
        "attempt_no": attempt_no,
        "status": "pending",
        "provider": provider,
        "idempotency_key": payment_key(invoice.invoice_id, attempt_no),
        "method_ref": invoice.method_ref,
        "amount_minor": invoice.due_minor,
        "currency": invoice.currency,
        "started_at": at,
    }
    statement = insert(payment_attempts).values(**values).returning(payment_attempts, MAY_SEND)
    row: Row[Any] = (await connection.execute(statement)).one()
    await connection.execute(
        update(invoices)
        .where(invoices.c.id == invoice.invoice_id)
        .values(attempt_count=func.greatest(invoices.c.attempt_count, attempt_no), updated_at=func.clock_timestamp())
    )
    return row


async def finish_attempt(
    connection: AsyncConnection,
    attempt_id: UUID,
    *,
    status: str,
    at: datetime,
    provider_payment_id: str | None = None,
    failure_code: str | None = None,
    failure_message: str | None = None,
    action_url: str | None = None,
) -> bool:
    """Record an attempt's outcome unless it has a final one; returns whether this call changed it.

    A declined attempt can still succeed: the customer confirmed its payment after all. `action_url` is where they do.
    """
    replaceable = (*OPEN, "declined") if status == "succeeded" else OPEN
    link = {} if action_url is None else {"action_url": action_url}
    statement = (
        update(payment_attempts)
        .where(payment_attempts.c.id == attempt_id, payment_attempts.c.status.in_(replaceable))
        .values(
            status=status,
            provider_payment_id=func.coalesce(provider_payment_id, payment_attempts.c.provider_payment_id),
            metadata=payment_attempts.c.metadata.op("||")(cast(link, JSONB)),
            failure_code=failure_code,
            failure_message=failure_message,
            finished_at=None if status in OPEN else at,
            updated_at=func.clock_timestamp(),
        )
    )
    changed = await connection.execute(statement)
    return bool(changed.rowcount)


async def set_canceled(connection: AsyncConnection, attempt_id: UUID) -> None:
    """Note that a declined attempt was canceled at its provider, so that nothing can take its money any more."""
    statement = update(payment_attempts).where(payment_attempts.c.id == attempt_id)
    canceled = payment_attempts.c.metadata.op("||")(cast({"canceled": True}, JSONB))
    await connection.execute(statement.values(metadata=canceled, updated_at=func.clock_timestamp()))


async def is_live(connection: AsyncConnection, project_id: UUID) -> bool:
    """Return whether real money is taken in a project."""
    found = await connection.scalar(select(projects.c.environment).where(projects.c.id == project_id))
    return found == "live"


def charge_request(project_id: UUID, invoice: Collectable, row: Row[Any], *, at: datetime) -> ChargeRequest:
    """Return what the provider is asked for an attempt's row; `at` is the subscription's now."""
    return ChargeRequest(
        project_id=project_id,
        invoice_id=invoice.invoice_id,
        attempt_no=row.attempt_no,
        key=row.idempotency_key,
        amount_minor=row.amount_minor,
        currency=row.currency,
        customer_ref=invoice.customer_ref,
        method_ref=row.method_ref,
        payment_id=row.provider_payment_id,
        at=at,
        started_at=row.created_at,
    )


async def set_invoice_status(connection: AsyncConnection, invoice_id: UUID, *, status: str) -> None:
    """Move an invoice to a status that the caller found legal, other than paid, which settling makes it."""
    values = {"status": status, "updated_at": func.clock_timestamp()}
    await connection.execute(update(invoices).where(invoices.c.id == invoice_id).values(**values))
