"""Organizations on UsageFlow's path (seed 003)."""

from fastapi import Response

from api.http.deps import AnyCallerDep, Caller, DatabaseDep
from api.http.responses import created
from api.http.routing import resource_router
from api.tenancy.organizations import new_organization
from api.tenancy.tenancy_shapes import OrganizationCreate, OrganizationCreateResponse
from models.problems import Problem

# The answer holds a secret, which must not be stored for a replay.
router = resource_router("UsageFlow", area="", idempotent=False)


@router.post(
    "/organizations",
    operation_id="usageflow_create_organization",
    summary="Create an organization",
    status_code=201,
    response_model=OrganizationCreateResponse,
)
async def create_organization(who: AnyCallerDep, database: DatabaseDep, body: OrganizationCreate) -> Response:
    """Make a further organization of one's own; its first key is in ``api_key.key``, shown only here."""
    if isinstance(who, Caller):
        who.require("ADMIN")
        if who.project_ids:
            raise Problem(403, "project_forbidden", "This key is restricted to projects.")
    return created(await new_organization(database, who.actor, body))
