"""Third-party systems: which they are, whether they answer, what things are called there (BoxBilling, B178)."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Request, Response

from adapters.integrations.reach import ReachResult, reach
from adapters.postgres.resolver import CUSTOMER, required
from adapters.postgres.tenancy import integration_store
from adapters.postgres.tenancy.integration_store import SyncFilter
from adapters.webhooks.guard import LONGEST_URL, Guard
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.tenancy.integration_shapes import (
    CustomerIntegrationAnswer,
    CustomerMappingCreate,
    IntegrationAnswer,
    IntegrationChange,
    IntegrationCreate,
    IntegrationCustomerAnswer,
    IntegrationMappingAnswer,
    MappingCreate,
    SyncAnswer,
    TestAnswer,
    changed_columns,
    new_columns,
)

router = resource_router("Integrations")
customers = resource_router("Customers")

_Id = Annotated[str, Path(max_length=100)]
_Wanted = Annotated[str | None, Query(max_length=50)]


@router.post(
    "/integrations",
    operation_id="create_integration",
    summary="Create integration",
    status_code=201,
    response_model=IntegrationAnswer,
)
async def create_integration(body: IntegrationCreate, caller: CallerDep, database: DatabaseDep) -> Response:
    """Add a third-party system; 409 for a provider that the project works with already. Needs an ADMIN's key."""
    caller.require("ADMIN")
    async with caller.begin(database) as tx:
        row = await integration_store.create(tx, new_columns(body))
    return created(IntegrationAnswer.of(row, caller.organization_id))


@router.get(
    "/integrations",
    operation_id="list_integrations",
    summary="List integrations",
    response_model=list[IntegrationAnswer],
    responses=LISTED,
)
async def list_integrations(request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """List the project's integrations, newest first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await integration_store.listing(connection, page)
    return listed_as(lambda row: IntegrationAnswer.of(row, caller.organization_id), page, rows, total, request)


@router.get(
    "/integrations/{integration_id}",
    operation_id="get_integration",
    summary="Get integration",
    response_model=IntegrationAnswer,
)
async def get_integration(integration_id: _Id, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one integration; its secrets are masked."""
    async with database.transaction(caller.scope) as connection:
        row = await integration_store.get(connection, integration_id)
    return reply(IntegrationAnswer.of(row, caller.organization_id))


@router.put(
    "/integrations/{integration_id}",
    operation_id="update_integration",
    summary="Update integration",
    response_model=IntegrationAnswer,
)
@router.patch(
    "/integrations/{integration_id}",
    operation_id="patch_integration",
    summary="Update integration",
    response_model=IntegrationAnswer,
)
async def update_integration(
    integration_id: _Id, body: IntegrationChange, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Change what is sent; the rest stays (conflicts C18). Needs an ADMIN's key."""
    caller.require("ADMIN")
    async with caller.begin(database) as tx:
        before = await integration_store.get(tx.connection, integration_id, lock=True)
        values = changed_columns(body, before)
        row = await integration_store.change(tx, before, values)
    return reply(IntegrationAnswer.of(row, caller.organization_id))


@router.delete(
    "/integrations/{integration_id}",
    operation_id="delete_integration",
    summary="Delete integration",
    status_code=204,
)
async def delete_integration(integration_id: _Id, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete an integration; its settings are forgotten. Needs an ADMIN's key."""
    caller.require("ADMIN")
    async with caller.begin(database) as tx:
        await integration_store.delete(tx, integration_id)
    return no_content()


@router.post(
    "/integrations/{integration_id}/test",
    operation_id="test_integration",
    summary="Test integration connection",
    response_model=TestAnswer,
)
async def test_integration(request: Request, integration_id: _Id, caller: CallerDep, database: DatabaseDep) -> Response:
    """Ask `settings.base_url` for an answer, without any credentials; any answer below 500 is a success.

    How it ended is the answer, always with 200, and an entry of the sync history. Private addresses are refused.
    """
    async with database.transaction(caller.scope) as connection:
        row = await integration_store.get(connection, integration_id)
    url = row.settings.get("base_url")
    began = datetime.now(UTC)
    guard = Guard.of(request.app.state.settings)
    usable = isinstance(url, str) and 0 < len(url) <= LONGEST_URL
    outcome = await reach(str(url), guard) if usable else _NO_ADDRESS
    details = {"http_status": outcome.http_status, "duration_ms": outcome.duration_ms}
    async with database.transaction(caller.scope) as connection:
        await integration_store.record_sync(
            connection,
            caller.scope,
            {
                "integration_id": row.id,
                "resource_type": "connection",
                "action": "test",
                "status": "succeeded" if outcome.success else "failed",
                "error_message": outcome.error,
                "details": details,
                "started_at": began,
            },
        )
    return reply(TestAnswer(success=outcome.success, error=outcome.error, details=details))


_NO_ADDRESS = ReachResult(False, None, "settings.base_url is missing: there is no address to ask", 0)


@router.post(
    "/integrations/{integration_id}/customers",
    operation_id="create_integration_customer",
    summary="Map a customer",
    status_code=201,
    response_model=IntegrationCustomerAnswer,
)
async def create_integration_customer(
    integration_id: _Id, body: CustomerMappingCreate, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Note what a customer is called at the provider; 409 for a customer that is mapped already."""
    async with caller.begin(database) as tx:
        integration = await integration_store.get(tx.connection, integration_id, lock=True)
        customer = await required(tx.connection, caller.project_id, CUSTOMER, body.customer_id)
        values = {**body.model_dump(exclude_none=True), "customer_id": customer.id}
        row = await integration_store.add_customer(tx, integration, values)
    return created(IntegrationCustomerAnswer.of(row))


@router.get(
    "/integrations/{integration_id}/customers",
    operation_id="list_integration_customers",
    summary="List integration customer mappings",
    response_model=list[IntegrationCustomerAnswer],
    responses=LISTED,
)
async def list_integration_customers(
    request: Request, integration_id: _Id, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """List what customers are called at the provider, newest first."""
    async with database.transaction(caller.scope) as connection:
        integration = await integration_store.get(connection, integration_id)
        rows, total = await integration_store.customers_of(connection, integration.id, page)
    return listed_as(IntegrationCustomerAnswer.of, page, rows, total, request)


@router.post(
    "/integrations/{integration_id}/mappings",
    operation_id="create_integration_mapping",
    summary="Map an object",
    status_code=201,
    response_model=IntegrationMappingAnswer,
)
async def create_integration_mapping(
    integration_id: _Id, body: MappingCreate, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Note what an object, such as a plan, is called at the provider; 409 for one that is mapped already."""
    async with caller.begin(database) as tx:
        integration = await integration_store.get(tx.connection, integration_id, lock=True)
        values = body.model_dump(exclude_none=True)
        row = await integration_store.add_mapping(tx, integration, values)
    return created(IntegrationMappingAnswer.showing(row))


@router.get(
    "/integrations/{integration_id}/mappings",
    operation_id="list_integration_mappings",
    summary="List integration field mappings",
    response_model=list[IntegrationMappingAnswer],
    responses=LISTED,
)
async def list_integration_mappings(
    request: Request, integration_id: _Id, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """List what objects are called at the provider, newest first."""
    async with database.transaction(caller.scope) as connection:
        integration = await integration_store.get(connection, integration_id)
        rows, total = await integration_store.mappings_of(connection, integration.id, page)
    return listed_as(IntegrationMappingAnswer.showing, page, rows, total, request)


@router.get(
    "/integrations/{integration_id}/sync_history",
    operation_id="list_integration_sync_history",
    summary="List integration sync history",
    response_model=list[SyncAnswer],
    responses=LISTED,
)
async def list_integration_sync_history(
    request: Request,
    integration_id: _Id,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    *,
    status: _Wanted = None,
    resource_type: _Wanted = None,
) -> Response:
    """List what was tried with the provider, newest first; tests of the connection are in it."""
    async with database.transaction(caller.scope) as connection:
        integration = await integration_store.get(connection, integration_id)
        rows, total = await integration_store.syncs_of(
            connection, integration.id, page, SyncFilter(status, resource_type)
        )
    return listed_as(SyncAnswer.of, page, rows, total, request)


@customers.get(
    "/customers/{customer_id}/integration_mappings",
    operation_id="list_customer_integration_mappings",
    summary="List customer integration mappings",
    response_model=list[CustomerIntegrationAnswer],
    responses=LISTED,
)
async def list_customer_integration_mappings(
    request: Request, customer_id: Ref, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """List what the customer is called at each integration, newest first."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, CUSTOMER, customer_id)
        rows, total = await integration_store.of_customer(connection, row.id, page)
    return listed_as(CustomerIntegrationAnswer.of, page, rows, total, request)
