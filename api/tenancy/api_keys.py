"""API keys on three paths: /api-keys (seeds 000, 001), /organizations/current/api_keys (BoxBilling)."""

from typing import Annotated

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.database import Database
from adapters.postgres.tenancy import key_store
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, Page, PageDep, listed_as
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.tenancy.keys import make_key, revoke_key, rotate_key
from api.tenancy.tenancy_shapes import (
    ApiKeyCreate,
    ApiKeyCreateResponse,
    ApiKeyListResponse,
    ApiKeyRotate,
)
from models.problems import invalid

# The answer to a creation holds a secret, which must not be stored for a replay.
router = resource_router("API keys", idempotent=False)

_KeyId = Annotated[str, Path(max_length=100, description="The key's id, not the key itself.")]


class _Named(BaseModel):
    """Which key."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"id": "01a1fe3d-d22e-7446-b1eb-dfa8112619b2"}]}
    )
    id: Annotated[str, Field(max_length=100)] | None = None


async def _listed(request: Request, caller: Caller, database: Database, page: Page) -> Response:
    async with database.transaction(caller.scope) as connection:
        rows, total = await key_store.listing(connection, caller.organization_id, page, within=caller.project_ids)
    return listed_as(ApiKeyListResponse.listed, page, rows, total, request)


@router.get(
    "/api-keys",
    operation_id="list_keys",
    summary="List keys",
    response_model=list[ApiKeyListResponse],
    responses=LISTED,
)
async def list_keys(request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """Return the organization's keys that are not revoked, newest first; never a secret (B19)."""
    return await _listed(request, caller, database, page)


@router.post(
    "/api-keys", operation_id="create_key", summary="Create a key", status_code=201, response_model=ApiKeyCreateResponse
)
async def create_key(caller: CallerDep, database: DatabaseDep, body: ApiKeyCreate) -> Response:
    """Make a key; the secret is in ``key``, shown only here (B14)."""
    return created(await make_key(database, caller, body))


@router.delete("/api-keys", operation_id="delete_key_of_collection", summary="Revoke a key", status_code=204)
async def delete_key_of_collection(
    caller: CallerDep,
    database: DatabaseDep,
    id: Annotated[str | None, Query(max_length=100)] = None,
    body: _Named | None = None,
) -> Response:
    """Revoke the key that ``?id=`` or the body names (conflicts C18)."""
    reference = id or (body.id if body is not None else None)
    if reference is None:
        raise invalid("id", "name the key, in the query or in the body", "missing")
    await revoke_key(database, caller, reference)
    return no_content()


@router.delete("/api-keys/{id}", operation_id="delete_key", summary="Revoke a key", status_code=204)
async def delete_key(caller: CallerDep, database: DatabaseDep, id: _KeyId) -> Response:
    """Revoke a key; it stops working at once."""
    await revoke_key(database, caller, id)
    return no_content()


@router.post(
    "/api-keys/{id}/rotate", operation_id="rotate_key", summary="Rotate a key", response_model=ApiKeyCreateResponse
)
async def rotate(caller: CallerDep, database: DatabaseDep, id: _KeyId, body: ApiKeyRotate | None = None) -> Response:
    """Replace a key; the old one works for ``overlap_seconds`` more, by default not at all."""
    overlap = 0 if body is None else body.overlap_seconds
    return reply(await rotate_key(database, caller, id, overlap_seconds=overlap))


@router.get(
    "/organizations/current/api_keys",
    operation_id="list_api_keys",
    summary="List API keys",
    response_model=list[ApiKeyListResponse],
    responses=LISTED,
)
async def list_api_keys(request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """Return the organization's keys that are not revoked, newest first; never a secret (B19)."""
    return await _listed(request, caller, database, page)


@router.post(
    "/organizations/current/api_keys",
    operation_id="create_api_key",
    summary="Create API key",
    status_code=201,
    response_model=ApiKeyCreateResponse,
)
async def create_api_key(caller: CallerDep, database: DatabaseDep, body: ApiKeyCreate) -> Response:
    """Make a key; the secret is in ``raw_key`` and ``key``, shown only here."""
    return created(await make_key(database, caller, body))


@router.post(
    "/organizations/current/api_keys/{api_key_id}/rotate",
    operation_id="rotate_api_key",
    summary="Rotate API key",
    response_model=ApiKeyCreateResponse,
)
async def rotate_api_key(
    caller: CallerDep, database: DatabaseDep, api_key_id: _KeyId, body: ApiKeyRotate | None = None
) -> Response:
    """Replace a key; without ``overlap_seconds`` the old one stops at once (B18)."""
    overlap = 0 if body is None else body.overlap_seconds
    return reply(await rotate_key(database, caller, api_key_id, overlap_seconds=overlap))


@router.delete(
    "/organizations/current/api_keys/{api_key_id}",
    operation_id="revoke_api_key",
    summary="Revoke API key",
    status_code=204,
)
async def revoke_api_key(caller: CallerDep, database: DatabaseDep, api_key_id: _KeyId) -> Response:
    """Revoke a key; it stops working at once."""
    await revoke_key(database, caller, api_key_id)
    return no_content()
