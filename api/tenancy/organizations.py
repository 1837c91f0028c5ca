"""Organizations, made by the operator and seen by their own keys (BoxBilling: Organizations; conflicts C33)."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.tenancy import key_store, organization_store
from adapters.postgres.tenancy.key_store import NewKey
from adapters.postgres.tenancy.organization_store import Organization
from api.http.deps import AnyCallerDep, Caller, CallerDep, DatabaseDep, Operator, OperatorDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.tenancy.keys import audit_key_change
from api.tenancy.tenancy_shapes import (
    ApiKeyCreateResponse,
    OrganizationChange,
    OrganizationCreate,
    OrganizationCreateResponse,
    OrganizationResponse,
)

# The answer to a creation holds a secret, which must not be stored for a replay.
router = resource_router("Organizations", idempotent=False)

_OPERATOR = "Needs the bootstrap key."


async def new_organization(database: Database, actor: Actor, body: OrganizationCreate) -> OrganizationCreateResponse:
    """Create an organization with its projects, its self-customer and its first key; returns what is shown of it."""
    async with database.transaction(SYSTEM) as connection:
        made = await organization_store.create_organization(connection, actor, body.columns())
        key = NewKey(
            organization_id=made.organization.id,
            active_project_id=made.live.id,
            name="Initial API Key",
            role="OWNER",
        )
        row, secret = await key_store.issue(connection, key)
        await audit_key_change(connection, actor, row, "created")
    return OrganizationCreateResponse.of(
        made.organization,
        api_key=ApiKeyCreateResponse.of(row, secret),
        default_project_id=made.live.id,
        test_project_id=made.test.id,
    )


@router.post(
    "/organizations",
    operation_id="create_organization",
    summary="Create organization",
    description=f"{_OPERATOR} Makes a live project (the default), a test project and the first API key.",
    status_code=201,
    response_model=OrganizationCreateResponse,
)
async def create_organization(operator: OperatorDep, database: DatabaseDep, body: OrganizationCreate) -> Response:
    """Create an organization; its first key is in ``api_key.key``, shown only here."""
    return created(await new_organization(database, operator.actor, body))


@router.get(
    "/organizations",
    operation_id="list_organizations",
    summary="List organizations",
    description="The bootstrap key sees all; an API key sees its own.",
    response_model=list[OrganizationResponse],
    responses=LISTED,
)
async def list_organizations(request: Request, who: AnyCallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """Return the organizations that the caller may see."""
    async with database.transaction(SYSTEM if isinstance(who, Operator) else who.scope) as connection:
        rows, total = await organization_store.listing(connection, page)
    return listed_as(lambda row: _shown(row, who), page, rows, total, request)


@router.get(
    "/organizations/current",
    operation_id="get_current_organization",
    summary="Get current organization",
    response_model=OrganizationResponse,
)
async def get_current_organization(caller: CallerDep, database: DatabaseDep) -> Response:
    """Return the organization of the calling key (B9)."""
    async with database.transaction(caller.scope) as connection:
        row = await organization_store.get(connection, caller.organization_id)
    return reply(_shown(row, caller))


def _shown(row: Organization, who: Caller | Operator) -> OrganizationResponse:
    """Show an organization; what signs its customers' requests is for those who may change it."""
    hidden = isinstance(who, Caller) and who.role not in ("ADMIN", "OWNER")
    return OrganizationResponse.of(row, **({"hmac_key": None} if hidden else {}))


@router.put(
    "/organizations/current",
    operation_id="update_current_organization",
    summary="Update current organization",
    response_model=OrganizationResponse,
)
@router.patch(
    "/organizations/current",
    operation_id="patch_current_organization",
    summary="Update current organization",
    response_model=OrganizationResponse,
)
async def update_current_organization(caller: CallerDep, database: DatabaseDep, body: OrganizationChange) -> Response:
    """Change the fields that the body names (conflicts C18)."""
    caller.require("ADMIN")
    async with database.transaction(caller.scope) as connection:
        row = await organization_store.change(connection, caller.actor, caller.organization_id, body.columns())
    return reply(OrganizationResponse.of(row))


@router.delete(
    "/organizations/{organization_id}",
    operation_id="delete_organization",
    summary="Delete organization",
    description=f"{_OPERATOR} Its keys stop working at once; its records are kept.",
    status_code=204,
)
async def delete_organization(
    operator: OperatorDep, database: DatabaseDep, organization_id: Annotated[UUID, Path()]
) -> Response:
    """Delete an organization."""
    async with database.transaction(SYSTEM) as connection:
        await organization_store.delete(connection, operator.actor, organization_id)
    return no_content()
