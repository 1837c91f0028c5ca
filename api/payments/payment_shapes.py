"""Payments and payment methods as bodies and answers (BoxBilling; conflicts C15).

Amounts of requests and `*_cents` are minor units of the invoice's currency.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adapters.payments.registry import NOT_SPOKEN_TO, PROVIDER_NAMES
from adapters.postgres.customers.payment_method_store import PaymentMethod
from adapters.postgres.payments.payment_view_store import Payment
from api.http.answers import Answer
from api.http.fields import Currency, JsonObject, Prose, Ref
from api.http.moments import InstantField
from billing.invoice import LARGEST_MINOR
from billing.numbers import Positive
from models.identifiers import shown_id
from models.problems import invalid

#: Any provider that clients may name: those that this server speaks to, and others, which are not configured.
_NAMED: Final = (*PROVIDER_NAMES, *NOT_SPOKEN_TO)
Provider = Literal[_NAMED]  # type: ignore[valid-type]
ShownStatus = Literal["pending", "processing", "succeeded", "failed", "refunded", "canceled"]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000)]

#: What a stored status is called, and the other way round.
_SHOWN: Final[Mapping[str, ShownStatus]] = {
    "pending": "pending",
    "unknown": "pending",
    "requires_action": "processing",
    "succeeded": "succeeded",
    "declined": "failed",
    "refunded": "refunded",
}


def stored_statuses(shown: ShownStatus | None) -> Sequence[str] | None:
    """Return the stored statuses that a filter means; None for no filter."""
    return None if shown is None else [stored for stored, name in _SHOWN.items() if name == shown]


class PaymentRecord(BaseModel):
    """Money that came outside Durabill; `amount_cents` and `amount` are synonyms, in minor units."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"invoice_id": "INV-20260501-0001", "amount_cents": 14900}]}
    )

    invoice_id: Ref = Field(description="Id, uuid or number of the invoice.")
    amount_cents: Positive | None = None
    amount: Positive | None = None
    currency: Currency | None = Field(default=None, description="If given, the invoice's.")
    reference: str | None = Field(default=None, max_length=255)
    notes: Prose | None = None
    paid_at: InstantField | None = None

    def minor(self) -> int:
        """Return the amount. Raises `Problem` 422 without one, and for a fraction of a minor unit."""
        if self.amount is not None and self.amount_cents is not None and self.amount != self.amount_cents:
            raise invalid("amount_cents", "is a synonym of amount and must be the same; send one of them")
        amount = self.amount if self.amount_cents is None else self.amount_cents
        if amount is None:
            raise invalid("amount_cents", "is required", "missing")
        return whole_minor(amount, "amount" if self.amount_cents is None else "amount_cents")


def whole_minor(amount: Decimal, field: str) -> int:
    """Read whole minor units. Raises `Problem` 422 for a fraction and for more than any invoice has."""
    if amount != amount.to_integral_value() or amount > LARGEST_MINOR:
        raise invalid(field, f"must be whole minor units, {LARGEST_MINOR} at most")
    return int(amount)


class CheckoutRequest(BaseModel):
    """Where the payer comes back to, and who takes the money."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "invoice_id": "INV-20260501-0001",
                    "success_url": "https://acme.io/paid",
                    "cancel_url": "https://acme.io/cart",
                    "provider": "manual",
                }
            ]
        },
    )

    invoice_id: Ref
    success_url: Url
    cancel_url: Url
    provider: Provider = "stripe"


class CheckoutDocument(BaseModel):
    """A payment that is waited for; the manual provider has no page to pay on."""

    payment_id: str
    checkout_url: str
    provider: str
    expires_at: datetime | None


class RefundRequest(BaseModel):
    """How much is given back; all that is left without an amount."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"amount_cents": 4900, "reason": "Charged twice"}]}
    )

    amount_cents: Positive | None = None
    amount: Positive | None = None
    reason: Prose | None = None

    def minor(self) -> int | None:
        """Return the amount, None for all. Raises `Problem` 422."""
        amount = self.amount if self.amount_cents is None else self.amount_cents
        return None if amount is None else whole_minor(amount, "amount")


class ManualPaymentWebhook(BaseModel):
    """What the manual provider's webhook says of a payment."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"status": "succeeded", "metadata": {"payment_id": "pay_01jbq4m8d0e7s9t5v2x3y4z5a6"}}]
        },
    )

    class About(BaseModel):
        """The payment that is meant."""

        payment_id: Ref

    status: Literal["succeeded", "failed"]
    metadata: About


class PaymentWebhookDocument(BaseModel):
    """The notice was read; `changed` is false for one that was read before."""

    received: bool
    changed: bool


class PaymentQuery(BaseModel):
    """What a list of payments is about."""

    invoice_id: Ref | None = Field(default=None, description="Id, uuid or number of an invoice.")
    customer_id: Ref | None = Field(default=None, description="Any name of a customer.")
    status: ShownStatus | None = None
    provider: Provider | None = None


class PaymentDocument(Answer):
    """A payment, or an attempt at one."""

    id: str = Field(examples=["pay_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    invoice_id: str
    customer_id: str
    amount_cents: str = Field(description="After a partial refund, the rest.")
    currency: str
    status: ShownStatus
    provider: str
    provider_payment_id: str | None
    payment_intent_id: str | None
    provider_checkout_id: str | None
    provider_checkout_url: str | None
    reference: str | None
    refunded_amount_cents: str
    unapplied_amount_cents: str = Field(
        description="Came after the invoice was settled otherwise, and is to be given back.", examples=["0"]
    )
    failure_reason: str | None
    payment_metadata: dict[str, Any]
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None

    @classmethod
    def of(cls, payment: Payment) -> "PaymentDocument":
        """Return the document of a payment."""
        partly = 0 < payment.refunded_minor < payment.amount_minor
        return cls.model_construct(
            id=shown_id("payment", payment.id),
            invoice_id=shown_id("invoice", payment.invoice_id),
            customer_id=payment.shown_customer,
            amount_cents=str(payment.amount_minor - payment.refunded_minor if partly else payment.amount_minor),
            currency=payment.currency,
            status=_SHOWN[payment.status],
            provider=payment.provider,
            provider_payment_id=payment.provider_payment_id,
            payment_intent_id=payment.provider_payment_id,
            provider_checkout_id=None,
            provider_checkout_url=None,
            reference=payment.reference,
            refunded_amount_cents=str(payment.refunded_minor),
            unapplied_amount_cents=str(payment.unapplied_minor),
            failure_reason=payment.failure_message,
            payment_metadata=_metadata(payment, partly=partly),
            expires_at=payment.expires_at,
            created_at=payment.created_at,
            updated_at=payment.updated_at,
            completed_at=payment.finished_at if payment.status in ("succeeded", "refunded") else None,
        )


def _metadata(payment: Payment, *, partly: bool) -> dict[str, Any]:
    about = {**payment.metadata, **({"reference": payment.reference} if payment.reference else {})}
    if payment.refunded_minor:
        about |= {"refunded_amount": str(payment.refunded_minor), "partial_refund": partly}
    return about


class PaymentMethodBody(BaseModel):
    """A saved way to pay, by the provider's id of it."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "cust_acme",
                    "provider": "stripe",
                    "type": "card",
                    "provider_payment_method_id": "pm_1PabcD2eZvKYlo2C",
                    "is_default": True,
                }
            ]
        },
    )

    customer_id: Ref
    provider: str = Field(min_length=1, max_length=50)
    provider_payment_method_id: str = Field(min_length=1, max_length=255)
    type: str = Field(min_length=1, max_length=50, examples=["card", "bank_transfer", "sepa_debit"])
    is_default: bool = False
    details: JsonObject = Field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """Return the columns that the body sets itself."""
        return self.model_dump(exclude={"customer_id"})


class PaymentMethodDocument(Answer):
    """A saved way to pay."""

    id: str = Field(examples=["pm_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    organization_id: UUID
    customer_id: str
    provider: str
    provider_payment_method_id: str
    type: str
    is_default: bool
    details: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, method: PaymentMethod, organization_id: UUID) -> Self:
        """Return the answer that shows a payment method."""
        return cls.showing(
            method,
            id=shown_id("payment_method", method.id),
            organization_id=organization_id,
            customer_id=method.customer_code
            if method.customer_code_chosen
            else shown_id("customer", method.customer_id),
        )


class SetupRequest(BaseModel):
    """Whose method is to be saved, where the payer comes back to, and at whom."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "customer_id": "cust_acme",
                    "success_url": "https://acme.io/saved",
                    "cancel_url": "https://acme.io/account",
                    "provider": "stripe",
                }
            ]
        },
    )

    customer_id: Ref
    success_url: Url
    cancel_url: Url
    provider: Provider = "stripe"


class SetupDocument(BaseModel):
    """A provider's page on which the customer saves a method."""

    setup_id: str
    setup_url: str
    provider: str
    expires_at: datetime | None = None
