"""Payments as rows: attempts at a provider and money that came outside, in one list (B128)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope
from adapters.postgres.paging import Page, paged, total_of
from adapters.postgres.rows import record, records
from models.identifiers import parse_id, shown_id
from models.problems import not_found
from models.tables import customers, invoices, payment_attempts, projects

_ORDERABLE: Final[Mapping[str, ColumnElement[Any]]] = {
    "updated_at": payment_attempts.c.updated_at,
    "amount_cents": payment_attempts.c.amount_minor,
    "status": payment_attempts.c.status,
    "provider": payment_attempts.c.provider,
}
_JOINED: Final = payment_attempts.join(invoices, invoices.c.id == payment_attempts.c.invoice_id)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment with its customer; amounts are minor units of `currency`."""

    id: UUID
    invoice_id: UUID
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    provider: str
    status: str
    amount_minor: int
    refunded_minor: int
    unapplied_minor: int
    currency: str
    provider_payment_id: str | None
    reference: str | None
    failure_message: str | None
    metadata: Mapping[str, Any]
    expires_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def shown_customer(self) -> str:
        """Return the client's own id of the customer, else ours (C4)."""
        return self.customer_code if self.customer_code_chosen else shown_id("customer", self.customer_id)


@dataclass(frozen=True)
class PaymentFilter:
    """Which payments a list is about; None means any."""

    invoice_id: UUID | None = None
    customer_id: UUID | None = None
    statuses: Sequence[str] | None = None
    provider: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a payment joined with its invoice."""
        found: list[ColumnElement[bool]] = []
        if self.invoice_id is not None:
            found.append(payment_attempts.c.invoice_id == self.invoice_id)
        if self.customer_id is not None:
            found.append(invoices.c.customer_id == self.customer_id)
        if self.statuses is not None:
            found.append(payment_attempts.c.status.in_(self.statuses))
        if self.provider is not None:
            found.append(payment_attempts.c.provider == self.provider)
        return found


def _viewed() -> Select[Any]:
    return select(
        payment_attempts,
        invoices.c.customer_id,
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
    ).select_from(_JOINED.join(customers, customers.c.id == invoices.c.customer_id))


async def view(connection: AsyncConnection, project_id: UUID, ref: str) -> Payment:
    """Read a payment by `pay_...` or uuid. Raises `Problem` 404 `payment_not_found`."""
    statement = _viewed().where(payment_attempts.c.project_id == project_id, payment_attempts.c.id == parse_id(ref))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("payment", ref)
    return record(Payment, row)


async def listed(
    connection: AsyncConnection, project_id: UUID, wanted: PaymentFilter, page: Page
) -> tuple[Sequence[Payment], int]:
    """List payments, newest first, and count all that the filter matches."""
    conditions = [payment_attempts.c.project_id == project_id, *wanted.conditions()]
    total = await total_of(connection, _JOINED, *conditions)
    statement = paged(_viewed().where(*conditions), page, payment_attempts.c.id, _ORDERABLE)
    return records(Payment, await connection.execute(statement)), total


async def scope_of(connection: AsyncConnection, ref: str) -> ProjectScope:
    """Say to which project a payment belongs; `connection` sees all of them. Raises `Problem` 404."""
    statement = (
        select(projects.c.organization_id, projects.c.id)
        .join(payment_attempts, payment_attempts.c.project_id == projects.c.id)
        .where(payment_attempts.c.id == parse_id(ref))
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("payment", ref)
    return ProjectScope(organization_id=row.organization_id, project_id=row.id)
