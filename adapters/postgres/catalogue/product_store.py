"""Products: what is sold, the parent of plans."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from models.identifiers import new_id
from models.problems import conflict
from models.tables import products

ORDERABLE: Final = {"name": products.c.name, "code": products.c.code, "updated_at": products.c.updated_at}


async def create(tx: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Add a product; `values` are columns of `products`.

    Raises `Problem` 409 `product_exists` for a code in use (B26).
    """
    statement = (
        insert(products)
        .values(id=new_id(), project_id=tx.scope.project_id, **values)
        .on_conflict_do_nothing(index_elements=["project_id", "code"], index_where=products.c.deleted_at.is_(None))
        .returning(products)
    )
    row: Row[Any] | None = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        raise conflict("product_exists", f"This project has a product with the code {values['code']!r} already.")
    await tx.audit(
        resource_type="product",
        resource_id=row.id,
        action="created",
        title=f"Product {row.code} created",
    )
    return row


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, code: str | None = None
) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of the project's products, newest first, and their number."""
    wanted: list[ColumnElement[bool]] = [products.c.project_id == project_id, products.c.deleted_at.is_(None)]
    if code is not None:
        wanted.append(products.c.code == code)
    return await page_of(connection, products, page, *wanted, orderable=ORDERABLE)
