"""Integrations at the API's edge: BoxBilling's shapes and their natural synonyms; secrets are masked (B178)."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres.rows import Columns
from adapters.postgres.tenancy.integration_store import (
    CustomerIntegration,
    Integration,
    IntegrationCustomer,
    IntegrationSync,
)
from api.http.answers import Answer
from api.http.fields import AnyCase, JsonObject, Name, Ref
from models.problems import invalid

MASK: Final = "********"
_SECRET_NAME: Final = re.compile(r"key|secret|token|passw|credential|auth|signature|private", re.IGNORECASE)

Kind = Annotated[str, StringConstraints(min_length=1, max_length=30, strip_whitespace=True)]
Provider = Annotated[str, StringConstraints(min_length=1, max_length=50, strip_whitespace=True), AnyCase]
Status = Annotated[str, StringConstraints(min_length=1, max_length=20, strip_whitespace=True), AnyCase]


class IntegrationChange(BaseModel):
    """What may be changed of an integration; fields that are not sent stay."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"status": "inactive"}]})

    integration_type: Kind | None = None
    provider_type: Provider | None = Field(
        default=None, validation_alias=AliasChoices("provider_type", "provider"), description="Or `provider`."
    )
    name: Name | None = None
    status: Status | None = None
    settings: JsonObject | None = Field(
        default=None, description="Replaces all of them; a masked value, sent back as it was shown, stays as it is."
    )
    error_details: JsonObject | None = None


class IntegrationCreate(IntegrationChange):
    """A third-party system to work with."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "required": ["integration_type", "provider_type"],
            "examples": [
                {
                    "integration_type": "accounting",
                    "provider_type": "xero",
                    "settings": {"base_url": "https://api.xero.com", "api_key": "..."},
                }
            ],
        },
    )

    integration_type: Kind = Field(description="accounting, crm, tax, payment, or a word of your own")
    error_details: None = Field(default=None, exclude=True)


class CustomerMappingCreate(BaseModel):
    """What one of your customers is called at the provider."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={"examples": [{"customer_id": "cust_acme", "external_customer_id": "XERO-117"}]},
    )

    customer_id: Ref = Field(description="The customer, by any of its names.")
    external_customer_id: Name
    settings: JsonObject | None = None


class MappingCreate(BaseModel):
    """What one of your objects is called at the provider."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "mappable_type": "plan",
                    "mappable_id": "0199f0c2-9d5c-7c11-8f3e-2f6f6f1f8a02",
                    "external_id": "item-42",
                }
            ]
        },
    )

    mappable_type: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    mappable_id: UUID
    external_id: Name
    external_data: JsonObject | None = None


class IntegrationAnswer(Answer):
    """An integration; `********` stands where settings hold a secret."""

    id: UUID
    organization_id: UUID
    integration_type: str = Field(examples=["accounting"])
    provider_type: str = Field(examples=["xero"])
    provider: str = Field(description="The same as provider_type.")
    name: str
    status: str = Field(examples=["active"])
    settings: dict[str, Any]
    last_sync_at: datetime | None
    error_details: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Integration, organization_id: UUID) -> Self:
        """Return the answer that shows an integration, its secrets masked."""
        return cls.showing(
            row,
            organization_id=organization_id,
            provider=row.provider_type,
            name=row.name or row.provider_type,
            settings=masked(row.settings),
        )


class TestAnswer(Answer):
    """Whether the provider's address answers."""

    success: bool
    error: str | None
    details: dict[str, Any]


class IntegrationCustomerAnswer(Answer):
    """What a customer is called at the provider."""

    id: UUID
    integration_id: UUID
    customer_id: UUID
    external_customer_id: str
    settings: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: IntegrationCustomer) -> Self:
        """Return the answer that shows what a customer is called at the provider."""
        return cls.showing(row, settings=masked(row.settings))


class IntegrationMappingAnswer(Answer):
    """What an object is called at the provider."""

    id: UUID
    integration_id: UUID
    mappable_type: str
    mappable_id: UUID
    external_id: str
    external_data: dict[str, Any] | None
    last_synced_at: datetime | None
    created_at: datetime
    updated_at: datetime


class SyncAnswer(Answer):
    """One thing that was tried with the provider."""

    id: UUID
    integration_id: UUID
    resource_type: str
    resource_id: UUID | None
    external_id: str | None
    action: str
    status: str = Field(examples=["succeeded"])
    error_message: str | None
    error: str | None = Field(description="The same as error_message.")
    details: dict[str, Any] | None
    started_at: datetime
    completed_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: IntegrationSync) -> Self:
        """Return the answer that shows one thing that was tried."""
        return cls.showing(row, error=row.error_message)


class CustomerIntegrationAnswer(Answer):
    """What the customer is called at one integration."""

    id: UUID
    integration_id: UUID
    integration_name: str
    integration_provider: str
    provider: str = Field(description="The same as integration_provider.")
    external_customer_id: str
    settings: dict[str, Any] | None
    created_at: datetime

    @classmethod
    def of(cls, row: CustomerIntegration) -> Self:
        """Return the answer that shows what a customer is called at one integration."""
        return cls.showing(
            row,
            integration_name=row.integration_name or row.provider_type,
            integration_provider=row.provider_type,
            provider=row.provider_type,
            settings=masked(row.settings),
        )


def new_columns(body: IntegrationCreate) -> Columns:
    """Turn a body into columns of `integrations`. Raises `Problem` 422 without a provider, and for a masked secret."""
    if body.provider_type is None:
        raise invalid("provider_type", "is required", "missing")
    columns = body.model_dump(exclude_none=True)
    return columns | ({"settings": unmasked(body.settings, {})} if body.settings is not None else {})


def changed_columns(body: IntegrationChange, row: Integration) -> Columns:
    """Turn a change into columns; `error_details` may be set to null."""
    columns = body.model_dump(exclude_none=True)
    if "error_details" in body.model_fields_set:
        columns["error_details"] = body.error_details
    return columns | ({"settings": unmasked(body.settings, row.settings)} if body.settings is not None else {})


def masked(value: Any, *, secret: bool = False) -> Any:
    """Hide what settings say under names such as api_key, client_secret and password, at any depth."""
    match value:
        case dict():
            return {
                name: masked(item, secret=secret or _SECRET_NAME.search(name) is not None)
                for name, item in value.items()
            }
        case list():
            return [masked(item, secret=secret) for item in value]
    return MASK if secret and value not in (None, "") and not isinstance(value, bool) else value


def unmasked(sent: Any, stored: Any) -> Any:
    """Put stored secrets back where a client sent masks. Raises `Problem` 422 for a mask of nothing stored."""
    if isinstance(sent, dict):
        known = stored if isinstance(stored, dict) else {}
        return {name: unmasked(item, known.get(name)) for name, item in sent.items()}
    if isinstance(sent, list):
        known_items = stored if isinstance(stored, list) else []
        return [
            unmasked(item, known_items[place] if place < len(known_items) else None) for place, item in enumerate(sent)
        ]
    if sent != MASK:
        return sent
    if stored is None:
        raise invalid("settings", "holds a masked value, and there is no secret of that name yet")
    return stored
