"""Customers at the API's edge: the bodies of ABAXUS, UsageBox and BoxBilling as one, and the union of their answers."""

from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.payments.registry import PROVIDER_NAMES
from adapters.postgres.customers.customer_store import BillingEntityTerms, Health
from adapters.postgres.resources import Customer
from api.http.answers import Answer
from api.http.fields import (
    AnyCase,
    ClientId,
    Currency,
    Email,
    ExactNumber,
    JsonObject,
    Name,
    Ref,
    TimeZoneName,
    refuse_reserved,
    same,
)
from models.identifiers import shown_id
from models.problems import invalid

#: Words that are, or may become, routes beside `/customers/{id}` (C37).
RESERVED: Final = frozenset({"current", "bulk", "search", "stats"})
DEFAULT_CURRENCY: Final = "USD"

Days = Annotated[int, Field(ge=0, le=3650)]
Provider = Annotated[Literal[PROVIDER_NAMES], AnyCase]  # type: ignore[valid-type]
#: Columns that a body gives under their own names.
_PLAIN: Final[tuple[str, ...]] = (
    "name",
    "email",
    "currency",
    "timezone",
    "corporate_id",
    "domain",
    "payment_provider",
    "payment_provider_customer_id",
)


class CustomerChange(BaseModel):
    """What may be changed of a customer; fields that are not sent stay. Ids and the test clock stay for ever."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"timezone": "Europe/Berlin", "net_payment_term": 14}]}
    )

    id: Ref | None = None
    external_id: Ref | None = None
    name: Name | None = None
    email: Email | None = None
    currency: Currency | None = None
    timezone: TimeZoneName | None = Field(default=None, description="Billing time zone: where period boundaries lie.")
    corporate_id: Name | None = None
    domain: Name | None = None
    payment_provider: Provider | None = Field(default=None, description="Who collects this customer's invoices.")
    payment_provider_customer_id: Name | None = Field(default=None, description="The customer's id at the provider.")
    metadata: JsonObject | None = None
    billing_metadata: JsonObject | None = Field(default=None, description="BoxBilling's `metadata`.")
    invoice_grace_period: Days | None = Field(default=None, description="Days between a period's end and its invoice.")
    net_payment_term: Days | None = Field(default=None, description="Days in which an invoice is due.")
    billing_entity_id: Ref | None = Field(default=None, description="Who issues its invoices, by id, uuid or code.")
    billing_entity_code: Ref | None = Field(default=None, description="A synonym of `billing_entity_id`.")
    test_clock_id: Ref | None = None


class CustomerBody(CustomerChange):
    """Any of the bodies that create a customer; fields of other systems are ignored."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "anyOf": [{"required": [name]} for name in ("id", "external_id", "corporate_id", "domain", "name")],
            "examples": [
                {
                    "id": "cust_acme",
                    "name": "Acme Corp",
                    "email": "billing@acme.io",
                    "payment_provider": "stripe",
                    "payment_provider_customer_id": "cus_stripe_acme123",
                },
                {"id": "cust_456", "name": "Example Ltd", "domain": "example.com", "corporate_id": "C-1001"},
                {
                    "external_id": "acme",
                    "name": "Acme Corp",
                    "currency": "USD",
                    "timezone": "Europe/Berlin",
                    "billing_metadata": {"segment": "smb"},
                },
            ],
        },
    )

    id: ClientId | None = Field(default=None, description="ABAXUS, UsageBox: your own id, shown as the customer's id.")
    external_id: ClientId | None = Field(default=None, description="BoxBilling: your own id beside a generated one.")
    test_clock_id: Ref | None = Field(default=None, description="The test clock whose time the customer lives in.")


def new_columns(body: CustomerBody) -> dict[str, object]:
    """Turn a body into columns of `customers`, the test clock left out. Raises `Problem` 422, which names the field."""
    code = same(body.id, body.external_id, first_name="id", second_name="external_id")
    refuse_reserved(code, "id" if body.id else "external_id", RESERVED)
    if code is None and not (body.name or body.corporate_id or body.domain):
        raise invalid("id", "is needed, or one of external_id, corporate_id, domain and name", "missing")
    columns: dict[str, object] = {name: value for name, value in _given(body).items() if value is not None}
    if code is not None:
        columns |= {"code": code, "code_chosen": body.id is not None}
    return columns


def changed_columns(body: CustomerChange, row: Customer) -> dict[str, object]:
    """Turn a change into columns. Raises `Problem` 422 for another id or test clock."""
    own = {row.code, shown_id("customer", row.id), str(row.id)}
    for name in ("id", "external_id"):
        value = getattr(body, name)
        if value is not None and value not in own:
            raise invalid(name, "is stable; create another customer", "immutable")
    clock = None if row.test_clock_id is None else {shown_id("test_clock", row.test_clock_id), str(row.test_clock_id)}
    if body.test_clock_id is not None and body.test_clock_id not in (clock or ()):
        raise invalid("test_clock_id", "is decided when the customer is created", "immutable")
    columns = _given(body)
    needed = ("metadata", "invoice_grace_period", "net_payment_term")
    return {name: value for name, value in columns.items() if value is not None or name not in needed}


def _given(body: CustomerChange) -> dict[str, object]:
    sent = body.model_fields_set
    columns: dict[str, object] = {
        name: getattr(body, name) for name in (*_PLAIN, "invoice_grace_period", "net_payment_term") if name in sent
    }
    if body.metadata is not None and body.billing_metadata is not None and body.metadata != body.billing_metadata:
        raise invalid("billing_metadata", "is a synonym of metadata and must be the same; send one of them")
    metadata = body.metadata if body.metadata is not None else body.billing_metadata
    return columns if metadata is None else {**columns, "metadata": metadata}


def entity_refs(body: CustomerChange) -> dict[str, str | None]:
    """Return what was sent about the billing entity, by field: null means none."""
    sent = body.model_fields_set & {"billing_entity_id", "billing_entity_code"}
    return {name: getattr(body, name) for name in sorted(sent)}


class CustomerAnswer(Answer):
    """A customer as all three systems show it."""

    id: str = Field(examples=["cust_acme"])
    uuid: UUID
    external_id: str
    name: str
    email: str | None
    currency: str
    timezone: str
    corporate_id: str | None
    domain: str | None
    payment_provider: str | None
    payment_provider_customer_id: str | None
    metadata: dict[str, Any]
    billing_metadata: dict[str, Any]
    invoice_grace_period: int
    net_payment_term: int
    billing_entity_id: str | None
    billing_entity_code: str | None
    test_clock_id: str | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, customer: Customer, by: BillingEntityTerms) -> Self:
        """Return the answer that shows a customer; what it has not set is shown as what applies to it."""
        entity, clock = customer.billing_entity_id, customer.test_clock_id
        return cls.showing(
            customer,
            id=customer_id_of(customer),
            uuid=customer.id,
            external_id=customer.code,
            name=customer.name or customer.code,
            currency=customer.currency or DEFAULT_CURRENCY,
            timezone=customer.timezone or by.timezone,
            billing_metadata=customer.metadata,
            billing_entity_id=None if by.code is None or entity is None else shown_id("billing_entity", entity),
            billing_entity_code=by.code,
            test_clock_id=None if clock is None else shown_id("test_clock", clock),
        )


def customer_id_of(row: Customer) -> str:
    """Return the id that the API shows: the client's own where one was chosen, else `cus_...` (C4)."""
    return row.code if row.code_chosen else shown_id("customer", row.id)


class HealthAnswer(Answer):
    """How a customer pays."""

    status: Literal["good", "warning", "critical"]
    total_invoices: int
    paid_invoices: int
    overdue_invoices: int
    total_payments: int
    failed_payments: int
    overdue_amount: ExactNumber = Field(description="In major units.")

    @classmethod
    def of(cls, found: Health) -> Self:
        """Return the answer: critical with an overdue invoice, a warning after a failed payment, else good."""
        status = "critical" if found.overdue_invoices else "warning" if found.failed_payments else "good"
        return cls.showing(found, status=status)
