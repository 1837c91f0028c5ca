"""Invoices as requests: ABAXUS's and BoxBilling's bodies, recognised by their fields (conflicts C14)."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.http.fields import Currency, Ref
from api.http.moments import AnyMoment, InstantField
from billing.invoice import MOST_LINES
from billing.numbers import NonNegative, Quantity, exact
from models.problems import invalid

#: What `?status=` takes: every status, and BoxBilling's word for issued (C14).
STATUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "draft": ("draft",),
    "issued": ("issued",),
    "finalized": ("issued", "overdue", "failed"),
    "paid": ("paid",),
    "overdue": ("overdue",),
    "failed": ("failed",),
    "voided": ("voided",),
}


def statuses(text: str | None) -> Sequence[str] | None:
    """Return the stored statuses that a filter means, in any case; None for no filter. Raises `Problem` 422."""
    if text is None:
        return None
    if text.lower() not in STATUSES:
        raise invalid("status", f"must be one of {', '.join(STATUSES)}")
    return STATUSES[text.lower()]


def _whole(amount: Decimal) -> Decimal:
    if amount != amount.to_integral_value():
        raise ValueError("must be whole minor units: a currency has no smaller amount")
    return amount


WholeMinor = Annotated[Quantity, AfterValidator(_whole)]
"""An amount in whole minor units, of any sign."""


class NewLineItem(BaseModel):
    """A line of a one-off invoice; `unit_price` and `amount` are minor units of the currency (BoxBilling)."""

    model_config = ConfigDict(extra="ignore")

    description: str = Field(min_length=1, max_length=1000)
    quantity: NonNegative = Decimal(1)
    unit_price: Quantity | None = None
    amount: WholeMinor | None = Field(
        default=None,
        description="Without it, quantity x unit_price, rounded once; beside a price it must be just that.",
    )

    @property
    def exact_amount(self) -> Decimal | None:
        """The amount in minor units, unrounded; None when the line names neither an amount nor a price."""
        return self.priced_amount if self.amount is None else self.amount

    @property
    def priced_amount(self) -> Decimal | None:
        """Quantity x unit_price in minor units, unrounded; None when the line names no price."""
        if self.unit_price is None:
            return None
        with exact():
            return self.quantity * self.unit_price


class NewOneOff(BaseModel):
    """A one-off invoice: lines of the caller's own, without a period."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "cust_acme",
                    "currency": "USD",
                    "line_items": [
                        {"description": "Consulting", "quantity": "2", "unit_price": "600", "amount": "1200"}
                    ],
                }
            ]
        },
    )

    customer_id: Ref = Field(description="The customer, by any of its names.")
    currency: Currency | None = Field(default=None, description="The customer's, else USD.")
    line_items: list[NewLineItem] = Field(min_length=1, max_length=MOST_LINES)
    due_date: InstantField | None = None
    billing_entity_id: Ref | None = Field(default=None, description="Who issues it; the customer's if not given.")
    billing_entity_code: Ref | None = Field(default=None, description="A synonym of `billing_entity_id`.")


class NewInvoice(BaseModel):
    """Bill what is unbilled up to a cutoff (ABAXUS); with `line_items`, a one-off draft instead."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"customer_id": "cust_acme", "cutoff_date": "2026-04-30T23:59:59Z"}]},
    )

    customer_id: Ref | None = Field(default=None, description="Whose subscriptions, by any name of the customer.")
    subscription_id: Ref | None = Field(default=None, description="One subscription, by any of its names.")
    organization_id: Ref | None = Field(default=None, description="The organization's own subscription (UsageFlow).")
    cutoff_date: AnyMoment | None = Field(
        default=None,
        description="Bill through this second, or this day; now if not given. A period's boundary is exclusive.",
    )
    draft: bool = False
    auto_finalize: bool = True
    line_items: list[NewLineItem] | None = Field(default=None, min_length=1, max_length=MOST_LINES)
    currency: Currency | None = None
    due_date: InstantField | None = None


class PreviewRequest(BaseModel):
    """What would be billed: ABAXUS's cutoff, or BoxBilling's subscription and period."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {"customer_id": "cust_acme", "cutoff_date": "2026-04-30T23:59:59Z"},
                {"subscription_id": "sub_01jbq4m8d0e7s9t5v2x3y4z5a6"},
            ]
        },
    )

    customer_id: Ref | None = None
    subscription_id: Ref | None = None
    organization_id: Ref | None = None
    cutoff_date: AnyMoment | None = None
    billing_period_start: InstantField | None = None
    billing_period_end: AnyMoment | None = None


class InvoiceQuery(BaseModel):
    """What a list of invoices is about."""

    customer_id: Ref | None = Field(default=None, description="Any name of a customer.")
    subscription_id: Ref | None = Field(default=None, description="Any name of a subscription.")
    status: str | None = Field(default=None, max_length=32, description="One status; finalized means issued.")


class FeeQuery(BaseModel):
    """What a list of fees is about."""

    invoice_id: Ref | None = Field(default=None, description="Id or uuid of an invoice.")
    customer_id: Ref | None = Field(default=None, description="Any name of a customer.")
    subscription_id: Ref | None = Field(default=None, description="Any name of a subscription.")
    fee_type: Literal["charge", "subscription", "add_on", "credit", "commitment"] | None = None
    payment_status: Literal["pending", "succeeded", "failed", "refunded"] | None = None


class FeeChange(BaseModel):
    """PUT: other words for a draft's fee; money is not edited, so what is sent of it must be what the fee has."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"description": "Consulting in May"}]})

    description: str | None = Field(default=None, min_length=1, max_length=1000)
    payment_status: Literal["pending", "succeeded", "failed", "refunded"] | None = None
    taxes_amount_cents: Quantity | None = None
    total_amount_cents: Quantity | None = None


Rebill = Annotated[
    bool,
    Field(description="false: what the invoice charged is forgiven; true: its subscription's next invoice bills it."),
]


class VoidInvoice(BaseModel):
    """What becomes of the charges of an invoice that is voided."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"rebill": True}]})

    rebill: Rebill = False


class InvoiceChange(BaseModel):
    """PUT: a due date, or a status that the invoice may go to; `rebill` as for voiding goes with `voided`."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"due_date": "2026-06-01T00:00:00Z"}]})

    status: str | None = Field(default=None, max_length=32, description="finalized, paid or voided")
    rebill: Rebill = False
    due_date: InstantField | None = None
    issued_at: InstantField | None = None
    paid_at: InstantField | None = None


class BulkInvoices(BaseModel):
    """Invoices to act on, by id or number."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"invoice_ids": ["inv_01jbq4m8d0e7s9t5v2x3y4z5a6"]}]}
    )

    invoice_ids: list[Ref] = Field(min_length=1, max_length=1000)


class BulkVoid(BulkInvoices):
    """Invoices to void, by id or number, and what becomes of their charges."""

    rebill: Rebill = False
