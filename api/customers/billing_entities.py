"""Billing entities: who issues invoices, each with a number series of its own (BoxBilling, B119)."""

from fastapi import Request, Response

from adapters.postgres.customers import billing_entity_store, customer_store
from adapters.postgres.journal import changing
from adapters.postgres.resolver import BILLING_ENTITY, required
from api.customers.billing_entity_shapes import (
    BillingEntityAnswer,
    BillingEntityBody,
    BillingEntityChange,
    changed_entity_columns,
    new_entity_columns,
)
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router

router = resource_router("Billing Entities")


@router.post(
    "/billing_entities",
    status_code=201,
    response_model=BillingEntityAnswer,
    operation_id="create_billing_entity",
    summary="Create billing entity",
)
async def create_billing_entity(body: BillingEntityBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a billing entity; 409 for a code in use, or for invoice numbers that would be given twice."""
    columns = new_entity_columns(body)
    async with caller.begin(database) as tx:
        row = await billing_entity_store.create(tx, columns)
        timezone = await customer_store.default_timezone(tx.connection, caller.project_id)
    return created(BillingEntityAnswer.of(row, timezone))


@router.get(
    "/billing_entities",
    response_model=list[BillingEntityAnswer],
    responses=LISTED,
    operation_id="list_billing_entities",
    summary="List billing entities",
)
async def list_billing_entities(request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep) -> Response:
    """List billing entities, newest first; order by name, code, created_at or updated_at."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await billing_entity_store.listed(connection, caller.project_id, page)
        timezone = await customer_store.default_timezone(connection, caller.project_id)
    return listed_as(lambda row: BillingEntityAnswer.of(row, timezone), page, rows, total, request)


@router.get(
    "/billing_entities/customer_counts",
    response_model=dict[str, int],
    operation_id="get_billing_entity_customer_counts",
    summary="Get customer counts per billing entity",
)
async def get_billing_entity_customer_counts(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count for each billing entity its customers."""
    async with database.transaction(caller.scope) as connection:
        counts = await billing_entity_store.customer_counts(connection, caller.project_id)
    return reply(counts)


@router.get(
    "/billing_entities/{code}",
    response_model=BillingEntityAnswer,
    operation_id="get_billing_entity",
    summary="Get billing entity",
)
async def get_billing_entity(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a billing entity by its code, id or uuid."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, BILLING_ENTITY, code)
        timezone = await customer_store.default_timezone(connection, caller.project_id)
    return reply(BillingEntityAnswer.of(row, timezone))


@router.put(
    "/billing_entities/{code}",
    response_model=BillingEntityAnswer,
    operation_id="update_billing_entity",
    summary="Update billing entity",
)
@router.patch(
    "/billing_entities/{code}",
    response_model=BillingEntityAnswer,
    operation_id="patch_billing_entity",
    summary="Update billing entity",
)
async def update_billing_entity(
    code: Ref, body: BillingEntityChange, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Change what is sent; the code is stable (422). 409 for invoice numbers that would be given twice."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, BILLING_ENTITY, code)
        row = await changing.locked(tx.connection, billing_entity_store.RESOURCE, found)
        columns = changed_entity_columns(body, row)
        changed = await billing_entity_store.change(tx, row, columns)
        timezone = await customer_store.default_timezone(tx.connection, caller.project_id)
    return reply(BillingEntityAnswer.of(changed, timezone))


@router.delete(
    "/billing_entities/{code}",
    status_code=204,
    operation_id="delete_billing_entity",
    summary="Delete billing entity",
)
async def delete_billing_entity(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a billing entity; 409 with customers or invoices."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, BILLING_ENTITY, code)
        row = await changing.locked(tx.connection, billing_entity_store.RESOURCE, found)
        await billing_entity_store.delete(tx, row)
    return no_content()
