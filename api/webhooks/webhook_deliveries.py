"""What was sent to webhook endpoints, each attempt, and sending again (BoxBilling: Webhooks; behaviour B164)."""

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Query, Request, Response

from adapters.postgres.webhooks import webhook_delivery_store, webhook_replay_store, webhook_store
from adapters.postgres.webhooks.webhook_delivery_store import FinishedAttempt
from adapters.postgres.webhooks.webhook_replay_store import Replay
from adapters.postgres.webhooks.webhook_store import Delivery, DeliveryFilter
from adapters.webhooks.retries import pauses
from adapters.webhooks.send import Sender
from api.http.deps import CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import reply
from api.http.routing import resource_router
from api.webhooks.webhook_shapes import (
    DeliveryStatus,
    EndpointDeliveryStats,
    ReplayRequest,
    ReplayResponse,
    WebhookDeliveryAttemptResponse,
    WebhookResponse,
)
from models.identifiers import parse_id
from models.problems import Problem, conflict, not_found

router = resource_router("Webhooks")

_WebhookId = Annotated[str, Path(max_length=100)]


def _shown(request: Request, row: Delivery) -> WebhookResponse:
    schedule = pauses(request.app.state.settings.webhook_first_retry_seconds)
    return WebhookResponse.of(row, max_retries=len(schedule))


@router.get(
    "/webhook_endpoints/delivery_stats",
    operation_id="get_webhook_delivery_stats",
    summary="Get delivery stats per endpoint",
    response_model=list[EndpointDeliveryStats],
    responses=LISTED,
)
async def get_webhook_delivery_stats(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """Return for each of the project's endpoints how its deliveries stand, newest endpoint first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await webhook_store.stats(connection, page)
    return listed_as(EndpointDeliveryStats.of, page, rows, total, request)


@router.post(
    "/webhook_endpoints/{endpoint_id}/replay",
    operation_id="replay_webhooks",
    summary="Send webhooks again",
    status_code=202,
    response_model=ReplayResponse,
)
async def replay_webhooks(
    caller: CallerDep,
    database: DatabaseDep,
    endpoint_id: Annotated[str, Path(max_length=100)],
    body: ReplayRequest,
) -> Response:
    """Send again what an endpoint missed since a time: the same ids, in order, with fresh retries; at most 10,000.

    409 `webhook_endpoint_disabled` if it is not active.
    """
    types = () if "*" in body.types else tuple(body.types)
    wanted = Replay(since=body.since, until=body.until, types=types, everything=body.status == "all")
    async with caller.begin(database) as tx:
        found = await webhook_replay_store.replay(tx, endpoint_id, wanted)
    return reply(ReplayResponse(replayed=found.deliveries, next_since=found.next_since), 202)


@router.get(
    "/webhook_endpoints/hooks/list",
    operation_id="list_webhooks",
    summary="List recent webhooks",
    response_model=list[WebhookResponse],
    responses=LISTED,
)
async def list_webhooks(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    webhook_type: Annotated[str | None, Query(max_length=100)] = None,
    status: DeliveryStatus | None = None,
    endpoint_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Return the project's deliveries, newest first."""
    endpoint = None if endpoint_id is None else parse_id(endpoint_id)
    if endpoint_id is not None and endpoint is None:
        raise not_found("webhook_endpoint", endpoint_id)
    wanted = DeliveryFilter(webhook_type=webhook_type, status=status, endpoint_id=endpoint)
    async with database.transaction(caller.scope) as connection:
        rows, total = await webhook_store.deliveries(connection, wanted, page)
    return listed_as(lambda row: _shown(request, row), page, rows, total, request)


@router.get(
    "/webhook_endpoints/hooks/{webhook_id}",
    operation_id="get_webhook",
    summary="Get webhook details",
    response_model=WebhookResponse,
)
async def get_webhook(request: Request, caller: CallerDep, database: DatabaseDep, webhook_id: _WebhookId) -> Response:
    """Return one delivery."""
    async with database.transaction(caller.scope) as connection:
        return reply(_shown(request, await webhook_store.delivery(connection, webhook_id)))


@router.get(
    "/webhook_endpoints/hooks/{webhook_id}/delivery_attempts",
    operation_id="list_webhook_attempts",
    summary="Get webhook delivery attempts",
    response_model=list[WebhookDeliveryAttemptResponse],
    responses=LISTED,
)
async def list_webhook_attempts(
    request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep, webhook_id: _WebhookId
) -> Response:
    """Return a delivery's attempts, newest first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await webhook_store.attempts(connection, webhook_id, page)
    return listed_as(WebhookDeliveryAttemptResponse.of, page, rows, total, request)


@router.post(
    "/webhook_endpoints/hooks/{webhook_id}/retry",
    operation_id="retry_webhook",
    summary="Retry failed webhook",
    response_model=WebhookResponse,
)
async def retry_webhook(request: Request, caller: CallerDep, database: DatabaseDep, webhook_id: _WebhookId) -> Response:
    """Send a failed delivery again at once, with the same id, and answer with the result; 400 if it has not failed.

    409 `webhook_endpoint_busy` while as many as are allowed are on their way to its endpoint.
    """
    async with database.transaction(caller.scope) as connection:
        before = await webhook_store.delivery(connection, webhook_id)
        if before.status != "failed":
            raise Problem(400, "webhook_not_failed", f"This delivery is {before.status}; only failed ones are retried.")
        found = await webhook_delivery_store.find(connection, before.id)
    if found is None or not found.exists:
        raise conflict("webhook_endpoint_deleted", "The endpoint of this delivery was deleted.")
    settings, slots = request.app.state.settings, request.app.state.webhook_slots
    with slots.taken(found.delivery) as is_free:
        if not is_free:
            raise conflict("webhook_endpoint_busy", "Enough others are on their way to this endpoint; try again soon.")
        async with Sender(settings) as sender:
            ended = FinishedAttempt(found.delivery, await sender.attempt(found.delivery), asked=True)
    disable_after = timedelta(hours=settings.webhook_disable_after_hours)
    async with database.transaction(caller.scope) as connection:
        await webhook_delivery_store.record_requested(connection, ended, disable_after=disable_after)
        return reply(_shown(request, await webhook_store.delivery(connection, webhook_id)))
