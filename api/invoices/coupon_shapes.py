"""Coupons at the API's edge (BoxBilling, B121)."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.invoices.coupon_store import Analytics, AppliedCoupon, Coupon, CouponTerms
from api.http.answers import Answer
from api.http.cents import Cents
from api.http.fields import AnyCase, ClientId, Currency, Name, Prose, Ref, RefusingBody, Unbuilt, refuse_reserved, same
from api.http.moments import InstantField
from billing.discounts import CouponType, Frequency, Rate
from billing.numbers import plain
from models.identifiers import shown_customer_id, shown_id
from models.problems import conflict, invalid

#: Words that are routes beside `/coupons/{code}` (C37).
RESERVED: Final = frozenset({"apply", "applied"})
DEFAULT_CURRENCY: Final = "USD"

Status = Annotated[Literal["active", "terminated"], AnyCase]
Expiration = Annotated[Literal["no_expiration", "time_limit"], AnyCase]
Invoices = Annotated[int, Field(ge=1, le=10_000)]
Times = Annotated[int, Field(ge=1, le=1_000_000_000)]


_UNBUILT: Final = {"applies_to": Unbuilt("a coupon discounts whole invoices; leave it out")}


class CouponBody(RefusingBody):
    """A coupon: a percentage or a fixed amount off one invoice, a number of them, or all."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "code": "WELCOME10",
                    "name": "Welcome",
                    "coupon_type": "percentage",
                    "percentage_rate": "10",
                    "frequency": "recurring",
                    "frequency_duration": 3,
                }
            ]
        },
    )

    code: ClientId
    name: Name
    description: Prose | None = None
    coupon_type: Annotated[CouponType, AnyCase]
    amount_cents: Cents | None = Field(default=None, description="Of a fixed amount, in minor units.")
    amount_currency: Currency | None = Field(default=None, description="Of a fixed amount; USD if not given.")
    currency: Currency | None = Field(default=None, description="A synonym of amount_currency.")
    percentage_rate: Rate | None = Field(default=None, description="Of a percentage: 0 to 100.")
    frequency: Annotated[Frequency, AnyCase]
    frequency_duration: Invoices | None = Field(default=None, description="Of a recurring one: discounted periods.")
    reusable: bool = Field(default=True, description="Whether one customer may have it more than once.")
    max_redemptions: Times | None = Field(default=None, description="How often it may be applied in all.")
    expiration: Expiration | None = Field(default=None, description="no_expiration, or time_limit with expiration_at.")
    expiration_at: InstantField | None = Field(default=None, description="From then on it cannot be applied.")
    expires_at: InstantField | None = Field(default=None, description="A synonym of expiration_at.")


class CouponChange(RefusingBody):
    """What may be changed of a coupon; fields that are not sent stay. What it takes off stays for ever."""

    unbuilt = _UNBUILT

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"description": "Five off"}]})

    code: Ref | None = None
    name: Name | None = None
    description: Prose | None = None
    coupon_type: Annotated[CouponType, AnyCase] | None = None
    amount_cents: Cents | None = None
    amount_currency: Currency | None = None
    percentage_rate: Rate | None = None
    frequency: Annotated[Frequency, AnyCase] | None = None
    frequency_duration: Invoices | None = None
    reusable: bool | None = None
    expiration: Expiration | None = None
    expiration_at: InstantField | None = None
    status: Status | None = None


class ApplyCoupon(BaseModel):
    """Who gets a coupon; an amount or rate of its own replaces the coupon's."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"coupon_code": "WELCOME10", "customer_id": "cust_acme"}]}
    )

    coupon_code: Ref
    customer_id: Ref
    amount_cents: Cents | None = None
    amount_currency: Currency | None = None
    percentage_rate: Rate | None = None


class CouponAnswer(Answer):
    """A coupon."""

    id: str = Field(examples=["cpn_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    code: str
    name: str
    description: str | None
    coupon_type: CouponType
    amount_cents: str | None
    amount_currency: str | None
    percentage_rate: str | None
    frequency: Frequency
    frequency_duration: int | None
    reusable: bool
    max_redemptions: int | None
    expiration: str
    expiration_at: datetime | None
    status: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, coupon: Coupon) -> Self:
        """Show a coupon."""
        return cls.showing(coupon, id=shown_id("coupon", coupon.id), uuid=coupon.id, **_amounts(coupon))


class AppliedCouponAnswer(Answer):
    """A coupon that a customer holds or held."""

    id: str = Field(examples=["acpn_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    coupon_id: str
    coupon_code: str
    coupon_name: str
    customer_id: str
    customer_uuid: UUID
    coupon_type: CouponType
    amount_cents: str | None
    amount_currency: str | None
    percentage_rate: str | None
    frequency: Frequency
    frequency_duration: int | None
    frequency_duration_remaining: int | None = Field(description="Of a recurring one.")
    remaining_uses: int | None = Field(description="Invoices that it may still discount; null is for ever.")
    status: str = Field(description="active, or terminated: removed or used up")
    terminated_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, applied: AppliedCoupon) -> Self:
        """Show an application with the names of its coupon and customer."""
        return cls.showing(
            applied,
            id=shown_id("applied_coupon", applied.id),
            uuid=applied.id,
            coupon_id=shown_id("coupon", applied.coupon_id),
            customer_id=shown_customer_id(
                applied.customer_id, applied.customer_code, chosen=applied.customer_code_chosen
            ),
            customer_uuid=applied.customer_id,
            **_amounts(applied),
            frequency_duration_remaining=applied.uses_left if applied.frequency == "recurring" else None,
            remaining_uses=applied.uses_left,
            terminated_at=applied.removed_at or applied.used_up_at,
        )


class CouponAnalytics(Answer):
    """How a coupon is used."""

    times_applied: int
    active_applications: int
    terminated_applications: int
    total_discount_cents: str = Field(description="Minor units off all invoices that are not voided.")
    remaining_uses: int | None = Field(description="How often it may still be applied; null without a limit.")

    @classmethod
    def of(cls, found: Analytics) -> Self:
        """Show how a coupon is used."""
        return cls.showing(
            found,
            terminated_applications=found.times_applied - found.active_applications,
            total_discount_cents=plain(found.total_discount_minor),
        )


def _amounts(terms: CouponTerms) -> dict[str, str | None]:
    amount, rate = terms.amount_cents, terms.percentage_rate
    return {
        "amount_cents": None if amount is None else plain(amount),
        "percentage_rate": None if rate is None else plain(rate),
    }


def new_columns(body: CouponBody) -> dict[str, object]:
    """Return the columns of a new coupon. Raises `Problem` 422 for fields that contradict each other."""
    refuse_reserved(body.code, "code", RESERVED)
    currency = same(body.amount_currency, body.currency, first_name="amount_currency", second_name="currency")
    if body.coupon_type == "fixed_amount":
        _needed(body.amount_cents, "amount_cents", body.coupon_type)
        _unfit(body.percentage_rate, "percentage_rate", body.coupon_type)
        currency = currency or DEFAULT_CURRENCY
    else:
        _needed(body.percentage_rate, "percentage_rate", body.coupon_type)
        _unfit(body.amount_cents, "amount_cents", body.coupon_type)
        currency = None
    if body.frequency == "recurring":
        _needed(body.frequency_duration, "frequency_duration", body.frequency)
    else:
        _unfit(body.frequency_duration, "frequency_duration", body.frequency)
    return {
        "code": body.code,
        "name": body.name,
        "description": body.description,
        "coupon_type": body.coupon_type,
        "amount_cents": body.amount_cents,
        "amount_currency": currency,
        "percentage_rate": body.percentage_rate,
        "frequency": body.frequency,
        "frequency_duration": body.frequency_duration,
        "reusable": body.reusable,
        "max_redemptions": body.max_redemptions,
        **_expiration(body),
    }


def _needed(value: object, field: str, kind: str) -> None:
    if value is None:
        raise invalid(field, f"is required with {kind}", "missing")


def _unfit(value: object, field: str, kind: str) -> None:
    if value is not None:
        raise invalid(field, f"does not go with {kind}")


def _expiration(body: CouponBody) -> dict[str, object]:
    if body.expiration_at is not None and body.expires_at is not None and body.expiration_at != body.expires_at:
        raise invalid("expires_at", "is a synonym of expiration_at and must be the same; send one of them")
    until = body.expiration_at or body.expires_at
    return _expiring(body.expiration or ("no_expiration" if until is None else "time_limit"), until)


def _expiring(expiration: str, until: datetime | None) -> dict[str, object]:
    if expiration == "time_limit":
        _needed(until, "expiration_at", "time_limit")
    else:
        _unfit(until, "expiration_at", "no_expiration")
    return {"expiration": expiration, "expiration_at": until}


_STABLE: Final = (
    "code",
    "coupon_type",
    "amount_cents",
    "amount_currency",
    "percentage_rate",
    "frequency",
    "frequency_duration",
    "reusable",
)


def changed_columns(body: CouponChange, row: Coupon) -> dict[str, object]:
    """Return the columns that a change sets.

    Raises `Problem` 409 `coupon_terminated`, 422 for another code, kind, worth or frequency.
    """
    if row.status != "active":
        raise conflict("coupon_terminated", f"The coupon {row.code!r} was terminated; nothing of it changes.")
    for name in _STABLE:
        value = getattr(body, name)
        if value is not None and value != getattr(row, name):
            raise invalid(name, "is stable; create another coupon", "immutable")
    columns: dict[str, object] = {
        name: getattr(body, name) for name in ("name", "status") if getattr(body, name) is not None
    }
    if "description" in body.model_fields_set:
        columns["description"] = body.description
    if body.expiration is None and body.expiration_at is None:
        return columns
    if body.expiration == "no_expiration":
        return columns | _expiring("no_expiration", body.expiration_at)
    return columns | _expiring("time_limit", body.expiration_at or row.expiration_at)


def own_terms(body: ApplyCoupon, row: Coupon) -> dict[str, object]:
    """Return what an application sets otherwise than its coupon. Raises `Problem` 422 for the other kind's fields."""
    if row.coupon_type == "percentage":
        _unfit(body.amount_cents, "amount_cents", row.coupon_type)
        _unfit(body.amount_currency, "amount_currency", row.coupon_type)
        return {} if body.percentage_rate is None else {"percentage_rate": body.percentage_rate}
    _unfit(body.percentage_rate, "percentage_rate", row.coupon_type)
    given = {"amount_cents": body.amount_cents, "amount_currency": body.amount_currency}
    return {name: value for name, value in given.items() if value is not None}
