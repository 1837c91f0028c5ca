"""Products: what is sold (B26, B27)."""

from typing import Annotated

from fastapi import Query, Request, Response

from adapters.postgres.catalogue import product_store
from adapters.postgres.journal import changing
from adapters.postgres.resolver import PRODUCT, required
from api.catalogue.product_shapes import ProductAnswer, ProductBody
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, reply
from api.http.routing import resource_router

router = resource_router("Products")


@router.post(
    "/products",
    status_code=201,
    response_model=ProductAnswer,
    operation_id="create_product",
    summary="Create product",
)
async def create_product(body: ProductBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a product; 409 for a code in use."""
    async with caller.begin(database) as tx:
        row = await changing.create(tx, product_store.RESOURCE, body.model_dump(exclude_none=True))
    return created(ProductAnswer.of(row))


@router.get(
    "/products",
    response_model=list[ProductAnswer],
    responses=LISTED,
    operation_id="list_products",
    summary="List products",
)
async def list_products(
    request: Request,
    page: PageDep,
    caller: CallerDep,
    database: DatabaseDep,
    code: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """List the products of the active project, newest first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await product_store.listed(connection, caller.project_id, page, code)
    return listed_as(ProductAnswer.of, page, rows, total, request)


@router.get("/products/{product_id}", response_model=ProductAnswer, operation_id="get_product", summary="Get product")
async def get_product(product_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a product by its id, uuid, code or ingest key."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, PRODUCT, product_id)
    return reply(ProductAnswer.of(row))
