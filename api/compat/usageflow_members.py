"""Members of an organization on UsageFlow's paths: who is invited with which role (seed 003, step 11; B21, B22)."""

from typing import Annotated

from fastapi import Path, Request, Response

from adapters.postgres.tenancy import member_store
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created
from api.http.routing import resource_router
from api.tenancy.member_shapes import InvitationAnswer, InvitationCreate, MemberAnswer
from models.problems import Problem, not_found

# The answer to an invitation holds a secret, which must not be stored for a replay.
router = resource_router("UsageFlow", area="members", idempotent=False)

_OrganizationId = Annotated[str, Path(max_length=100)]


def _must_be_own(caller: Caller, organization_id: str) -> None:
    """Raise ``Problem`` 404 for another organization, and 403 for a key that is restricted to projects."""
    if organization_id.lower() != str(caller.organization_id):
        raise not_found("organization", organization_id)
    if caller.project_ids:
        raise Problem(403, "project_forbidden", "This key is restricted to projects.")


@router.post(
    "/organizations/{organization_id}/invitations",
    operation_id="usageflow_invite_member",
    summary="Invite a person",
    status_code=201,
    response_model=InvitationAnswer,
)
async def invite_member(
    organization_id: _OrganizationId, body: InvitationCreate, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Invite a person by email, with a role up to the key's own; needs an ADMIN's or OWNER's key.

    Nothing is mailed: `token` is shown only here, for you to hand on. 409 while an earlier invitation holds (7 days).
    """
    _must_be_own(caller, organization_id)
    caller.require("ADMIN")
    caller.require(body.role)
    async with database.transaction(caller.scope) as connection:
        row, secret = await member_store.invite(
            connection, caller.actor, caller.organization_id, email=body.email, role=body.role
        )
    return created(InvitationAnswer.of(row, token=secret))


@router.get(
    "/organizations/{organization_id}/members",
    operation_id="usageflow_list_members",
    summary="List members and invitations",
    response_model=list[MemberAnswer],
    responses=LISTED,
)
async def list_members(
    request: Request, organization_id: _OrganizationId, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """List members and people who have been invited, newest first."""
    _must_be_own(caller, organization_id)
    async with database.transaction(caller.scope) as connection:
        rows, total = await member_store.listing(connection, caller.organization_id, page)
    return listed_as(MemberAnswer.of, page, rows, total, request)
