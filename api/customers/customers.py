"""Customers: who is billed (B78-B81)."""

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from adapters.postgres.customers import billing_entity_store, customer_store
from adapters.postgres.journal import changing
from adapters.postgres.resolver import CUSTOMER, required
from api.customers.customer_shapes import (
    CustomerAnswer,
    CustomerBody,
    CustomerChange,
    HealthAnswer,
    changed_columns,
    entity_refs,
    new_columns,
)
from api.http.deps import CallerDep, DatabaseDep, ProvidersDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from models.problems import invalid

router = resource_router("Customers")

Wanted = Annotated[str | None, Query(max_length=320)]


def _conditions(
    external_id: Wanted = None, email: Wanted = None, corporate_id: Wanted = None, domain: Wanted = None
) -> dict[str, str]:
    given = {"external_id": external_id, "email": email, "corporate_id": corporate_id, "domain": domain}
    return {name: value for name, value in given.items() if value is not None}


ConditionsDep = Annotated[dict[str, str], Depends(_conditions)]


@router.post(
    "/customers",
    status_code=201,
    response_model=CustomerAnswer,
    operation_id="create_customer",
    summary="Create customer",
)
async def create_customer(
    body: CustomerBody, caller: CallerDep, database: DatabaseDep, providers: ProvidersDep
) -> Response:
    """Create a customer; 409 for an id in use (B78), 404 for an unknown clock or entity, 409 while it advances.

    A customer in a test clock whose provider would charge with a live key is 409 `live_key_on_test_clock`.
    """
    columns = new_columns(body)
    async with caller.begin(database) as tx:
        if body.test_clock_id is not None:
            clock = await customer_store.usable_clock(tx.connection, caller.project_id, body.test_clock_id)
            columns["test_clock_id"] = clock
            await providers.allow_in_clock(tx.connection, caller.scope, body.payment_provider)
        entity = await billing_entity_store.resolve_locked(tx.connection, caller.project_id, entity_refs(body))
        if entity is not None:
            columns["billing_entity_id"] = entity
        row = await customer_store.create(tx, columns)
        by = await customer_store.billing_entity_terms_of(tx.connection, caller.project_id, [row])
    return created(CustomerAnswer.of(row, by[row.billing_entity_id]))


@router.get(
    "/customers",
    response_model=list[CustomerAnswer],
    responses=LISTED,
    operation_id="list_customers",
    summary="List customers",
)
async def list_customers(
    request: Request, page: PageDep, conditions: ConditionsDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List customers, newest first; order by name, external_id, email, created_at or updated_at."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await customer_store.listed(connection, caller.project_id, page, conditions)
        by = await customer_store.billing_entity_terms_of(connection, caller.project_id, rows)
    return listed_as(lambda row: CustomerAnswer.of(row, by[row.billing_entity_id]), page, rows, total, request)


@router.get(
    "/customers/{customer_id}/health",
    response_model=HealthAnswer,
    operation_id="get_customer_health",
    summary="Get customer health indicator",
)
async def get_customer_health(customer_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return how a customer pays: critical with an overdue invoice, a warning after a failed payment, else good."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, CUSTOMER, customer_id)
        found = await customer_store.health(connection, row)
    return reply(HealthAnswer.of(found))


@router.get(
    "/customers/{customer_id}", response_model=CustomerAnswer, operation_id="get_customer", summary="Get customer"
)
async def get_customer(customer_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a customer by its id, uuid, external id, corporate id or domain (B79)."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, CUSTOMER, customer_id)
        by = await customer_store.billing_entity_terms_of(connection, caller.project_id, [row])
    return reply(CustomerAnswer.of(row, by[row.billing_entity_id]))


@router.put(
    "/customers/{customer_id}", response_model=CustomerAnswer, operation_id="update_customer", summary="Update customer"
)
@router.patch(
    "/customers/{customer_id}", response_model=CustomerAnswer, operation_id="patch_customer", summary="Update customer"
)
async def update_customer(
    customer_id: Ref, body: CustomerChange, caller: CallerDep, database: DatabaseDep, providers: ProvidersDep
) -> Response:
    """Change what is sent; the rest stays (conflicts C18). 422 for a grace period that subscriptions already took."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, CUSTOMER, customer_id)
        row = await changing.locked(tx.connection, customer_store.RESOURCE, found)
        columns = changed_columns(body, row)
        if row.test_clock_id is not None and "payment_provider" in columns:
            await providers.allow_in_clock(tx.connection, caller.scope, body.payment_provider)
        days = columns.get("invoice_grace_period", row.invoice_grace_period)
        if days != row.invoice_grace_period and await customer_store.has_living_subscriptions(tx.connection, row.id):
            raise invalid("invoice_grace_period", "its subscriptions have the one they began with; end them first")
        if entity_refs(body):
            columns["billing_entity_id"] = await billing_entity_store.resolve_locked(
                tx.connection, caller.project_id, entity_refs(body)
            )
        changed = await changing.change(tx, customer_store.RESOURCE, row=row, values=columns)
        by = await customer_store.billing_entity_terms_of(tx.connection, caller.project_id, [changed])
    return reply(CustomerAnswer.of(changed, by[changed.billing_entity_id]))


@router.delete("/customers/{customer_id}", status_code=204, operation_id="delete_customer", summary="Delete customer")
async def delete_customer(customer_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a customer; 409 with invoices or with subscriptions that have not ended."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, CUSTOMER, customer_id)
        row = await changing.locked(tx.connection, customer_store.RESOURCE, found)
        await customer_store.delete(tx, row)
    return no_content()
