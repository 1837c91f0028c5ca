"""Usage alerts: who wants to be told when usage, spend or a wallet reaches a value (seed 002, B138-B151)."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from adapters.postgres.alerts import alert_store
from adapters.postgres.resolver import METRIC, SUBSCRIPTION, required
from api.alerts.alert_shapes import (
    UsageAlertAnswer,
    UsageAlertBody,
    UsageAlertChange,
    UsageAlertStatus,
    UsageAlertTrigger,
)
from api.http.deps import CallerDep, CommandsDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from models.identifiers import subscription_workflow_id

router = resource_router("Usage Alerts")


@router.post(
    "/usage_alerts",
    status_code=201,
    response_model=UsageAlertAnswer,
    operation_id="create_usage_alert",
    summary="Create usage alert",
)
async def create_usage_alert(
    body: UsageAlertBody, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> Response:
    """Watch a metric of a subscription; what the current period has reached already fires at once.

    404 for an unknown subscription or metric; 409 `subscription_ended`, `metric_not_in_plan`, and `too_many_alerts` for
    the 101st of a subscription; 422 `currency_mismatch` for another currency than the plan's.
    """
    async with caller.begin(database) as tx:
        subscription = await alert_store.watched(tx.connection, caller.project_id, body.subscription_id)
        metric_id = None
        if body.billable_metric_id is not None:
            metric = await required(tx.connection, caller.project_id, METRIC, body.billable_metric_id)
            await alert_store.must_charge(tx.connection, subscription, metric.id, metric.key)
            metric_id = metric.id
        columns = body.columns(metric_id, subscription.currency)
        row = await alert_store.create(tx, subscription, columns)
    await commands.deliver(subscription_workflow_id(caller.project_id, row.subscription_id))
    return created(UsageAlertAnswer.of(row, caller.organization_id))


@router.get(
    "/usage_alerts",
    response_model=list[UsageAlertAnswer],
    responses=LISTED,
    operation_id="list_usage_alerts",
    summary="List usage alerts",
)
async def list_usage_alerts(
    request: Request,
    page: PageDep,
    caller: CallerDep,
    database: DatabaseDep,
    subscription_id: Annotated[str | None, Query(max_length=255, description="Any name of a subscription.")] = None,
) -> Response:
    """List alerts, newest first, of one subscription or of all; 404 for an unknown subscription."""
    async with database.transaction(caller.scope) as connection:
        wanted: UUID | None = None
        if subscription_id is not None:
            wanted = (await required(connection, caller.project_id, SUBSCRIPTION, subscription_id)).id
        rows, total = await alert_store.listed(connection, caller.project_id, page, wanted)
    shown = [UsageAlertAnswer.of(row, caller.organization_id) for row in rows]
    return listed(page, shown, total, request)


@router.get(
    "/usage_alerts/{alert_id}",
    response_model=UsageAlertAnswer,
    operation_id="get_usage_alert",
    summary="Get usage alert",
)
async def get_usage_alert(alert_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read an alert."""
    async with database.transaction(caller.scope) as connection:
        row = await alert_store.get(connection, caller.project_id, alert_id)
    return reply(UsageAlertAnswer.of(row, caller.organization_id))


@router.put(
    "/usage_alerts/{alert_id}",
    response_model=UsageAlertAnswer,
    operation_id="replace_usage_alert",
    summary="Update usage alert",
)
@router.patch(
    "/usage_alerts/{alert_id}",
    response_model=UsageAlertAnswer,
    operation_id="update_usage_alert",
    summary="Update usage alert",
)
async def update_usage_alert(
    alert_id: Ref, body: UsageAlertChange, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> Response:
    """Change an alert at once: lowered below the present usage, it fires without a new event (B145).

    It fires still only once, or once a period: a level that has fired does not fire again for a new value. 409 once
    its subscription has ended.
    """
    async with caller.begin(database) as tx:
        found = await alert_store.get(tx.connection, caller.project_id, alert_id)
        await alert_store.watched(tx.connection, caller.project_id, str(found.subscription_id))
        found = await alert_store.get(tx.connection, caller.project_id, alert_id, lock=True)
        row = await alert_store.change(tx, found, body.columns())
    await commands.deliver(subscription_workflow_id(caller.project_id, row.subscription_id))
    return reply(UsageAlertAnswer.of(row, caller.organization_id))


@router.delete(
    "/usage_alerts/{alert_id}", status_code=204, operation_id="delete_usage_alert", summary="Delete usage alert"
)
async def delete_usage_alert(
    alert_id: Ref, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> Response:
    """Delete an alert; it never fires again."""
    async with caller.begin(database) as tx:
        row = await alert_store.get(tx.connection, caller.project_id, alert_id, lock=True)
        await alert_store.remove(tx, row)
    await commands.deliver(subscription_workflow_id(caller.project_id, row.subscription_id))
    return no_content()


@router.get(
    "/usage_alerts/{alert_id}/status",
    response_model=UsageAlertStatus,
    operation_id="get_usage_alert_status",
    summary="Get usage alert status with current usage",
)
async def get_usage_alert_status(alert_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return the current usage beside the threshold, exact to the last accepted event."""
    async with database.transaction(caller.scope) as connection:
        row = await alert_store.get(connection, caller.project_id, alert_id)
        return reply(UsageAlertStatus.of(row, await alert_store.status(connection, caller.scope, row)))


@router.get(
    "/usage_alerts/{alert_id}/triggers",
    response_model=list[UsageAlertTrigger],
    responses=LISTED,
    operation_id="list_usage_alert_triggers",
    summary="List alert trigger history",
)
async def list_usage_alert_triggers(
    alert_id: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List when the alert fired, newest first, with the values of that moment."""
    async with database.transaction(caller.scope) as connection:
        row = await alert_store.get(connection, caller.project_id, alert_id)
        rows, total = await alert_store.triggers(connection, row.id, page)
    return listed(page, [UsageAlertTrigger.of(each) for each in rows], total, request)


@router.post(
    "/usage_alerts/{alert_id}/test",
    response_model=UsageAlertStatus,
    operation_id="test_usage_alert",
    summary="Test a usage alert by checking current usage",
)
async def test_usage_alert(alert_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return whether the alert would fire now; nothing fires, and nobody is told (B148)."""
    return await get_usage_alert_status(alert_id, caller, database)
