"""Where webhooks are sent (BoxBilling: Webhooks; behaviours B161-B168)."""

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Request, Response

from adapters.postgres.webhooks import webhook_store
from adapters.webhooks.guard import Guard
from adapters.webhooks.sign import new_secret
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.webhooks.webhook_shapes import (
    SecretRotation,
    WebhookEndpointCreate,
    WebhookEndpointCreated,
    WebhookEndpointResponse,
    WebhookEndpointUpdate,
)

# The answer to a creation holds a secret, which must not be stored for a replay.
router = resource_router("Webhooks", idempotent=False)

_EndpointId = Annotated[str, Path(max_length=100)]


async def register(
    request: Request, caller: Caller, database: DatabaseDep, body: WebhookEndpointCreate
) -> WebhookEndpointCreated:
    """Register an endpoint and return the answer with its secret. Raises ``Problem`` 422 ``webhook_url_refused``."""
    await _checked(request, body.url)
    secret = new_secret()
    async with caller.begin(database) as tx:
        values = {**body.columns(), "secrets": [secret]}
        row = await webhook_store.create(tx, values)
    return WebhookEndpointCreated.showing(row, secret=secret)


async def _checked(request: Request, url: str) -> None:
    await Guard.of(request.app.state.settings).check_registration(url)


@router.post(
    "/webhook_endpoints",
    operation_id="create_webhook_endpoint",
    summary="Create webhook endpoint",
    status_code=201,
    response_model=WebhookEndpointCreated,
)
async def create_webhook_endpoint(
    request: Request, caller: CallerDep, database: DatabaseDep, body: WebhookEndpointCreate
) -> Response:
    """Register an address; `secret` is shown only here. Private and loopback addresses are refused with 422.

    The 101st endpoint of a project is 409 `too_many_webhook_endpoints`.
    """
    return created(await register(request, caller, database, body))


@router.get(
    "/webhook_endpoints",
    operation_id="list_webhook_endpoints",
    summary="List webhook endpoints",
    response_model=list[WebhookEndpointResponse],
    responses=LISTED,
)
async def list_webhook_endpoints(request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """Return the project's endpoints, newest first, without their secrets."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await webhook_store.listing(connection, page)
    return listed_as(WebhookEndpointResponse.showing, page, rows, total, request)


@router.get(
    "/webhook_endpoints/{endpoint_id}",
    operation_id="get_webhook_endpoint",
    summary="Get webhook endpoint",
    response_model=WebhookEndpointResponse,
)
async def get_webhook_endpoint(caller: CallerDep, database: DatabaseDep, endpoint_id: _EndpointId) -> Response:
    """Return one endpoint, without its secret."""
    async with database.transaction(caller.scope) as connection:
        return reply(WebhookEndpointResponse.showing(await webhook_store.get(connection, endpoint_id)))


@router.put(
    "/webhook_endpoints/{endpoint_id}",
    operation_id="update_webhook_endpoint",
    summary="Update webhook endpoint",
    response_model=WebhookEndpointResponse,
)
@router.patch(
    "/webhook_endpoints/{endpoint_id}",
    operation_id="patch_webhook_endpoint",
    summary="Update webhook endpoint",
    response_model=WebhookEndpointResponse,
)
async def update_webhook_endpoint(
    request: Request, caller: CallerDep, database: DatabaseDep, endpoint_id: _EndpointId, body: WebhookEndpointUpdate
) -> Response:
    """Change an endpoint; what still waits for it is sent to its new address, signed with the same secret."""
    if body.url is not None:
        await _checked(request, body.url)
    async with caller.begin(database) as tx:
        row = await webhook_store.change(tx, endpoint_id, body.columns())
    return reply(WebhookEndpointResponse.showing(row))


@router.delete(
    "/webhook_endpoints/{endpoint_id}",
    operation_id="delete_webhook_endpoint",
    summary="Delete webhook endpoint",
    status_code=204,
)
async def delete_webhook_endpoint(caller: CallerDep, database: DatabaseDep, endpoint_id: _EndpointId) -> Response:
    """Delete an endpoint: nothing more is sent to it; what was sent stays in `hooks/list`."""
    async with caller.begin(database) as tx:
        await webhook_store.delete(tx, endpoint_id)
    return no_content()


@router.post(
    "/webhook_endpoints/{endpoint_id}/rotate_secret",
    operation_id="rotate_webhook_secret",
    summary="Rotate webhook secret",
    response_model=WebhookEndpointCreated,
)
async def rotate_webhook_secret(
    caller: CallerDep, database: DatabaseDep, endpoint_id: _EndpointId, body: SecretRotation | None = None
) -> Response:
    """Make a new signing secret, shown only here; for `overlap_hours` (24) the old one signs every message as well."""
    overlap = timedelta(hours=(body or SecretRotation()).overlap_hours)
    secret = new_secret()
    async with caller.begin(database) as tx:
        row = await webhook_store.rotate_secret(tx, endpoint_id, secret, overlap=overlap)
    return reply(WebhookEndpointCreated.showing(row, secret=secret))
