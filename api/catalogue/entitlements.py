"""Entitlements: what plans grant; a plan's embedded object is a view of them (conflicts C27, B39-B41)."""

from typing import Annotated

from fastapi import Query, Request, Response

from adapters.postgres.catalogue import entitlement_store
from adapters.postgres.resolver import FEATURE, PLAN, required
from adapters.postgres.subscriptions.subscription_store import wanted_id
from api.catalogue.entitlement_shapes import (
    EntitlementAnswer,
    EntitlementBody,
    EntitlementChange,
    EntitlementCopy,
    changed_value,
)
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from models.problems import invalid

router = resource_router("Entitlements")

Wanted = Annotated[str | None, Query(max_length=255)]


@router.post(
    "/entitlements",
    status_code=201,
    response_model=EntitlementAnswer,
    operation_id="create_entitlement",
    summary="Create entitlement",
)
async def create_entitlement(body: EntitlementBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Grant a feature with a plan; 409 if the plan grants it already, 422 for a value of another type."""
    async with caller.begin(database) as tx:
        plan = await required(tx.connection, caller.project_id, PLAN, body.plan_id)
        feature = await required(tx.connection, caller.project_id, FEATURE, body.feature_id)
        row = await entitlement_store.create(tx, plan=plan, feature=feature, value=body.value)
    return created(EntitlementAnswer.of(row))


@router.get(
    "/entitlements",
    response_model=list[EntitlementAnswer],
    responses=LISTED,
    operation_id="list_entitlements",
    summary="List entitlements",
)
async def list_entitlements(
    request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep, plan_id: Wanted = None
) -> Response:
    """List entitlements, newest first; order by value, feature_code, created_at or updated_at. No plan gives none."""
    async with database.transaction(caller.scope) as connection:
        plan = await wanted_id(connection, caller.project_id, PLAN, plan_id)
        rows, total = await entitlement_store.listed(connection, caller.project_id, page, plan)
    return listed_as(EntitlementAnswer.of, page, rows, total, request)


@router.post(
    "/entitlements/copy",
    status_code=201,
    response_model=list[EntitlementAnswer],
    operation_id="copy_entitlements",
    summary="Copy entitlements from one plan to another",
)
async def copy_entitlements(body: EntitlementCopy, caller: CallerDep, database: DatabaseDep) -> Response:
    """Grant with the target what the source grants (B41), and list what the target grants then.

    Values of the same features are overwritten; what only the target grants stays.
    """
    async with caller.begin(database) as tx:
        source = await required(tx.connection, caller.project_id, PLAN, body.source_plan_id)
        target = await required(tx.connection, caller.project_id, PLAN, body.target_plan_id)
        if source.id == target.id:
            raise invalid("target_plan_id", "must be another plan than the source")
        rows = await entitlement_store.copy(tx, source=source, target=target)
    return created([EntitlementAnswer.of(row) for row in rows])


@router.get(
    "/entitlements/{entitlement_id}",
    response_model=EntitlementAnswer,
    operation_id="get_entitlement",
    summary="Get entitlement",
)
async def get_entitlement(entitlement_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read an entitlement by its id or uuid."""
    async with database.transaction(caller.scope) as connection:
        return reply(EntitlementAnswer.of(await entitlement_store.view(connection, caller.project_id, entitlement_id)))


@router.put(
    "/entitlements/{entitlement_id}",
    response_model=EntitlementAnswer,
    operation_id="update_entitlement",
    summary="Update entitlement",
)
@router.patch(
    "/entitlements/{entitlement_id}",
    response_model=EntitlementAnswer,
    operation_id="patch_entitlement",
    summary="Update entitlement",
)
async def update_entitlement(
    entitlement_id: Ref, body: EntitlementChange, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Grant another value; 422 for one of another type than the feature's, or another plan or feature."""
    async with caller.begin(database) as tx:
        row = await entitlement_store.view(tx.connection, caller.project_id, entitlement_id)
        value = changed_value(body, row)
        changed = await entitlement_store.change(tx, row, value)
    return reply(EntitlementAnswer.of(changed))


@router.delete(
    "/entitlements/{entitlement_id}", status_code=204, operation_id="delete_entitlement", summary="Delete entitlement"
)
async def delete_entitlement(entitlement_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Take a grant back from a plan."""
    async with caller.begin(database) as tx:
        row = await entitlement_store.view(tx.connection, caller.project_id, entitlement_id)
        await entitlement_store.delete(tx, row)
    return no_content()
