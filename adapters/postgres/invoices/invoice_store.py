"""Invoices as rows: what the API shows of them, and the fees that are their lines (conflicts C32)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers.payment_method_store import DEFAULT_METHOD, PROVIDER, is_default_of
from adapters.postgres.paging import Page, page_of, paged, total_of
from adapters.postgres.rows import record, records
from billing.invoice import InvoiceStatus
from models.identifiers import parse_id, shown_customer_id
from models.messages.closing import InvoiceClosed
from models.problems import not_found
from models.tables import customers, invoice_lines, invoices, metrics, subscriptions, test_clocks

#: What may still be collected, voided or marked paid.
OPEN_STATUSES: Final = ("issued", "overdue", "failed")


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice with the names of what it refers to; `customer_now` is the time that its customer lives in."""

    id: UUID
    number: str | None
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    customer_supplied: str | None
    customer_name: str | None
    customer_now: datetime
    payment_provider: str | None
    test_clock_id: UUID | None
    subscription_id: UUID | None
    billing_entity_id: UUID | None
    kind: str
    status: InvoiceStatus
    currency: str
    period_start: datetime | None
    period_end: datetime | None
    total_minor: int
    settled_minor: int
    prepaid_minor: int
    auto_collect: bool
    attempt_count: int
    next_attempt_at: datetime | None
    payment_intent_id: str | None
    needs_attention: str | None
    metadata: dict[str, object]
    issued_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def shown_customer(self) -> str:
        """The customer's own id if it has one, else ours."""
        return shown_customer_id(self.customer_id, self.customer_code, chosen=self.customer_code_chosen)


@dataclass(frozen=True, slots=True)
class StoredLine:
    """A line of an invoice with the key of its metric; `unit_amount` is in major units, None for tiers."""

    id: UUID
    invoice_id: UUID
    position: int
    subscription_id: UUID | None
    charge_id: UUID | None
    metric_key: str | None
    group_key: dict[str, str | None] | None
    kind: str
    description: str
    quantity: Decimal
    total_quantity: Decimal
    unit_amount: Decimal | None
    amount_minor: int
    events_count: int
    period_start: datetime | None
    period_end: datetime | None
    reason: str
    steps: list[dict[str, object]]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Fee(StoredLine):
    """A line by itself, with what it needs of its invoice; `updated_at` is the invoice's."""

    invoice_status: InvoiceStatus
    currency: str
    customer_id: UUID
    customer_code: str
    customer_code_chosen: bool
    updated_at: datetime


_ORDERABLE: Final[Mapping[str, ColumnElement[Any]]] = {
    "updated_at": invoices.c.updated_at,
    "issued_at": invoices.c.issued_at,
    "due_date": invoices.c.due_at,
    "paid_at": invoices.c.paid_at,
    "status": invoices.c.status,
    "invoice_number": invoices.c.number,
    "total_cents": invoices.c.total_minor,
    "total_amount": invoices.c.total_minor,
    "period_start": invoices.c.period_start,
    "billing_period_start": invoices.c.period_start,
}


@dataclass(frozen=True)
class InvoiceFilter:
    """Which invoices a list is about; None means any. References are resolved to uuids before."""

    customer_id: UUID | None = None
    subscription_id: UUID | None = None
    statuses: Sequence[str] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a row."""
        found: list[ColumnElement[bool]] = []
        if self.customer_id is not None:
            found.append(invoices.c.customer_id == self.customer_id)
        if self.subscription_id is not None:
            found.append(invoices.c.subscription_id == self.subscription_id)
        if self.statuses is not None:
            found.append(invoices.c.status.in_(self.statuses))
        return found


def _viewed() -> Select[Any]:
    """Read an invoice with the names of what it refers to, and the time its customer lives in."""
    joined = (
        invoices.join(customers, customers.c.id == invoices.c.customer_id)
        .outerjoin(DEFAULT_METHOD, is_default_of(customers.c.id))
        .outerjoin(subscriptions, subscriptions.c.id == invoices.c.subscription_id)
        .outerjoin(test_clocks, test_clocks.c.id == customers.c.test_clock_id)
    )
    return select(
        invoices,
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
        customers.c.name.label("customer_name"),
        PROVIDER,
        customers.c.test_clock_id,
        subscriptions.c.customer_supplied,
        func.coalesce(test_clocks.c.frozen_time, func.clock_timestamp()).label("customer_now"),
    ).select_from(joined)


async def by_billing_key(connection: AsyncConnection, billing_key: str) -> InvoiceClosed | None:
    """Find the invoice that an earlier run of the same close wrote (C8)."""
    row = (await connection.execute(select(invoices).where(invoices.c.billing_key == billing_key))).one_or_none()
    if row is None:
        return None
    return InvoiceClosed(
        invoice_id=row.id,
        status=row.status,
        number=row.number,
        total_minor=row.total_minor,
        currency=row.currency,
        collect=row.auto_collect and row.status in OPEN_STATUSES,
        due_at=row.due_at,
    )


async def view(connection: AsyncConnection, project_id: UUID, ref: str, *, lock: bool = False) -> Invoice:
    """Read an invoice by `inv_...`, uuid or number; `lock` keeps others from changing it until the transaction ends.

    Raises `Problem` 404 `invoice_not_found`.
    """
    found = parse_id(ref)
    if found is None and not _may_be_number(ref):
        raise not_found("invoice", ref)
    matches = invoices.c.number == ref if found is None else invoices.c.id == found
    statement = _viewed().where(invoices.c.project_id == project_id, matches)
    if lock:
        statement = statement.with_for_update(of=invoices)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("invoice", ref)
    return record(Invoice, row)


def _may_be_number(ref: str) -> bool:
    return 0 < len(ref) <= 100 and ref.isascii() and ref.isprintable()


async def listed(
    connection: AsyncConnection, project_id: UUID, wanted: InvoiceFilter, page: Page
) -> tuple[Sequence[Invoice], int]:
    """List invoices, newest first or as the page asks, and count all that the filter matches."""
    conditions = [invoices.c.project_id == project_id, *wanted.conditions()]
    rows, total = await page_of(connection, invoices, page, *conditions, rows=_viewed(), orderable=_ORDERABLE)
    return records(Invoice, rows), total


async def lines_of(connection: AsyncConnection, invoice_ids: Sequence[UUID]) -> Mapping[UUID, list[StoredLine]]:
    """Read the lines of invoices in their order, with the keys of their metrics."""
    found: defaultdict[UUID, list[StoredLine]] = defaultdict(list)
    if not invoice_ids:
        return found
    statement = (
        select(invoice_lines, metrics.c.key.label("metric_key"))
        .outerjoin(metrics, metrics.c.id == invoice_lines.c.metric_id)
        .where(invoice_lines.c.invoice_id.in_(invoice_ids))
        .order_by(invoice_lines.c.invoice_id, invoice_lines.c.position)
    )
    for line in records(StoredLine, await connection.execute(statement)):
        found[line.invoice_id].append(line)
    return found


@dataclass(frozen=True)
class BillableFilter:
    """Whose subscriptions are to be invoiced: one, or those of a customer."""

    subscription_id: UUID | None = None
    customer_id: UUID | None = None


@dataclass(frozen=True)
class Billable:
    """A subscription that an invoice may be asked for, with the time it lives in."""

    subscription_id: UUID
    starts_at: datetime
    ended_at: datetime | None
    now: datetime


async def billable(connection: AsyncConnection, project_id: UUID, wanted: BillableFilter) -> list[Billable]:
    """List the subscriptions that have begun, oldest first; of a customer, those that have not ended come before."""
    named = (
        subscriptions.c.id == wanted.subscription_id
        if wanted.subscription_id is not None
        else subscriptions.c.customer_id == wanted.customer_id
    )
    statement = (
        select(
            subscriptions.c.id,
            subscriptions.c.starts_at,
            subscriptions.c.ended_at,
            func.coalesce(test_clocks.c.frozen_time, func.clock_timestamp()).label("now"),
        )
        .outerjoin(test_clocks, test_clocks.c.id == subscriptions.c.test_clock_id)
        .where(subscriptions.c.project_id == project_id, named, subscriptions.c.status != "pending")
        .order_by(subscriptions.c.ended_at.is_not(None), subscriptions.c.created_at, subscriptions.c.id)
    )
    rows = (await connection.execute(statement)).all()
    return [Billable(row.id, row.starts_at, row.ended_at, row.now) for row in rows]


@dataclass(frozen=True)
class FeeFilter:
    """Which fees a list is about; None means any."""

    invoice_id: UUID | None = None
    customer_id: UUID | None = None
    subscription_id: UUID | None = None
    fee_type: str | None = None
    payment_status: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a line joined with its invoice."""
        found: list[ColumnElement[bool]] = []
        if self.invoice_id is not None:
            found.append(invoice_lines.c.invoice_id == self.invoice_id)
        if self.customer_id is not None:
            found.append(invoices.c.customer_id == self.customer_id)
        if self.subscription_id is not None:
            found.append(invoice_lines.c.subscription_id == self.subscription_id)
        if self.fee_type is not None:
            found.append(invoice_lines.c.kind.in_(_KINDS_OF_FEE_TYPE.get(self.fee_type, ())))
        if self.payment_status is not None:
            found.append(_payment_status_is(self.payment_status))
        return found


_KINDS_OF_FEE_TYPE: Final = {"charge": ("usage",), "subscription": ("fee",), "add_on": ("one_off", "add_on")}
# A discount, or what is carried over to a wallet, is a line of an invoice, but nobody's fee.
_IS_FEE: Final = invoice_lines.c.kind.not_in(("carried", "discount", "wallet_credit"))


def _payment_status_is(wanted: str) -> ColumnElement[bool]:
    match wanted:
        case "succeeded":
            return invoices.c.status == "paid"
        case "failed":
            return invoices.c.status == "failed"
        case "pending":
            return invoices.c.status.not_in(("paid", "failed"))
        case _:
            return false()


def _fees() -> Select[Any]:
    joined = (
        invoice_lines.join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
        .join(customers, customers.c.id == invoices.c.customer_id)
        .outerjoin(metrics, metrics.c.id == invoice_lines.c.metric_id)
    )
    return select(
        invoice_lines,
        invoices.c.status.label("invoice_status"),
        invoices.c.currency,
        invoices.c.customer_id,
        invoices.c.updated_at,
        customers.c.code.label("customer_code"),
        customers.c.code_chosen.label("customer_code_chosen"),
        metrics.c.key.label("metric_key"),
    ).select_from(joined)


async def fees(
    connection: AsyncConnection, project_id: UUID, wanted: FeeFilter, page: Page
) -> tuple[Sequence[Fee], int]:
    """List fees, newest first, and count all that the filter matches (B118)."""
    conditions = [invoice_lines.c.project_id == project_id, _IS_FEE, *wanted.conditions()]
    joined = invoice_lines.join(invoices, invoices.c.id == invoice_lines.c.invoice_id)
    total = await total_of(connection, joined, *conditions)
    orderable = {"amount_cents": invoice_lines.c.amount_minor, "events_count": invoice_lines.c.events_count}
    statement = paged(_fees().where(*conditions), page, invoice_lines.c.id, orderable)
    return records(Fee, await connection.execute(statement)), total


async def fee(connection: AsyncConnection, project_id: UUID, ref: str) -> Fee:
    """Read one fee by `line_...` or uuid; raises `Problem` 404 `fee_not_found`."""
    found = parse_id(ref)
    if found is None:
        raise not_found("fee", ref)
    statement = _fees().where(invoice_lines.c.project_id == project_id, _IS_FEE, invoice_lines.c.id == found)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("fee", ref)
    return record(Fee, row)
