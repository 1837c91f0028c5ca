"""Coupons: what takes a part off invoices, and who holds it (BoxBilling, B121)."""

from typing import Annotated

from fastapi import Query, Request, Response

from adapters.postgres.customers import clock_store
from adapters.postgres.invoices import coupon_store
from adapters.postgres.invoices.coupon_store import COUPON, Application
from adapters.postgres.journal import changing
from adapters.postgres.resolver import CUSTOMER, required
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.invoices.coupon_shapes import (
    AppliedCouponAnswer,
    ApplyCoupon,
    CouponAnalytics,
    CouponAnswer,
    CouponBody,
    CouponChange,
    Status,
    changed_columns,
    new_columns,
    own_terms,
)
from models.problems import invalid

router = resource_router("Coupons")

_LONGEST_CODE = 255


@router.post(
    "/coupons",
    status_code=201,
    response_model=CouponAnswer,
    operation_id="create_coupon",
    summary="Create coupon",
)
async def create_coupon(body: CouponBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a coupon; 409 for a code in use, 422 for fields that do not go together."""
    columns = new_columns(body)
    async with caller.begin(database) as tx:
        row = await changing.create(tx, coupon_store.RESOURCE, columns)
    return created(CouponAnswer.of(row))


@router.get(
    "/coupons",
    response_model=list[CouponAnswer],
    responses=LISTED,
    operation_id="list_coupons",
    summary="List coupons",
)
async def list_coupons(
    request: Request,
    page: PageDep,
    caller: CallerDep,
    database: DatabaseDep,
    status: Annotated[Status | None, Query()] = None,
) -> Response:
    """List coupons, newest first; order by name, code, status, created_at or updated_at."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await coupon_store.listed(connection, caller.project_id, page, status)
    return listed_as(CouponAnswer.of, page, rows, total, request)


@router.post(
    "/coupons/apply",
    status_code=201,
    response_model=AppliedCouponAnswer,
    operation_id="apply_coupon",
    summary="Apply coupon to customer",
)
async def apply_coupon(body: ApplyCoupon, caller: CallerDep, database: DatabaseDep) -> Response:
    """Let a coupon discount the customer's invoices from now on.

    409 for a terminated or expired one, for one that the customer had and that is not reusable, and for one that was
    applied as often as it may be.
    """
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, COUPON, body.coupon_code)
        customer = await required(tx.connection, caller.project_id, CUSTOMER, body.customer_id)
        row = await changing.locked(tx.connection, coupon_store.RESOURCE, found)
        at = await clock_store.now(tx.connection, customer.test_clock_id)
        wanted = Application(customer=customer, at=at, terms=own_terms(body, row))
        made = await coupon_store.apply(tx, row, wanted)
    return created(AppliedCouponAnswer.of(made))


@router.delete(
    "/coupons/applied/{applied_coupon_id}",
    status_code=204,
    operation_id="remove_applied_coupon",
    summary="Remove applied coupon",
)
async def remove_applied_coupon(applied_coupon_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Take a coupon from a customer; invoices that exist keep their discounts."""
    async with caller.begin(database) as tx:
        row = await coupon_store.view_applied(tx.connection, caller.project_id, applied_coupon_id)
        await coupon_store.remove(tx, row)
    return no_content()


@router.get("/coupons/{code}", response_model=CouponAnswer, operation_id="get_coupon", summary="Get coupon")
async def get_coupon(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a coupon by its code, id or uuid; also a terminated one."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, COUPON, code)
    return reply(CouponAnswer.of(row))


@router.put("/coupons/{code}", response_model=CouponAnswer, operation_id="update_coupon", summary="Update coupon")
@router.patch("/coupons/{code}", response_model=CouponAnswer, operation_id="patch_coupon", summary="Update coupon")
async def update_coupon(code: Ref, body: CouponChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change names, expiration or status; what the coupon takes off, and how often, is stable (422)."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, COUPON, code)
        row = await changing.locked(tx.connection, coupon_store.RESOURCE, found)
        columns = changed_columns(body, row)
        changed = await changing.change(tx, coupon_store.RESOURCE, row=row, values=columns)
    return reply(CouponAnswer.of(changed))


@router.delete("/coupons/{code}", status_code=204, operation_id="terminate_coupon", summary="Terminate coupon")
async def terminate_coupon(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Let nobody apply the coupon any more; customers who hold it keep it. The code stays taken."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, COUPON, code)
        row = await changing.locked(tx.connection, coupon_store.RESOURCE, found)
        await changing.change(tx, coupon_store.RESOURCE, row=row, values={"status": "terminated"})
    return no_content()


@router.get(
    "/coupons/{code}/analytics",
    response_model=CouponAnalytics,
    operation_id="get_coupon_analytics",
    summary="Get coupon analytics",
)
async def get_coupon_analytics(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Count a coupon's applications, and add up what they took off invoices."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, COUPON, code)
        return reply(CouponAnalytics.of(await coupon_store.analytics(connection, row)))


@router.post(
    "/coupons/{code}/duplicate",
    status_code=201,
    response_model=CouponAnswer,
    operation_id="duplicate_coupon",
    summary="Duplicate coupon",
)
async def duplicate_coupon(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Copy a coupon, without its applications, as `CODE_copy`; 409 when there is one already."""
    async with caller.begin(database) as tx:
        row = await required(tx.connection, caller.project_id, COUPON, code)
        if len(row.code) + len("_copy") > _LONGEST_CODE or len(row.name) + len(" (Copy)") > _LONGEST_CODE:
            raise invalid("code", f"and name of the copy would be longer than {_LONGEST_CODE} characters")
        copy = await coupon_store.duplicate(tx, row)
    return created(CouponAnswer.of(copy))


@router.get(
    "/customers/{customer_id}/applied_coupons",
    response_model=list[AppliedCouponAnswer],
    responses=LISTED,
    operation_id="list_applied_coupons",
    summary="List customer applied coupons",
)
async def list_applied_coupons(
    customer_id: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List the coupons that a customer holds or held, newest first."""
    async with database.transaction(caller.scope) as connection:
        customer = await required(connection, caller.project_id, CUSTOMER, customer_id)
        rows, total = await coupon_store.applied_to(connection, customer.id, page)
    return listed_as(AppliedCouponAnswer.of, page, rows, total, request)
