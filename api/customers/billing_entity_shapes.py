"""Billing entities at the API's edge (BoxBilling, B119)."""

import re
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres.resources import BillingEntity
from adapters.postgres.rows import Columns
from api.http.answers import Answer
from api.http.fields import Currency, Email, Name, Ref, TimeZoneName, refuse_reserved
from models.identifiers import shown_id
from models.problems import invalid

#: Words that are routes beside `/billing_entities/{code}` (C37).
RESERVED: Final = frozenset({"customer_counts"})
#: The series of invoices without a billing entity.
_OWN_SERIES: Final = re.compile(r"INV-[0-9]{8}")

Code = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Prefix = Annotated[str, StringConstraints(min_length=1, max_length=20, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$")]
Locale = Annotated[str, StringConstraints(max_length=10, pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,4}){0,2}$")]
Line = Annotated[str, StringConstraints(max_length=255)]
Days = Annotated[int, Field(ge=0, le=3650)]
Number = Annotated[int, Field(ge=1, le=10**12)]

#: Columns that may not be empty: null leaves them.
_NEEDED: Final = frozenset(
    {
        "name",
        "currency",
        "document_locale",
        "next_invoice_number",
        "invoice_grace_period",
        "net_payment_term",
        "is_default",
    }
)


class BillingEntityChange(BaseModel):
    """What may be changed of a billing entity; fields that are not sent stay."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"city": "Berlin", "invoice_footer": "Thank you"}]}
    )

    code: Ref | None = None
    name: Name | None = None
    legal_name: Line | None = None
    address_line1: Line | None = None
    address_line2: Line | None = None
    city: Line | None = None
    state: Line | None = None
    country: Country | None = Field(default=None, description="Two letters, as in ISO 3166.", examples=["DE"])
    zip_code: Line | None = None
    tax_id: Line | None = None
    email: Email | None = None
    currency: Currency | None = None
    timezone: TimeZoneName | None = Field(
        default=None, description="Billing time zone of its customers that have none; without it, the project's."
    )
    document_locale: Locale | None = Field(default=None, examples=["en"])
    invoice_prefix: Prefix | None = Field(
        default=None, description="Stands before its invoices' numbers; without it, the code.", examples=["ACME-EU"]
    )
    next_invoice_number: Number | None = Field(default=None, description="The next invoice's number; then it grows.")
    invoice_grace_period: Days | None = Field(default=None, description="What its new customers start with.")
    net_payment_term: Days | None = Field(default=None, description="What its new customers start with.")
    invoice_footer: Annotated[str, StringConstraints(max_length=1024)] | None = None
    is_default: bool | None = Field(default=None, description="Customers created without an entity belong to it.")


class BillingEntityBody(BillingEntityChange):
    """A billing entity: who issues invoices."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [{"code": "acme-eu", "name": "Acme Europe", "country": "DE", "invoice_prefix": "ACME-EU"}]
        },
    )

    code: Code
    name: Name


class BillingEntityAnswer(Answer):
    """A billing entity."""

    id: str = Field(examples=["be_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    code: str
    name: str
    legal_name: str | None
    address_line1: str | None
    address_line2: str | None
    city: str | None
    state: str | None
    country: str | None
    zip_code: str | None
    tax_id: str | None
    email: str | None
    currency: str
    timezone: str
    document_locale: str
    invoice_prefix: str | None
    next_invoice_number: int
    invoice_grace_period: int
    net_payment_term: int
    invoice_footer: str | None
    is_default: bool
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, entity: BillingEntity, default_timezone: str) -> Self:
        """Return the answer that shows a billing entity; without a time zone of its own, the project's applies."""
        return cls.showing(
            entity,
            id=shown_id("billing_entity", entity.id),
            uuid=entity.id,
            timezone=entity.timezone or default_timezone,
        )


def new_entity_columns(body: BillingEntityBody) -> Columns:
    """Turn a body into columns of `billing_entities`. Raises `Problem` 422 for a code or prefix that is not free."""
    refuse_reserved(body.code, "code", RESERVED)
    columns = {name: getattr(body, name) for name in body.model_fields_set if name in BillingEntityChange.model_fields}
    columns = {name: value for name, value in columns.items() if value is not None}
    _refuse_own_series("invoice_prefix" if body.invoice_prefix else "code", body.invoice_prefix or body.code)
    return columns


def changed_entity_columns(body: BillingEntityChange, row: BillingEntity) -> Columns:
    """Turn a change into columns; null empties what may be empty. Raises `Problem` 422 for another code."""
    if body.code is not None and body.code != row.code:
        raise invalid("code", "is stable; create another billing entity", "immutable")
    _refuse_own_series("invoice_prefix", body.invoice_prefix or "")
    sent = {name: getattr(body, name) for name in body.model_fields_set if name in BillingEntityChange.model_fields}
    return {
        name: value for name, value in sent.items() if name != "code" and (value is not None or name not in _NEEDED)
    }


def _refuse_own_series(field: str, prefix: str) -> None:
    if _OWN_SERIES.fullmatch(prefix):
        raise invalid(field, "is how invoices without a billing entity are numbered")
