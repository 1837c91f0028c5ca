"""Features: what plans can grant (BoxBilling, B40)."""

from typing import Annotated

from fastapi import Query, Request, Response

from adapters.postgres.catalogue import feature_store
from adapters.postgres.journal import changing
from adapters.postgres.resolver import FEATURE, required
from api.catalogue.entitlement_shapes import (
    FeatureAnswer,
    FeatureBody,
    FeatureChange,
    changed_feature_columns,
    new_feature_columns,
)
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router

router = resource_router("Features")

Wanted = Annotated[str | None, Query(max_length=255)]


@router.post(
    "/features",
    status_code=201,
    response_model=FeatureAnswer,
    operation_id="create_feature",
    summary="Create feature",
)
async def create_feature(body: FeatureBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a feature; 409 for a code in use."""
    columns = new_feature_columns(body)
    async with caller.begin(database) as tx:
        row = await changing.create(tx, feature_store.RESOURCE, columns)
    return created(FeatureAnswer.of(row))


@router.get(
    "/features",
    response_model=list[FeatureAnswer],
    responses=LISTED,
    operation_id="list_features",
    summary="List features",
)
async def list_features(
    request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep, feature_type: Wanted = None
) -> Response:
    """List features, newest first; order by name, code, feature_type, created_at or updated_at."""
    conditions = {} if feature_type is None else {"feature_type": feature_type}
    async with database.transaction(caller.scope) as connection:
        rows, total = await feature_store.listed(connection, caller.project_id, page, conditions)
    return listed_as(FeatureAnswer.of, page, rows, total, request)


@router.get(
    "/features/plan_counts",
    response_model=dict[str, int],
    operation_id="get_feature_plan_counts",
    summary="Get plan counts per feature",
)
async def get_feature_plan_counts(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count for each feature the plans that grant it."""
    async with database.transaction(caller.scope) as connection:
        counts = await feature_store.plan_counts(connection, caller.project_id)
    return reply(counts)


@router.get("/features/{code}", response_model=FeatureAnswer, operation_id="get_feature", summary="Get feature")
async def get_feature(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a feature by its code, id or uuid."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, FEATURE, code)
    return reply(FeatureAnswer.of(row))


@router.put("/features/{code}", response_model=FeatureAnswer, operation_id="update_feature", summary="Update feature")
@router.patch("/features/{code}", response_model=FeatureAnswer, operation_id="patch_feature", summary="Update feature")
async def update_feature(code: Ref, body: FeatureChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change what is sent; the code and the type are stable (422)."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, FEATURE, code)
        row = await changing.locked(tx.connection, feature_store.RESOURCE, found)
        columns = changed_feature_columns(body, row)
        changed = await changing.change(tx, feature_store.RESOURCE, row=row, values=columns)
    return reply(FeatureAnswer.of(changed))


@router.delete("/features/{code}", status_code=204, operation_id="delete_feature", summary="Delete feature")
async def delete_feature(code: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a feature; 409 while a plan grants it."""
    async with caller.begin(database) as tx:
        found = await required(tx.connection, caller.project_id, FEATURE, code)
        row = await changing.locked(tx.connection, feature_store.RESOURCE, found)
        await feature_store.delete(tx, row)
    return no_content()
