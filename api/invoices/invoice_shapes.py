"""Invoices and fees as answers: the union of ABAXUS's and BoxBilling's shapes.

Field names decide the unit (conflicts C11): `total_amount` and `line_items[].amount` are integer minor units, `*_cents`
minor units as decimal strings, `unit_amount` major units. A period's end is shown inclusively, a second earlier (C24).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Self
from uuid import UUID

from pydantic import Field

from adapters.postgres.invoices.invoice_store import Fee, Invoice, StoredLine
from adapters.postgres.journal.audit_store import AuditEntry
from adapters.postgres.wallets.settlement_store import Settlement
from api.http.answers import Answer
from api.http.fields import ExactNumber
from api.invoices.invoice_adjustments import discounted
from billing.charges import Charge
from billing.invoice import InvoiceLine
from billing.money import exponent
from billing.numbers import exact, json_number, plain, rounded_ratio
from billing.period import inclusive_end
from models.identifiers import shown_customer_id, shown_id

ONE_OFF: Final = "one_off"
_FEE_TYPES: Final = {"usage": "charge", "fee": "subscription", ONE_OFF: "add_on", "add_on": "add_on"}


class LineItemDocument(Answer):
    """One line: what was billed, why, and how the amount came about."""

    id: str = Field(examples=["line_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    description: str = Field(examples=["API Calls — tiered usage (1,200,000 calls)"])
    amount: int = Field(description="Minor units.", examples=[10000])
    quantity: ExactNumber = Field(examples=[1200000])
    amount_cents: str = Field(examples=["10000"])
    unit_amount: ExactNumber | None = Field(description="Major units; null for tiers.")
    unit_price: str | None = Field(description="Of a one-off line, in minor units.")
    total_quantity: ExactNumber = Field(description="Of the whole period, when this line was billed.")
    events_count: int
    type: str = Field(examples=["usage"], description="usage, fee, add_on, discount or one_off")
    reason: str = Field(description="period, or adjustment of a period that was invoiced before.")
    charge_id: str | None
    subscription_id: str | None
    metric_key: str | None
    metric_code: str | None
    group: dict[str, str | None] | None = Field(
        description="Of a charge with group_by: the property values whose events are billed.",
        examples=[None, {"region": "eu"}],
    )
    period_start: datetime | None
    period_end: datetime | None
    steps: list[dict[str, Any]] = Field(description="Tiers with their units and prices, in major units.")

    @classmethod
    def of(cls, line: StoredLine, currency: str) -> Self:
        """Show one line of an invoice in a currency."""
        return cls.showing(
            line,
            id=shown_id("invoice_line", line.id),
            amount=line.amount_minor,
            amount_cents=str(line.amount_minor),
            unit_price=_in_minor(line.unit_amount, currency) if line.kind == ONE_OFF and line.unit_amount else None,
            type=line.kind,
            charge_id=None if line.charge_id is None else str(line.charge_id),
            subscription_id=_shown_or_none("subscription", line.subscription_id),
            metric_code=line.metric_key,
            group=line.group_key,
            period_end=None if line.period_end is None else inclusive_end(line.period_end),
        )


class PortalInvoice(Answer):
    """An invoice as the customer who has to pay it sees it."""

    id: str = Field(examples=["inv_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    uuid: UUID
    invoice_number: str = Field(examples=["INV-20260501-0001"])
    customer_id: str = Field(examples=["cust_acme"])
    customer_uuid: UUID
    subscription_id: str | None
    subscription_uuid: UUID | None
    billing_entity_id: str | None
    status: str = Field(examples=["issued"])
    invoice_type: str = Field(examples=["subscription"])
    kind: str = Field(description="period, on_demand, final or one_off")
    currency: str = Field(examples=["usd"])
    total_amount: int = Field(description="Minor units.", examples=[14900])
    period_start: datetime | None
    period_end: datetime | None = Field(description="Inclusive: one second before the next period.")
    billing_period_start: datetime
    billing_period_end: datetime
    subtotal_cents: str
    tax_amount_cents: str
    total_cents: str
    prepaid_credit_amount_cents: str = Field(description="What wallets paid.")
    amount_due_cents: str = Field(description="What is left to pay: the total less the settlements.")
    coupons_amount_cents: str
    progressive_billing_credit_amount_cents: str
    line_items: list[LineItemDocument]
    due_date: datetime | None
    issued_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, invoice: Invoice, lines: Sequence[StoredLine]) -> Self:
        """Show an invoice with its lines."""
        end = None if invoice.period_end is None else inclusive_end(invoice.period_end)
        due = 0 if invoice.status == "voided" else max(invoice.total_minor - invoice.settled_minor, 0)
        discount = discounted(lines)
        return cls.showing(
            invoice,
            id=shown_id("invoice", invoice.id),
            uuid=invoice.id,
            invoice_number=invoice.number or f"DRAFT-{invoice.id.hex[-12:]}",
            customer_id=customer_shown(invoice),
            customer_uuid=invoice.customer_id,
            subscription_id=_shown_or_none("subscription", invoice.subscription_id),
            subscription_uuid=invoice.subscription_id,
            billing_entity_id=_shown_or_none("billing_entity", invoice.billing_entity_id),
            status=shown_status(invoice),
            invoice_type=ONE_OFF if invoice.kind == ONE_OFF else "subscription",
            total_amount=invoice.total_minor,
            period_end=end,
            billing_period_start=invoice.period_start or invoice.created_at,
            billing_period_end=end or invoice.created_at,
            subtotal_cents=str(invoice.total_minor + discount),
            tax_amount_cents="0",
            total_cents=str(invoice.total_minor),
            prepaid_credit_amount_cents=str(invoice.prepaid_minor),
            amount_due_cents=str(due),
            coupons_amount_cents=str(discount),
            progressive_billing_credit_amount_cents="0",
            line_items=[LineItemDocument.of(line, invoice.currency) for line in lines],
            due_date=invoice.due_at,
        )


class InvoiceDocument(PortalInvoice):
    """An invoice as ABAXUS and BoxBilling show it to its seller."""

    attempt_count: int
    payment_intent_id: str | None
    needs_attention: str | None


class InvoicesDocument(InvoiceDocument):
    """The first invoice of a request that made several."""

    related_invoices: list[str] | None = Field(
        default=None, description="Further invoices of the same request, one for each subscription of the customer."
    )


class FeePreview(Answer):
    """A line of a preview, in BoxBilling's words."""

    description: str
    units: str
    unit_amount_cents: str
    amount_cents: str
    charge_model: str | None
    metric_code: str | None


class PreviewDocument(Answer):
    """What an invoice would say now; nothing is stored (B113)."""

    customer_id: str | None
    subscription_id: str | None
    status: str = "draft"
    currency: str
    total_amount: int = Field(examples=[14900])
    period_start: datetime
    period_end: datetime
    subtotal_cents: str
    tax_amount_cents: str
    coupons_amount_cents: str
    prepaid_credit_amount_cents: str
    total_cents: str
    fees: list[FeePreview]
    line_items: list[dict[str, Any]]


class ChargeDocument(Answer):
    """The answer to a charge."""

    invoice_id: str
    status: str = Field(examples=["paid"])
    payment_intent_id: str | None = Field(examples=["pi_0199f0c29d5c7c118f3e2f6f6f1f8a01"])
    charged_at: datetime | None


class InvoiceEvent(Answer):
    """One entry of an invoice's event log."""

    id: str
    type: str = Field(examples=["invoice.issued"])
    action: str
    title: str
    data: dict[str, Any]
    actor_type: str
    actor_id: str | None
    created_at: datetime

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Show one entry of the audit log."""
        return cls.showing(
            entry,
            id=shown_id("audit", entry.id),
            type=f"invoice.{entry.action}",
            data={**entry.data, "changes": entry.changes} if entry.changes else entry.data,
            created_at=entry.occurred_at,
        )


class SettlementDocument(Answer):
    """What paid an invoice, or a part of it."""

    id: UUID
    invoice_id: str
    settlement_type: str
    source_id: str
    amount_cents: str
    created_at: datetime

    @classmethod
    def of(cls, settlement: Settlement) -> Self:
        """Show what paid an invoice; less than 0 for what went back while it was open."""
        kind = "payment" if settlement.type == "payment" else "wallet_transaction"
        return cls.showing(
            settlement,
            invoice_id=shown_id("invoice", settlement.invoice_id),
            settlement_type=settlement.type,
            source_id=shown_id(kind, settlement.source_id),
            amount_cents=str(settlement.amount_minor),
        )


class BulkResult(Answer):
    """What became of one invoice."""

    invoice_id: str
    success: bool
    error: str | None = None


class BulkFinalized(Answer):
    """What became of each invoice, in the order asked."""

    results: list[BulkResult]
    finalized_count: int
    failed_count: int


class BulkVoided(Answer):
    """What became of each invoice, in the order asked."""

    results: list[BulkResult]
    voided_count: int
    failed_count: int


class FeeDocument(Answer):
    """A fee: a line of an invoice, listed by itself (conflicts C32)."""

    id: str
    invoice_id: str
    charge_id: str | None
    subscription_id: str | None
    commitment_id: str | None
    customer_id: str
    fee_type: str
    amount_cents: str
    taxes_amount_cents: str
    total_amount_cents: str
    units: str
    events_count: int
    unit_amount_cents: str
    payment_status: str
    description: str
    metric_code: str | None
    properties: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, fee: Fee) -> Self:
        """Show one line as a fee."""
        amount = str(fee.amount_minor)
        return cls.showing(
            fee,
            id=shown_id("invoice_line", fee.id),
            invoice_id=shown_id("invoice", fee.invoice_id),
            charge_id=None if fee.charge_id is None else str(fee.charge_id),
            subscription_id=_shown_or_none("subscription", fee.subscription_id),
            commitment_id=None,
            customer_id=shown_customer_id(fee.customer_id, fee.customer_code, chosen=fee.customer_code_chosen),
            fee_type=_FEE_TYPES[fee.kind],
            amount_cents=amount,
            taxes_amount_cents="0",
            total_amount_cents=amount,
            units=plain(fee.quantity),
            unit_amount_cents=unit_amount_cents(fee.unit_amount, fee.amount_minor, fee.quantity, fee.currency),
            payment_status={"paid": "succeeded", "failed": "failed"}.get(fee.invoice_status, "pending"),
            metric_code=fee.metric_key,
            properties={},
        )


def customer_shown(invoice: Invoice) -> str:
    """Name a customer in the form its subscription's creator used, else by its own id (C4)."""
    supplied = invoice.customer_supplied or invoice.metadata.get("customer_supplied")
    return str(supplied) if supplied else invoice.shown_customer


def shown_status(invoice: Invoice) -> str:
    """Return the status; one-off invoices say `finalized` where others say `issued` (C14)."""
    return "finalized" if invoice.kind == ONE_OFF and invoice.status == "issued" else invoice.status


def _shown_or_none(kind: str, found: UUID | None) -> str | None:
    return None if found is None else shown_id(kind, found)


def _in_minor(amount: Decimal, currency: str) -> str:
    """Write major units as minor units, unrounded: 0.0001 USD -> "0.01"."""
    with exact():
        return plain(amount.scaleb(exponent(currency)))


def unit_amount_cents(unit_amount: Decimal | None, amount_minor: int, quantity: Decimal, currency: str) -> str:
    """Return the price of one unit in minor units; of tiers, the average to 18 digits; 0 without a quantity."""
    if unit_amount is not None:
        return _in_minor(unit_amount, currency)
    return plain(rounded_ratio(Fraction(amount_minor) / Fraction(quantity))) if quantity else "0"


def preview_lines(
    lines: Sequence[InvoiceLine], charges: Mapping[UUID, Charge], currency: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Show proposed lines as ABAXUS's line items and as BoxBilling's fees."""
    items, fees = [], []
    for line in lines:
        charge = None if line.charge_id is None else charges.get(line.charge_id)
        key = charge.metric_key if charge else None
        items.append(
            {
                "description": line.description,
                "amount": line.amount_minor,
                "quantity": json_number(line.quantity),
                "amount_cents": str(line.amount_minor),
                "type": line.kind,
                "reason": line.reason,
                "charge_id": str(line.charge_id),
                "metric_key": key,
                "group": dict(line.group) or None,
                "period_start": line.charged_period.start,
                "period_end": inclusive_end(line.charged_period.end),
                "steps": line.shown_steps,
            }
        )
        fees.append(
            {
                "description": line.description,
                "units": plain(line.quantity),
                "unit_amount_cents": unit_amount_cents(line.unit_amount, line.amount_minor, line.quantity, currency),
                "amount_cents": str(line.amount_minor),
                "charge_model": charge.model.kind if charge else None,
                "metric_code": key,
            }
        )
    return items, fees
