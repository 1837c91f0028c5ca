"""Payment methods: saved ways to pay, one default for each customer, which collecting uses (B131)."""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from adapters.payment_port import MANUAL
from adapters.postgres import resolver
from adapters.postgres.customers import payment_method_store
from adapters.postgres.subscriptions.subscription_store import wanted_id
from api.http.deps import CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.payments.payment_shapes import (
    PaymentMethodBody,
    PaymentMethodDocument,
    SetupDocument,
    SetupRequest,
)
from api.payments.payments import not_configured
from models.problems import Problem

router = resource_router("Payment Methods")

MethodId = Annotated[str, Path(max_length=100)]


@router.post(
    "/payment_methods",
    status_code=201,
    response_model=PaymentMethodDocument,
    operation_id="create_payment_method",
    summary="Create payment method",
)
async def create_payment_method(body: PaymentMethodBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Save a method of a customer; 409 for one that is saved already. A new default takes the place of the old one."""
    async with caller.begin(database) as tx:
        customer = await resolver.required(tx.connection, caller.project_id, resolver.CUSTOMER, body.customer_id)
        values = {**body.columns(), "customer_id": customer.id}
        row = await payment_method_store.create(tx, values)
    return created(PaymentMethodDocument.of(row, caller.organization_id))


@router.get(
    "/payment_methods",
    response_model=list[PaymentMethodDocument],
    responses=LISTED,
    operation_id="list_payment_methods",
    summary="List payment methods",
)
async def list_payment_methods(
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    customer_id: Annotated[str | None, Query(max_length=255, description="Any name of a customer.")] = None,
) -> Response:
    """List methods, newest first; an unknown customer has none."""
    async with database.transaction(caller.scope) as connection:
        owner = await wanted_id(connection, caller.project_id, resolver.CUSTOMER, customer_id)
        rows, total = await payment_method_store.listed(connection, caller.project_id, owner, page)
    documents = [PaymentMethodDocument.of(row, caller.organization_id) for row in rows]
    return listed(page, documents, total, request, last=rows[-1].id if rows else None)


@router.post(
    "/payment_methods/setup",
    response_model=SetupDocument,
    operation_id="create_setup_session",
    summary="Create setup session",
)
async def create_setup_session(body: SetupRequest, caller: CallerDep, database: DatabaseDep) -> Response:
    """Open a provider's page that saves a method: 501 for the manual provider, 503 without its credentials (B129)."""
    async with database.transaction(caller.scope) as connection:
        await resolver.required(connection, caller.project_id, resolver.CUSTOMER, body.customer_id)
    if body.provider == MANUAL:
        raise Problem(501, "setup_not_supported", "The manual provider has no page that saves a method.")
    raise not_configured(body.provider, "setup sessions")


@router.get(
    "/payment_methods/{payment_method_id}",
    response_model=PaymentMethodDocument,
    operation_id="get_payment_method",
    summary="Get payment method",
)
async def get_payment_method(payment_method_id: MethodId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one method by its id or uuid."""
    async with database.transaction(caller.scope) as connection:
        row = await payment_method_store.view(connection, caller.project_id, payment_method_id)
    return reply(PaymentMethodDocument.of(row, caller.organization_id))


@router.delete(
    "/payment_methods/{payment_method_id}",
    status_code=204,
    operation_id="delete_payment_method",
    summary="Delete payment method",
)
async def delete_payment_method(payment_method_id: MethodId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Forget a method; the default is refused with 409."""
    async with caller.begin(database) as tx:
        await payment_method_store.remove(tx, payment_method_id)
    return no_content()


@router.post(
    "/payment_methods/{payment_method_id}/set_default",
    response_model=PaymentMethodDocument,
    operation_id="set_default_payment_method",
    summary="Set default payment method",
)
async def set_default_payment_method(payment_method_id: MethodId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Charge this method from now on; the customer's other methods are no default any more (B131)."""
    async with caller.begin(database) as tx:
        row = await payment_method_store.set_default(tx, payment_method_id)
    return reply(PaymentMethodDocument.of(row, caller.organization_id))
