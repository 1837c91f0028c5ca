"""Products at the API's edge (UsageBox, B26)."""

from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.resources import Product
from api.http.answers import Answer
from api.http.fields import ClientId, Name, Prose
from models.identifiers import shown_id


class ProductBody(BaseModel):
    """A product: a name and a reference code of your own."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"name": "Pro API", "code": "pro-api"}]})

    name: Name
    code: ClientId
    description: Prose | None = None


class ProductItem(Answer):
    """What usage names as `product_item`."""

    id: str
    name: str
    ingest_key: str = Field(examples=["item.pro-api"])


class ProductAnswer(Answer):
    """A product and its default item, which usage may name by the product's own ingest key."""

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

    @classmethod
    def of(cls, product: Product) -> Self:
        """Return the answer that shows a product."""
        shown, ingest_key = shown_id("product", product.id), f"item.{product.code}"
        return cls.showing(
            product,
            id=shown,
            uuid=product.id,
            ingest_key=ingest_key,
            items=[ProductItem(id=shown, name=product.name, ingest_key=ingest_key)],
        )
