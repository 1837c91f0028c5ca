"""Plans, also called price plans: immutable versions under two names (conflicts C6, B27-B39)."""

from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query, Request, Response

from adapters.postgres.catalogue import plan_store, plan_write_store
from adapters.postgres.resolver import METRIC, PLAN, PRODUCT, required
from api.catalogue.plan_drafts import product_named, resolve_charges
from api.catalogue.plan_responses import PlanAnswer, shown_plan, shown_version
from api.catalogue.plan_shapes import PlanBody, PlanChange, changed_charges, changed_version, new_plan, with_charges
from api.http.aliases import RouteAlias, router_named
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, no_content, reply

Wanted = Annotated[str | None, Query(max_length=255)]
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]


async def create_plan(body: PlanBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a plan with version 1 (B36); 409 for an id in use, 404 for an unknown metric, filter or product."""
    plan = new_plan(body)
    async with caller.begin(database) as tx:
        charges = await resolve_charges(tx.connection, caller.project_id, plan.charges)
        found = await plan_write_store.create(
            tx,
            with_charges(plan.version, charges),
            code=plan.code,
            product_id=await product_named(tx.connection, caller.project_id, plan.product_ref),
            entitlements=plan.entitlements,
        )
    return created(shown_plan(found))


async def list_plans(
    request: Request,
    page: PageDep,
    caller: CallerDep,
    database: DatabaseDep,
    *,
    product_id: Wanted = None,
    metric_id: Wanted = None,
    status: Literal["active", "archived"] | None = None,
) -> Response:
    """List plans with their current versions, newest first; order by name, code, interval, created_at, updated_at."""
    async with database.transaction(caller.scope) as connection:
        product = product_id and (await required(connection, caller.project_id, PRODUCT, product_id)).id
        metric = metric_id and (await required(connection, caller.project_id, METRIC, metric_id)).id
        found, total = await plan_store.listed(
            connection,
            caller.project_id,
            page,
            product_id=product or None,
            metric_id=metric or None,
            status=status,
        )
    last = found[-1].plan.id if found else None
    return listed(page, [shown_plan(plan) for plan in found], total, request, last=last)


async def get_plan_subscription_counts(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count for each plan the subscriptions that have not ended."""
    async with database.transaction(caller.scope) as connection:
        counts = await plan_store.subscription_counts(connection, caller.project_id)
    return reply(counts)


async def list_plan_versions(plan_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """List all versions of a plan, newest first; none of them ever changes."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, PLAN, plan_id)
        found = await plan_store.versions_of(connection, row.id)
    return reply([shown_version(version) for version in found], headers={"X-Total-Count": str(len(found))})


async def get_plan_version(plan_id: Ref, version: VersionNumber, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read one version of a plan."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, PLAN, plan_id)
        found = await plan_store.detail(connection, row.id, version)
    return reply(shown_version(found))


async def get_plan(plan_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a plan with its current version, by its id, code or uuid."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, PLAN, plan_id)
        found = await plan_store.detail(connection, row.id)
    return reply(shown_plan(found))


async def update_plan(plan_id: Ref, body: PlanChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change what is sent: name, prices and terms make version n+1, and subscriptions stay on theirs (B37)."""
    async with caller.begin(database) as tx:
        row = await required(tx.connection, caller.project_id, PLAN, plan_id)
        current = await plan_write_store.locked(tx.connection, row)
        before = plan_write_store.draft_of(current)
        draft = changed_version(body, current, before)
        charges = changed_charges(body)
        if charges is not None:
            draft = with_charges(draft, await resolve_charges(tx.connection, caller.project_id, charges))
        values: dict[str, Any] = {}
        if "product_id" in body.model_fields_set:
            values["product_id"] = await product_named(tx.connection, caller.project_id, body.product_id)
        found = await plan_write_store.change(
            tx,
            current,
            draft=draft,
            plan_values=values,
            entitlements=body.entitlements,
        )
    return reply(shown_plan(found))


async def delete_plan(plan_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a plan; 409 while it has subscriptions that have not ended."""
    async with caller.begin(database) as tx:
        row = await required(tx.connection, caller.project_id, PLAN, plan_id)
        current = await plan_write_store.locked(tx.connection, row)
        await plan_write_store.delete(tx, current)
    return no_content()


_ROUTES: Final = (
    RouteAlias("POST", "", create_plan, "Create {}", {"response_model": PlanAnswer, "status_code": 201}),
    RouteAlias("GET", "", list_plans, "List {}s", {"response_model": list[PlanAnswer], "responses": LISTED}),
    RouteAlias(
        "GET",
        "/subscription_counts",
        get_plan_subscription_counts,
        "Get subscription counts per {}",
        {"response_model": dict[str, int]},
    ),
    RouteAlias(
        "GET", "/{plan_id}/versions", list_plan_versions, "List versions of a {}", {"response_model": list[PlanAnswer]}
    ),
    RouteAlias(
        "GET", "/{plan_id}/versions/{version}", get_plan_version, "Get {} version", {"response_model": PlanAnswer}
    ),
    RouteAlias("GET", "/{plan_id}", get_plan, "Get {}", {"response_model": PlanAnswer}),
    RouteAlias("PUT", "/{plan_id}", update_plan, "Update {}", {"response_model": PlanAnswer}),
    RouteAlias("PATCH", "/{plan_id}", update_plan, "Update {}", {"response_model": PlanAnswer}),
    RouteAlias("DELETE", "/{plan_id}", delete_plan, "Delete {}", {"status_code": 204}),
)

router = router_named(_ROUTES, tag="Plans", segment="plans", noun="plan")
price_plans = router_named(_ROUTES, tag="Price plans", segment="price-plans", noun="plan")
