"""Products: what is sold, the parent of plans."""

from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.changing import Resource
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resources import Product
from adapters.postgres.rows import records
from models.tables import products

RESOURCE: Final = Resource(products, "product", "Product", Product)
ORDERABLE: Final = {"name": products.c.name, "code": products.c.code, "updated_at": products.c.updated_at}


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, code: str | None = None
) -> tuple[tuple[Product, ...], int]:
    """Return one part of the project's products, newest first, and their number."""
    wanted: list[ColumnElement[bool]] = [products.c.project_id == project_id, products.c.deleted_at.is_(None)]
    if code is not None:
        wanted.append(products.c.code == code)
    rows, total = await page_of(connection, products, page, *wanted, orderable=ORDERABLE)
    return records(Product, rows), total
