"""How a seller lets a customer into the portal: tokens and addresses, made with an API key (B172)."""

from fastapi import Request, Response

from adapters.postgres.resolver import CUSTOMER, required
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.responses import created, reply
from api.http.routing import resource_router
from api.portal import portal_auth
from api.portal.portal_shapes import PortalTokenAnswer, PortalTokenRequest, PortalUrlAnswer
from models.scopes import needed

# The answers hold a secret, which must not be stored for a replay.
router = resource_router("Portal", idempotent=False)
customers = resource_router("Customers", area="portal", idempotent=False)


async def _issue(
    request: Request, caller: Caller, database: DatabaseDep, ref: str, seconds: int | None = None
) -> PortalTokenAnswer:
    """Make a token for a customer. Raises ``Problem`` 404, and 403 for a key that may only read: a token may write."""
    caller.require("DEVELOPER")
    caller.require_scopes(needed("portal", "POST"))
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, CUSTOMER, ref)
    made = portal_auth.issue(request.app.state.settings, caller.scope, row.id, seconds=seconds)
    return PortalTokenAnswer(
        token=made.token, expires_at=made.expires_at, portal_url=portal_auth.portal_url(request, made.token)
    )


@router.post(
    "/portal/token",
    operation_id="create_portal_token",
    summary="Create a portal token",
    status_code=201,
    response_model=PortalTokenAnswer,
)
async def create_portal_token(
    request: Request, body: PortalTokenRequest, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Make a token with which one customer uses the portal; it lasts 12 hours at most."""
    return created(await _issue(request, caller, database, body.customer_id, body.expires_in))


@router.get(
    "/portal/auth/{external_id}",
    operation_id="generate_portal_token",
    summary="Generate a portal JWT for a customer",
    response_model=PortalTokenAnswer,
)
async def generate_portal_token(
    request: Request, external_id: Ref, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Make a token for a customer, named in any form."""
    return reply(await _issue(request, caller, database, external_id), headers={"Cache-Control": "no-store"})


@customers.get(
    "/customers/{external_id}/portal_url",
    operation_id="get_customer_portal_url",
    summary="Generate customer portal URL",
    response_model=PortalUrlAnswer,
)
async def get_customer_portal_url(
    request: Request, external_id: Ref, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Return an address that opens the portal for a customer; whoever has it is that customer for 12 hours."""
    made = await _issue(request, caller, database, external_id)
    return reply(PortalUrlAnswer(portal_url=made.portal_url), headers={"Cache-Control": "no-store"})
