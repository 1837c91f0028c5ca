"""The records of what a reference can name, as the stores of every area pass them on."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from billing.entitlements import FeatureType
from billing.numbers import RoundingFunction


@dataclass(frozen=True, slots=True)
class Customer:
    """Who is billed; `code` is the client's own id, or the shown one where none was chosen."""

    id: UUID
    project_id: UUID
    code: str
    code_chosen: bool
    name: str | None
    email: str | None
    currency: str | None
    timezone: str | None
    corporate_id: str | None
    domain: str | None
    payment_provider: str | None
    payment_provider_customer_id: str | None
    metadata: dict[str, Any]
    invoice_grace_period: int
    net_payment_term: int
    billing_entity_id: UUID | None
    test_clock_id: UUID | None
    is_organization: bool
    created_by_usage: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class BillingEntity:
    """Who issues invoices, with a number series of its own."""

    id: UUID
    project_id: UUID
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
    timezone: str | None
    document_locale: str
    invoice_prefix: str | None
    next_invoice_number: int
    invoice_grace_period: int
    net_payment_term: int
    invoice_footer: str | None
    is_default: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured, and how events become a quantity."""

    id: UUID
    project_id: UUID
    key: str
    name: str
    description: str | None
    unit: str | None
    aggregation: str
    field_name: str | None
    expression: str | None
    percentile: Decimal | None
    recurring: bool
    partial_period: Literal["prorate", "full"] | None
    rounding_function: RoundingFunction | None
    rounding_precision: int | None
    product_ids: list[UUID]
    values_kept: bool
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Product:
    """What is sold, the parent of plans."""

    id: UUID
    project_id: UUID
    code: str
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan without what its versions fix; `code` is the shown id where none was chosen."""

    id: UUID
    project_id: UUID
    product_id: UUID | None
    code: str
    code_chosen: bool
    status: str
    current_version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Feature:
    """What plans can grant."""

    id: UUID
    project_id: UUID
    code: str
    name: str
    description: str | None
    feature_type: FeatureType
    created_at: datetime
    updated_at: datetime
