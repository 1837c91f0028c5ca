"""What was sent to webhook endpoints, each attempt, and sending again (BoxBilling: Webhooks; behaviour B164)."""

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from adapters.postgres import webhook_delivery_store, webhook_store
from adapters.postgres.webhook_store import HookFilter
from adapters.webhooks.deliver import Sender
from adapters.webhooks.retries import pauses
from api.deps import CallerDep, DatabaseDep
from api.pagination import LISTED, PageDep, listed
from api.responses import reply
from api.routing import resource_router
from api.shapes.webhooks import (
    DeliveryStatus,
    WebhookDeliveryAttemptResponse,
    WebhookResponse,
    attempt_document,
    hook_document,
)
from models.identifiers import parse_id
from models.problems import Problem, conflict, not_found

router = resource_router("Webhooks")

_WebhookId = Annotated[str, Path(max_length=100)]


def _document(request: Request, row: Any) -> dict[str, Any]:
    schedule = pauses(request.app.state.settings.webhook_first_retry_seconds)
    return hook_document(row, max_retries=len(schedule))


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
    """Give the project's deliveries, newest first."""
    endpoint = None if endpoint_id is None else parse_id(endpoint_id)
    if endpoint_id is not None and endpoint is None:
        raise not_found("webhook_endpoint", endpoint_id)
    wanted = HookFilter(webhook_type=webhook_type, status=status, endpoint_id=endpoint)
    async with database.transaction(caller.scope) as connection:
        rows, total = await webhook_store.hooks(connection, wanted, page)
    return listed(page, [_document(request, row) for row in rows], total, request)


@router.get(
    "/webhook_endpoints/hooks/{webhook_id}",
    operation_id="get_webhook",
    summary="Get webhook details",
    response_model=WebhookResponse,
)
async def get_webhook(request: Request, caller: CallerDep, database: DatabaseDep, webhook_id: _WebhookId) -> Response:
    """Give one delivery."""
    async with database.transaction(caller.scope) as connection:
        return reply(_document(request, await webhook_store.hook(connection, webhook_id)))


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
    """Give a delivery's attempts, newest first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await webhook_store.attempts(connection, webhook_id, page)
    return listed(page, [attempt_document(row) for row in rows], total, request)


@router.post(
    "/webhook_endpoints/hooks/{webhook_id}/retry",
    operation_id="retry_webhook",
    summary="Retry failed webhook",
    response_model=WebhookResponse,
)
async def retry_webhook(request: Request, caller: CallerDep, database: DatabaseDep, webhook_id: _WebhookId) -> Response:
    """Send a failed delivery again at once, with the same id, and answer with the result; 400 if it has not failed."""
    async with database.transaction(caller.scope) as connection:
        before = await webhook_store.hook(connection, webhook_id)
        if before.status != "failed":
            raise Problem(400, "webhook_not_failed", f"This delivery is {before.status}; only failed ones are retried.")
        delivery = await webhook_delivery_store.get_delivery(connection, before.id)
    if delivery is None:
        raise conflict("webhook_endpoint_deleted", "The endpoint of this delivery was deleted.")
    async with Sender(request.app.state.settings) as sender:
        attempt = await sender.attempt(delivery)
    async with database.transaction(caller.scope) as connection:
        await webhook_delivery_store.record_manual_attempt(connection, delivery, attempt)
        return reply(_document(request, await webhook_store.hook(connection, webhook_id)))
