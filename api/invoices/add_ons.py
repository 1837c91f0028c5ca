"""Add-ons: one-time fees that a customer's next invoice has (BoxBilling, B122)."""

from fastapi import Request, Response

from adapters.postgres.invoices import add_on_store
from adapters.postgres.invoices.add_on_store import ADD_ON
from adapters.postgres.journal import changing
from adapters.postgres.resolver import CUSTOMER, required
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.invoices.add_on_shapes import (
    AddOnAnswer,
    AddOnBody,
    AddOnChange,
    AppliedAddOnAnswer,
    ApplyAddOn,
    application,
    changed_columns,
    new_columns,
)

router = resource_router("Add-ons")


@router.post(
    "/add_ons",
    status_code=201,
    response_model=AddOnAnswer,
    operation_id="create_add_on",
    summary="Create add-on",
)
async def create_add_on(body: AddOnBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create an add-on; 409 for a code in use."""
    columns = new_columns(body)
    async with caller.begin(database) as tx:
        row = await changing.create(tx, add_on_store.RESOURCE, columns)
    return created(AddOnAnswer.of(row))


@router.get(
    "/add_ons",
    response_model=list[AddOnAnswer],
    responses=LISTED,
    operation_id="list_add_ons",
    summary="List add-ons",
)
async def list_add_ons(request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep) -> Response:
    """List add-ons, newest first; order by name, code, amount_cents, created_at or updated_at."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await add_on_store.listed(connection, caller.project_id, page)
    return listed_as(AddOnAnswer.of, page, rows, total, request)


@router.post(
    "/add_ons/apply",
    status_code=201,
    response_model=AppliedAddOnAnswer,
    operation_id="apply_add_on",
    summary="Apply add-on to customer",
)
async def apply_add_on(body: ApplyAddOn, caller: CallerDep, database: DatabaseDep) -> Response:
    """Put a fee on the next invoice of the customer's subscriptions in the add-on's currency, once."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, ADD_ON, body.add_on_code)
        customer = await required(tx.connection, caller.project_id, CUSTOMER, body.customer_id)
        row = await changing.locked(tx.connection, add_on_store.RESOURCE, found)
        wanted = application(body, row, customer)
        made = await add_on_store.apply(tx, row, wanted)
    return created(AppliedAddOnAnswer.of(made))


@router.get(
    "/add_ons/application_counts",
    response_model=dict[str, int],
    operation_id="get_add_on_application_counts",
    summary="Get application counts per add-on",
)
async def get_add_on_application_counts(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count the applications of each add-on."""
    async with database.transaction(caller.scope) as connection:
        counts = await add_on_store.application_counts(connection, caller.project_id)
    return reply(counts)


@router.get("/add_ons/{code}", response_model=AddOnAnswer, operation_id="get_add_on", summary="Get add-on")
async def get_add_on(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read an add-on by its code, id or uuid."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, ADD_ON, code)
    return reply(AddOnAnswer.of(row))


@router.put("/add_ons/{code}", response_model=AddOnAnswer, operation_id="update_add_on", summary="Update add-on")
@router.patch("/add_ons/{code}", response_model=AddOnAnswer, operation_id="patch_add_on", summary="Update add-on")
async def update_add_on(code: Ref, body: AddOnChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change what is sent; the code is stable (422), and what is applied already keeps its amount."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, ADD_ON, code)
        row = await changing.locked(tx.connection, add_on_store.RESOURCE, found)
        columns = changed_columns(body, row)
        changed = await changing.change(tx, add_on_store.RESOURCE, row=row, values=columns)
    return reply(AddOnAnswer.of(changed))


@router.delete("/add_ons/{code}", status_code=204, operation_id="delete_add_on", summary="Delete add-on")
async def delete_add_on(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete an add-on; fees that were applied are still invoiced."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, ADD_ON, code)
        row = await changing.locked(tx.connection, add_on_store.RESOURCE, found)
        await changing.hide(tx, add_on_store.RESOURCE, row)
    return no_content()


@router.get(
    "/add_ons/{code}/applications",
    response_model=list[AppliedAddOnAnswer],
    responses=LISTED,
    operation_id="list_add_on_applications",
    summary="Get application history for an add-on",
)
async def list_add_on_applications(
    code: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List every application of an add-on, newest first, with the invoice that has its fee."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, ADD_ON, code)
        rows, total = await add_on_store.applications_of(connection, row.id, page)
    return listed_as(AppliedAddOnAnswer.of, page, rows, total, request)


@router.get(
    "/customers/{customer_id}/applied_add_ons",
    response_model=list[AppliedAddOnAnswer],
    responses=LISTED,
    operation_id="list_applied_add_ons",
    summary="List customer applied add-ons",
)
async def list_applied_add_ons(
    customer_id: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List the add-ons that a customer pays or paid for, newest first."""
    async with database.transaction(caller.scope) as connection:
        customer = await required(connection, caller.project_id, CUSTOMER, customer_id)
        rows, total = await add_on_store.applied_to(connection, customer.id, page)
    return listed_as(AppliedAddOnAnswer.of, page, rows, total, request)
