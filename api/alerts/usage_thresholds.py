"""Usage thresholds: spending amounts that make an invoice in the middle of a period (seed 002, B152-B159)."""

from fastapi import Request, Response

from adapters.postgres.alerts import alert_store, threshold_store
from adapters.postgres.catalogue import plan_store
from adapters.postgres.resolver import PLAN, SUBSCRIPTION, required
from api.alerts.alert_shapes import UsageThresholdAnswer, UsageThresholdBody
from api.http.deps import CallerDep, CommandsDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, no_content
from api.http.routing import resource_router
from models.identifiers import subscription_workflow_id

router = resource_router("Thresholds")


@router.post(
    "/plans/{plan_code}/usage_thresholds",
    status_code=201,
    response_model=UsageThresholdAnswer,
    operation_id="create_plan_usage_threshold",
    summary="Create plan usage threshold",
)
async def create_plan_usage_threshold(
    plan_code: Ref, body: UsageThresholdBody, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Invoice every subscription to the plan, of any version, when its spend reaches the amount (C29).

    One that has spent more already is invoiced with its next usage. 422 for another currency than the plan's.
    """
    async with caller.begin(database) as tx:
        plan = await required(tx.connection, caller.project_id, PLAN, plan_code)
        await threshold_store.lock_plan(tx.connection, plan.id)
        version = await plan_store.current_version(tx.connection, plan.id)
        columns = {"plan_id": plan.id, **body.columns(version.currency)}
        row = await threshold_store.create(tx, columns)
    return created(UsageThresholdAnswer.of(row, caller.organization_id, plan.code))


@router.get(
    "/plans/{plan_code}/usage_thresholds",
    response_model=list[UsageThresholdAnswer],
    responses=LISTED,
    operation_id="list_plan_usage_thresholds",
    summary="List plan usage thresholds",
)
async def list_plan_usage_thresholds(
    plan_code: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List a plan's thresholds, newest first."""
    async with database.transaction(caller.scope) as connection:
        plan = await required(connection, caller.project_id, PLAN, plan_code)
        rows, total = await threshold_store.listed(connection, {"plan_id": plan.id}, page)
    shown = [UsageThresholdAnswer.of(row, caller.organization_id, plan.code) for row in rows]
    return listed(page, shown, total, request)


@router.post(
    "/subscriptions/{subscription_id}/usage_thresholds",
    status_code=201,
    response_model=UsageThresholdAnswer,
    operation_id="create_subscription_usage_threshold",
    summary="Create subscription usage threshold",
)
async def create_subscription_usage_threshold(
    subscription_id: Ref, body: UsageThresholdBody, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> Response:
    """Invoice one subscription when its spend reaches the amount; with its next usage if it has already.

    409 for a subscription that has ended, 422 for another currency than its plan's.
    """
    async with caller.begin(database) as tx:
        subscription = await alert_store.watched(tx.connection, caller.project_id, subscription_id)
        columns = {"subscription_id": subscription.id, **body.columns(subscription.currency)}
        row = await threshold_store.create(tx, columns)
    await commands.deliver(subscription_workflow_id(caller.project_id, subscription.id))
    return created(UsageThresholdAnswer.of(row, caller.organization_id, None))


@router.get(
    "/subscriptions/{subscription_id}/usage_thresholds",
    response_model=list[UsageThresholdAnswer],
    responses=LISTED,
    operation_id="list_subscription_usage_thresholds",
    summary="List subscription usage thresholds",
)
async def list_subscription_usage_thresholds(
    subscription_id: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List a subscription's own thresholds, newest first; those of its plan are the plan's."""
    async with database.transaction(caller.scope) as connection:
        found = await required(connection, caller.project_id, SUBSCRIPTION, subscription_id)
        rows, total = await threshold_store.listed(connection, {"subscription_id": found.id}, page)
    shown = [UsageThresholdAnswer.of(row, caller.organization_id, None) for row in rows]
    return listed(page, shown, total, request)


@router.delete(
    "/usage_thresholds/{threshold_id}",
    status_code=204,
    operation_id="delete_usage_threshold",
    summary="Delete usage threshold",
)
async def delete_usage_threshold(threshold_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a threshold of a plan or a subscription, also one that was crossed; its invoices stay."""
    async with caller.begin(database) as tx:
        await threshold_store.remove(tx, threshold_id)
    return no_content()
