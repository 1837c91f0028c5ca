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

from pydantic import BaseModel, Field

from adapters.postgres.rows import Row
from adapters.postgres.wallets.settlement_store import Settlement
from api.http.answers import Answer
from api.http.fields import ExactNumber
from api.invoices.invoice_adjustments import discounted
from billing.charges import Charge
from billing.invoice import InvoiceLine
from billing.money import exponent
from billing.numbers import exact, json_number, plain, rounded_ratio
from billing.period import inclusive_end
from models.identifiers import shown_id

ONE_OFF: Final = "one_off"


class LineItemDocument(BaseModel):
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


class InvoiceDocument(BaseModel):
    """An invoice as ABAXUS and BoxBilling show it."""

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
    attempt_count: int
    payment_intent_id: str | None
    needs_attention: str | None
    due_date: datetime | None
    issued_at: datetime | None
    paid_at: datetime | None
    voided_at: datetime | None
    created_at: datetime
    updated_at: datetime
    related_invoices: list[str] | None = Field(
        default=None, description="Further invoices of the same request, one for each subscription of the customer."
    )


class FeePreview(BaseModel):
    """A line of a preview, in BoxBilling's words."""

    description: str
    units: str
    unit_amount_cents: str
    amount_cents: str
    charge_model: str | None
    metric_code: str | None


class PreviewDocument(BaseModel):
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


class ChargeDocument(BaseModel):
    """The answer to a charge."""

    invoice_id: str
    status: str = Field(examples=["paid"])
    payment_intent_id: str | None = Field(examples=["pi_0199f0c29d5c7c118f3e2f6f6f1f8a01"])
    charged_at: datetime | None


class InvoiceEvent(BaseModel):
    """One entry of an invoice's event log."""

    id: str
    type: str = Field(examples=["invoice.issued"])
    title: str
    data: dict[str, Any]
    created_at: datetime


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


class BulkResult(BaseModel):
    """What became of one invoice."""

    invoice_id: str
    success: bool
    error: str | None = None


class BulkFinalized(BaseModel):
    """What became of each invoice, in the order asked."""

    results: list[BulkResult]
    finalized_count: int
    failed_count: int


class BulkVoided(BaseModel):
    """What became of each invoice, in the order asked."""

    results: list[BulkResult]
    voided_count: int
    failed_count: int


class FeeDocument(BaseModel):
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


def customer_shown(row: Row[Any]) -> str:
    """Name a customer in the form its subscription's creator used, else by its own id (C4)."""
    supplied = getattr(row, "customer_supplied", None) or row._mapping.get("metadata", {}).get("customer_supplied")
    if supplied:
        return str(supplied)
    return str(row.customer_code) if row.customer_code_chosen else shown_id("customer", row.customer_id)


def shown_status(row: Row[Any]) -> str:
    """Return the status; one-off invoices say `finalized` where others say `issued` (C14)."""
    return "finalized" if row.kind == ONE_OFF and row.status == "issued" else str(row.status)


def invoice_document(row: Row[Any], lines: Sequence[Row[Any]]) -> dict[str, Any]:
    """Show an invoice with its lines."""
    start, end = row.period_start, row.period_end
    total = str(row.total_minor)
    discount = discounted(lines)
    shown_end = None if end is None else inclusive_end(end)
    return {
        "id": shown_id("invoice", row.id),
        "uuid": row.id,
        "invoice_number": row.number or f"DRAFT-{row.id.hex[-12:]}",
        "customer_id": customer_shown(row),
        "customer_uuid": row.customer_id,
        "subscription_id": None if row.subscription_id is None else shown_id("subscription", row.subscription_id),
        "subscription_uuid": row.subscription_id,
        "billing_entity_id": None
        if row.billing_entity_id is None
        else shown_id("billing_entity", row.billing_entity_id),
        "status": shown_status(row),
        "invoice_type": ONE_OFF if row.kind == ONE_OFF else "subscription",
        "kind": row.kind,
        "currency": row.currency,
        "total_amount": row.total_minor,
        "period_start": start,
        "period_end": shown_end,
        "billing_period_start": start or row.created_at,
        "billing_period_end": shown_end or row.created_at,
        "subtotal_cents": str(row.total_minor + discount),
        "tax_amount_cents": "0",
        "total_cents": total,
        "prepaid_credit_amount_cents": str(row.prepaid_minor),
        "amount_due_cents": str(max(row.total_minor - row.settled_minor, 0)) if row.status != "voided" else "0",
        "coupons_amount_cents": str(discount),
        "progressive_billing_credit_amount_cents": "0",
        "line_items": [line_document(line, row.currency) for line in lines],
        "attempt_count": row.attempt_count,
        "payment_intent_id": row.payment_intent_id,
        "needs_attention": row.needs_attention,
        "due_date": row.due_at,
        "issued_at": row.issued_at,
        "paid_at": row.paid_at,
        "voided_at": row.voided_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def line_document(line: Row[Any], currency: str) -> dict[str, Any]:
    """Show one line."""
    return {
        "id": shown_id("invoice_line", line.id),
        "description": line.description,
        "amount": line.amount_minor,
        "quantity": json_number(line.quantity),
        "amount_cents": str(line.amount_minor),
        "unit_amount": None if line.unit_amount is None else json_number(line.unit_amount),
        "unit_price": _in_minor(line.unit_amount, currency) if line.kind == ONE_OFF and line.unit_amount else None,
        "total_quantity": json_number(line.total_quantity),
        "events_count": line.events_count,
        "type": line.kind,
        "reason": line.reason,
        "charge_id": None if line.charge_id is None else str(line.charge_id),
        "subscription_id": None if line.subscription_id is None else shown_id("subscription", line.subscription_id),
        "metric_key": line.metric_key,
        "metric_code": line.metric_key,
        "group": line.group_key,
        "period_start": line.period_start,
        "period_end": None if line.period_end is None else inclusive_end(line.period_end),
        "steps": line.steps,
    }


def _in_minor(amount: Decimal, currency: str) -> str:
    """Write major units as minor units, unrounded: 0.0001 USD -> "0.01"."""
    with exact():
        return plain(amount.scaleb(exponent(currency)))


def unit_amount_cents(unit_amount: Decimal | None, amount_minor: int, quantity: Decimal, currency: str) -> str:
    """Return the price of one unit in minor units; of tiers, the average to 18 digits; 0 without a quantity."""
    if unit_amount is not None:
        return _in_minor(unit_amount, currency)
    return plain(rounded_ratio(Fraction(amount_minor) / Fraction(quantity))) if quantity else "0"


_FEE_TYPES: Final = {"usage": "charge", "fee": "subscription", ONE_OFF: "add_on", "add_on": "add_on"}


def fee_document(row: Row[Any]) -> dict[str, Any]:
    """Show one line as a fee."""
    amount = str(row.amount_minor)
    return {
        "id": shown_id("invoice_line", row.id),
        "invoice_id": shown_id("invoice", row.invoice_id),
        "charge_id": None if row.charge_id is None else str(row.charge_id),
        "subscription_id": None if row.subscription_id is None else shown_id("subscription", row.subscription_id),
        "commitment_id": None,
        "customer_id": customer_shown(row),
        "fee_type": _FEE_TYPES[row.kind],
        "amount_cents": amount,
        "taxes_amount_cents": "0",
        "total_amount_cents": amount,
        "units": plain(row.quantity),
        "events_count": row.events_count,
        "unit_amount_cents": unit_amount_cents(row.unit_amount, row.amount_minor, row.quantity, row.currency),
        "payment_status": {"paid": "succeeded", "failed": "failed"}.get(row.invoice_status, "pending"),
        "description": row.description,
        "metric_code": row.metric_key,
        "properties": {},
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def preview_lines(
    lines: Sequence[InvoiceLine], charges: Mapping[UUID, Charge], currency: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Show proposed lines as ABAXUS's line items and as BoxBilling's fees."""
    items, fees = [], []
    for line in lines:
        charge = charges.get(line.charge_id)
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
                "period_start": line.period.start,
                "period_end": inclusive_end(line.period.end),
                "steps": [step.model_dump(mode="json", by_alias=True) for step in line.steps],
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
