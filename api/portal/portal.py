"""The customer portal as JSON: what one customer may see and change of itself (B169-B171).

Every route takes a portal token, as ``?token=`` or as a Bearer token; an API key opens none of them.
"""

from typing import Annotated

from fastapi import Path, Query, Request, Response

from adapters.postgres.catalogue import plan_store
from adapters.postgres.customers import customer_store
from adapters.postgres.journal import changing
from adapters.postgres.reports import usage_report_store
from adapters.postgres.tenancy import organization_store
from api.http.deps import DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import reply
from api.http.routing import resource_router
from api.invoices.invoice_shapes import PortalInvoice
from api.portal import portal_view
from api.portal.portal_auth import PortalDep, customer_of
from api.portal.portal_shapes import (
    PortalBranding,
    PortalCustomer,
    PortalDashboardSummary,
    PortalPlan,
    PortalProfileUpdate,
    PortalSubscription,
)
from api.usage.usage_views import CurrentUsageResponse

# Portal tokens are read by a dependency of their own.
router = resource_router("Portal", idempotent=False, public=True)

_Ref = Annotated[str, Path(max_length=255)]


@router.get(
    "/portal/dashboard_summary",
    operation_id="get_portal_dashboard_summary",
    summary="Get portal dashboard summary",
    response_model=PortalDashboardSummary,
)
async def dashboard_summary(caller: PortalDep, database: DatabaseDep) -> Response:
    """Return what is billed next, what it comes to so far, how far limits are used, and what is to be paid."""
    async with database.transaction(caller.scope) as connection:
        return reply(await portal_view.summary(connection, caller))


@router.get(
    "/portal/customer",
    operation_id="get_portal_customer",
    summary="Get customer profile",
    response_model=PortalCustomer,
)
async def get_customer(caller: PortalDep, database: DatabaseDep) -> Response:
    """Read the own profile."""
    async with database.transaction(caller.scope) as connection:
        return reply(await portal_view.customer_profile(connection, caller))


@router.patch(
    "/portal/profile",
    operation_id="update_portal_profile",
    summary="Update customer profile",
    response_model=PortalCustomer,
)
async def update_profile(body: PortalProfileUpdate, caller: PortalDep, database: DatabaseDep) -> Response:
    """Change the own name, email or time zone; what is not sent stays."""
    values = body.model_dump(exclude_none=True)
    async with caller.begin(database) as tx:
        row = await changing.locked(tx.connection, customer_store.RESOURCE, await customer_of(tx.connection, caller))
        changed = await changing.change(tx, customer_store.RESOURCE, row=row, values=values)
        return reply(await portal_view.own_profile(tx.connection, caller, changed))


@router.get(
    "/portal/branding",
    operation_id="get_portal_branding",
    summary="Get organization branding for portal",
    response_model=PortalBranding,
)
async def get_branding(caller: PortalDep, database: DatabaseDep) -> Response:
    """Read who sends the bills, and how the portal is to look."""
    async with database.transaction(caller.scope) as connection:
        return reply(PortalBranding.of(await organization_store.get(connection, caller.scope.organization_id)))


@router.get(
    "/portal/invoices",
    operation_id="list_portal_invoices",
    summary="List customer invoices",
    response_model=list[PortalInvoice],
    responses=LISTED,
)
async def list_invoices(request: Request, caller: PortalDep, database: DatabaseDep, page: PageDep) -> Response:
    """List the own invoices with their lines, newest first; drafts are not among them."""
    async with database.transaction(caller.scope) as connection:
        documents, total, last = await portal_view.invoices(connection, caller, page)
    return listed(page, documents, total, request, last=last)


@router.get(
    "/portal/invoices/{invoice_id}",
    operation_id="get_portal_invoice",
    summary="Get invoice detail",
    response_model=PortalInvoice,
)
async def get_invoice(invoice_id: _Ref, caller: PortalDep, database: DatabaseDep) -> Response:
    """Read one of the own invoices with its lines; another customer's is 404 (B169)."""
    async with database.transaction(caller.scope) as connection:
        return reply(await portal_view.invoice(connection, caller, invoice_id))


@router.get(
    "/portal/current_usage",
    operation_id="get_portal_current_usage",
    summary="Get current usage",
    response_model=CurrentUsageResponse,
)
async def get_current_usage(
    caller: PortalDep,
    database: DatabaseDep,
    subscription_id: Annotated[str | None, Query(max_length=255, description="Without it, the oldest.")] = None,
) -> Response:
    """Read the usage of a subscription's current period, exact to the last accepted event."""
    async with database.transaction(caller.scope) as connection:
        of = await usage_report_store.subscribed_of_customer(
            connection, caller.project_id, str(caller.customer_id), subscription_id
        )
        return reply(CurrentUsageResponse.of(await usage_report_store.usage_in(connection, of, of.current)))


@router.get(
    "/portal/subscriptions",
    operation_id="list_portal_subscriptions",
    summary="List customer subscriptions",
    response_model=list[PortalSubscription],
)
async def list_subscriptions(caller: PortalDep, database: DatabaseDep) -> Response:
    """List the own subscriptions with their plans, newest first."""
    async with database.transaction(caller.scope) as connection:
        found = await portal_view.subscriptions_of_customer(connection, caller)
    return reply([each.document() for each in found], headers={"X-Total-Count": str(len(found))})


@router.get(
    "/portal/subscriptions/{subscription_id}",
    operation_id="get_portal_subscription",
    summary="Get subscription detail",
    response_model=PortalSubscription,
)
async def get_subscription(subscription_id: _Ref, caller: PortalDep, database: DatabaseDep) -> Response:
    """Read one of the own subscriptions; another customer's is 404."""
    async with database.transaction(caller.scope) as connection:
        return reply((await portal_view.subscription_of_customer(connection, caller, subscription_id)).document())


@router.get(
    "/portal/plans",
    operation_id="list_portal_plans",
    summary="List available plans",
    response_model=list[PortalPlan],
    responses=LISTED,
)
async def list_plans(request: Request, caller: PortalDep, database: DatabaseDep, page: PageDep) -> Response:
    """List the plans that are on offer, newest first."""
    async with database.transaction(caller.scope) as connection:
        found, total = await plan_store.listed(connection, caller.project_id, page, status="active")
    documents = [PortalPlan.of(plan, plan_store.charges_of(plan.charges)) for plan in found]
    return listed(page, documents, total, request, last=found[-1].plan.id if found else None)
