"""Webhooks on UsageFlow's path (seed 003, step 10); the same endpoints as ``/v1/webhook_endpoints`` (conflicts C26)."""

from fastapi import Request, Response

from api.http.deps import CallerDep, DatabaseDep
from api.http.responses import created
from api.http.routing import resource_router
from api.webhooks.webhook_endpoints import register
from api.webhooks.webhook_shapes import WebhookEndpointCreate, WebhookEndpointCreated

# The answer holds a secret, which must not be stored for a replay.
router = resource_router("UsageFlow", area="", idempotent=False)


@router.post(
    "/webhooks",
    operation_id="usageflow_create_webhook",
    summary="Register a webhook",
    status_code=201,
    response_model=WebhookEndpointCreated,
)
async def create_webhook(
    request: Request, caller: CallerDep, database: DatabaseDep, body: WebhookEndpointCreate
) -> Response:
    """Register an address; `secret` is shown only here."""
    return created(await register(request, caller, database, body))
