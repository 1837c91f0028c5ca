"""Products at the API's edge (UsageBox, B26)."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.resolver import Found
from api.http.fields import ClientId, Name, Prose
from models.identifiers import shown_id


class ProductBody(BaseModel):
    """A product: a name and a reference code of your own."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"name": "Pro API", "code": "pro-api"}]})

    name: Name
    code: ClientId
    description: Prose | None = None


class ProductItem(BaseModel):
    """What usage names as `product_item`."""

    id: str
    name: str
    ingest_key: str = Field(examples=["item.pro-api"])


class ProductAnswer(BaseModel):
    """A product and the item that usage may name."""

    id: str = Field(examples=["prod_01kaqs2v8yf0y8f7bn1qv0c5te"])
    uuid: UUID
    code: str
    name: str
    description: str | None
    ingest_key: str = Field(examples=["item.pro-api"])
    project_id: UUID
    items: list[ProductItem]
    created_at: str
    updated_at: str


def shown_product(row: Found) -> dict[str, Any]:
    """Show a product with its default item, which has the product's own ingest key."""
    ingest_key = f"item.{row.code}"
    return {
        "id": shown_id("product", row.id),
        "uuid": row.id,
        "code": row.code,
        "name": row.name,
        "description": row.description,
        "ingest_key": ingest_key,
        "project_id": row.project_id,
        "items": [{"id": shown_id("product", row.id), "name": row.name, "ingest_key": ingest_key}],
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
