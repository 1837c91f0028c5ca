"""Wallets as bodies and answers (BoxBilling). Credits are exact decimals, `*_cents` minor units of the currency."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adapters.postgres.resources import Customer
from adapters.postgres.wallets.wallet_store import CustomerWallet, Day, WalletTransaction
from api.http.answers import Answer
from api.http.fields import Currency, Ref, RefusingBody, Unbuilt
from api.http.moments import InstantField
from billing.numbers import NonNegative, Positive, plain
from billing.wallets import LARGEST_CREDITS, Forecast, value_of
from models.identifiers import shown_customer_id, shown_id
from models.problems import invalid

_DEFAULT_CURRENCY: Final = "USD"


def _bounded(value: Decimal) -> Decimal:
    if value > LARGEST_CREDITS:
        raise ValueError(f"must not be more than {LARGEST_CREDITS}")
    return value


Credits = Annotated[Positive, AfterValidator(_bounded)]
Granted = Annotated[NonNegative, AfterValidator(_bounded)]
WalletText = Annotated[str | None, Field(default=None, max_length=255)]
Priority = Annotated[int, Field(ge=1, le=50)]


def _expiry(body: "WalletBody | WalletChange") -> datetime | None:
    if body.expires_at is not None and body.expiration_at is not None and body.expires_at != body.expiration_at:
        raise invalid("expires_at", "is a synonym of expiration_at and must be the same; send one of them")
    return body.expires_at or body.expiration_at


_UNBUILT: Final = {
    "recurring_transaction_rules": Unbuilt("credits are granted by top_up; no rule does it by itself"),
    "applies_to": Unbuilt("a wallet pays every invoice of its customer in its currency"),
    "paid_credits": Unbuilt("credits are granted, not sold; send initial_granted_credits"),
    "granted_credits": Unbuilt("a new wallet takes initial_granted_credits, a top-up takes credits"),
}


class WalletBody(RefusingBody):
    """A new wallet: one credit is worth `rate_amount` minor units of the currency."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"customer_id": "cust_acme", "name": "Prepaid", "initial_granted_credits": "5000"}]
        },
    )

    customer_id: Ref
    name: WalletText
    code: WalletText
    rate_amount: Credits = Decimal(1)
    currency: Currency | None = Field(default=None, description="The customer's, else USD.")
    expiration_at: InstantField | None = None
    expires_at: InstantField | None = Field(default=None, description="Synonym of expiration_at.")
    priority: Priority = 1
    initial_granted_credits: Granted | None = None

    def columns(self, customer: Customer) -> dict[str, object]:
        """Return the columns of the new row. Raises `Problem` 422."""
        return {
            "customer_id": customer.id,
            "name": self.name,
            "code": self.code,
            "rate_amount": self.rate_amount,
            "currency": self.currency or customer.currency or _DEFAULT_CURRENCY,
            "expires_at": _expiry(self),
            "priority": self.priority,
        }


class WalletChange(RefusingBody):
    """What of a wallet may change; its customer, currency and rate are fixed."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"name": "Prepaid", "priority": 2}]})

    name: WalletText
    expiration_at: InstantField | None = None
    expires_at: InstantField | None = None
    priority: Priority | None = None
    currency: Currency | None = Field(default=None, description="Only the one it has.")
    rate_amount: Credits | None = Field(default=None, description="Only the one it has.")

    def columns(self, row: CustomerWallet) -> dict[str, object]:
        """Return the columns to set: those sent. Raises `Problem` 422 for another currency or rate."""
        if self.currency is not None and self.currency.upper() != row.currency.upper():
            raise invalid("currency", "is fixed; make another wallet")
        if self.rate_amount is not None and self.rate_amount != row.rate_amount:
            raise invalid("rate_amount", "is fixed; make another wallet")
        values: dict[str, object] = {name: getattr(self, name) for name in ("name",) if name in self.model_fields_set}
        if self.model_fields_set & {"expiration_at", "expires_at"}:
            values["expires_at"] = _expiry(self)
        if self.priority is not None:
            values["priority"] = self.priority
        return values


class TopUp(RefusingBody):
    """Credits that are granted."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"credits": "100"}]})

    credits: Credits
    source: Literal["manual", "interval", "threshold"] = "manual"


class Transfer(BaseModel):
    """Credits that go from one wallet to another."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "source_wallet_id": "wal_01jbq4m8d0e7s9t5v2x3y4z5a6",
                    "target_wallet_id": "wal_01jbq4mb1g3w6x8y2z4a5b7c9d",
                    "credits": "25",
                }
            ]
        },
    )

    source_wallet_id: Ref
    target_wallet_id: Ref
    credits: Credits


class WalletQuery(BaseModel):
    """What a list of wallets is about."""

    customer_id: Ref | None = Field(default=None, description="Any name of a customer.")
    status: Literal["active", "terminated"] | None = None


class WalletDocument(Answer):
    """A wallet."""

    id: str = Field(examples=["wal_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    customer_id: str
    name: str | None
    code: str | None
    status: str
    currency: str
    rate_amount: str = Field(description="Minor units that one credit is worth.")
    credits_balance: str
    balance_cents: str = Field(description="credits_balance x rate_amount, unrounded.")
    consumed_credits: str
    consumed_amount_cents: str
    priority: int = Field(description="Lower ones are drawn on first.")
    expiration_at: datetime | None
    expires_at: datetime | None
    terminated_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, wallet: CustomerWallet) -> Self:
        """Show a wallet."""
        return cls.showing(
            wallet,
            id=shown_id("wallet", wallet.id),
            customer_id=_customer_of(wallet),
            rate_amount=plain(wallet.rate_amount),
            credits_balance=plain(wallet.credits_balance),
            balance_cents=plain(wallet.worth),
            consumed_credits=plain(wallet.consumed_credits),
            consumed_amount_cents=str(wallet.consumed_minor),
            expiration_at=wallet.expires_at,
        )


def _customer_of(wallet: CustomerWallet) -> str:
    return shown_customer_id(wallet.customer_id, wallet.customer_code, chosen=wallet.customer_code_chosen)


class TransactionDocument(Answer):
    """One movement of credits."""

    id: str
    wallet_id: str
    customer_id: str
    transaction_type: Literal["inbound", "outbound"]
    transaction_status: Literal["granted", "invoiced", "transferred", "returned"]
    source: str
    status: str = "settled"
    amount: str = Field(description="Credits.")
    credits: str
    credit_amount: str = Field(description="Minor units.")
    amount_cents: str
    invoice_id: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, moved: WalletTransaction, wallet: CustomerWallet) -> Self:
        """Show one movement of a wallet."""
        minor = moved.amount_minor
        cents = plain(value_of(moved.credits, wallet.rate_amount) if minor is None else Decimal(minor))
        return cls.showing(
            moved,
            id=shown_id("wallet_transaction", moved.id),
            wallet_id=shown_id("wallet", moved.wallet_id),
            customer_id=_customer_of(wallet),
            transaction_type=moved.direction,
            transaction_status=moved.kind,
            status="settled",
            amount=plain(moved.credits),
            credits=plain(moved.credits),
            credit_amount=cents,
            amount_cents=cents,
            invoice_id=None if moved.invoice_id is None else shown_id("invoice", moved.invoice_id),
            updated_at=moved.created_at,
        )


class TransferDocument(Answer):
    """Both wallets after a transfer."""

    source_wallet: WalletDocument
    target_wallet: WalletDocument
    credits_transferred: str


class TimelinePoint(Answer):
    """One day on which something moved, in credits; the balance is that of its end."""

    date: str
    inbound: str
    outbound: str
    balance: str


class TimelineDocument(Answer):
    """A wallet's balance over time."""

    wallet_id: str
    points: list[TimelinePoint]

    @classmethod
    def of(cls, wallet: CustomerWallet, days: Sequence[Day]) -> Self:
        """Show what moved on each day, and the balance after it."""
        points = [
            TimelinePoint(
                date=day.day.isoformat(),
                inbound=plain(day.inbound),
                outbound=plain(day.outbound),
                balance=plain(day.balance),
            )
            for day in days
        ]
        return cls(wallet_id=shown_id("wallet", wallet.id), points=points)


class ForecastDocument(Answer):
    """When a wallet runs out if it goes on as it did."""

    wallet_id: str
    current_balance_cents: str
    avg_daily_consumption: str = Field(description="Minor units.")
    avg_daily_consumption_cents: str
    projected_depletion_date: datetime | None
    days_remaining: int | None

    @classmethod
    def of(cls, wallet: CustomerWallet, found: Forecast) -> Self:
        """Show a forecast; the date is in the customer's time."""
        average, days = plain(found.average_daily), found.days_remaining
        return cls(
            wallet_id=shown_id("wallet", wallet.id),
            current_balance_cents=plain(wallet.worth),
            avg_daily_consumption=average,
            avg_daily_consumption_cents=average,
            projected_depletion_date=None if days is None else wallet.customer_now + timedelta(days=days),
            days_remaining=days,
        )
