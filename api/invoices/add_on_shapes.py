"""Add-ons at the API's edge (BoxBilling, B122)."""

from datetime import datetime
from typing import Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.invoices.add_on_store import AddOn, Application, AppliedAddOn
from adapters.postgres.resources import Customer
from api.http.answers import Answer
from api.http.cents import Cents
from api.http.fields import ClientId, Currency, Name, Prose, Ref, refuse_reserved, same
from billing.numbers import plain
from models.identifiers import shown_customer_id, shown_id
from models.problems import invalid

#: Words that are routes beside `/add_ons/{code}` (C37).
RESERVED: Final = frozenset({"apply", "application_counts"})
DEFAULT_CURRENCY: Final = "USD"


class AddOnBody(BaseModel):
    """An add-on: a one-time fee in minor units of its currency."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"code": "setup-fee", "name": "Set-up", "amount_cents": "2500"}]},
    )

    code: ClientId
    name: Name
    description: Prose | None = None
    amount_cents: Cents = Field(description="Minor units.")
    amount_currency: Currency | None = Field(default=None, description="USD if not given.")
    currency: Currency | None = Field(default=None, description="A synonym of amount_currency.")
    invoice_display_name: Name | None = Field(default=None, description="What the invoice's line says.")


class AddOnChange(BaseModel):
    """What may be changed of an add-on; fields that are not sent stay. What is applied already keeps its amount."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"description": "Set-up fee"}]})

    code: Ref | None = None
    name: Name | None = None
    description: Prose | None = None
    amount_cents: Cents | None = None
    amount_currency: Currency | None = None
    currency: Currency | None = None
    invoice_display_name: Name | None = None


class ApplyAddOn(BaseModel):
    """Who pays for an add-on; an amount or currency of its own replaces the add-on's."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"add_on_code": "setup-fee", "customer_id": "cust_acme"}]}
    )

    add_on_code: Ref
    customer_id: Ref
    amount_cents: Cents | None = None
    amount_currency: Currency | None = None


class AddOnAnswer(Answer):
    """An add-on."""

    id: str = Field(examples=["aon_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    code: str
    name: str
    description: str | None
    amount_cents: str
    amount_currency: str
    currency: str
    invoice_display_name: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, add_on: AddOn) -> Self:
        """Show an add-on."""
        return cls.showing(
            add_on,
            id=shown_id("add_on", add_on.id),
            uuid=add_on.id,
            amount_cents=plain(add_on.amount_cents),
            currency=add_on.amount_currency,
        )


class AppliedAddOnAnswer(Answer):
    """An add-on that a customer pays for."""

    id: str = Field(examples=["aaon_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    add_on_id: str
    add_on_code: str
    customer_id: str
    customer_uuid: UUID
    customer_name: str
    amount_cents: str
    amount_currency: str
    invoice_id: str | None = Field(description="The invoice with the fee; null while it waits for the next one.")
    created_at: datetime

    @classmethod
    def of(cls, applied: AppliedAddOn) -> Self:
        """Show an application with the names of its add-on and customer."""
        customer = shown_customer_id(applied.customer_id, applied.customer_code, chosen=applied.customer_code_chosen)
        return cls.showing(
            applied,
            id=shown_id("applied_add_on", applied.id),
            uuid=applied.id,
            add_on_id=shown_id("add_on", applied.add_on_id),
            customer_id=customer,
            customer_uuid=applied.customer_id,
            customer_name=applied.customer_name or customer,
            amount_cents=plain(applied.amount_cents),
            invoice_id=None if applied.invoice_id is None else shown_id("invoice", applied.invoice_id),
        )


def new_columns(body: AddOnBody) -> dict[str, object]:
    """Return the columns of a new add-on. Raises `Problem` 422 for a reserved code."""
    refuse_reserved(body.code, "code", RESERVED)
    return {
        "code": body.code,
        "name": body.name,
        "description": body.description,
        "amount_cents": body.amount_cents,
        "amount_currency": _currency(body) or DEFAULT_CURRENCY,
        "invoice_display_name": body.invoice_display_name,
    }


def _currency(body: AddOnBody | AddOnChange) -> str | None:
    return same(body.amount_currency, body.currency, first_name="amount_currency", second_name="currency")


def changed_columns(body: AddOnChange, row: AddOn) -> dict[str, object]:
    """Return the columns that a change sets. Raises `Problem` 422 for another code."""
    if body.code is not None and body.code != row.code:
        raise invalid("code", "is stable; create another add-on", "immutable")
    given = {"name": body.name, "amount_cents": body.amount_cents, "amount_currency": _currency(body)}
    columns: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    for name in ("description", "invoice_display_name"):
        if name in body.model_fields_set:
            columns[name] = getattr(body, name)
    return columns


def application(body: ApplyAddOn, row: AddOn, customer: Customer) -> Application:
    """Return what is applied: the add-on's amount, unless the request has one of its own."""
    return Application(
        customer=customer,
        amount_cents=row.amount_cents if body.amount_cents is None else body.amount_cents,
        amount_currency=body.amount_currency or row.amount_currency,
    )
