"""What all surfaces do with API keys: make, list, rotate, revoke (conflicts C3)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from adapters.postgres.database import Database
from adapters.postgres.journal.audit_store import Actor, record_for_organization
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.tenancy import key_store, organization_store
from adapters.postgres.tenancy.key_store import ApiKey, NewKey
from adapters.postgres.tenancy.organization_store import Project
from api.http.auth import ROLES, Caller, project_forbidden
from api.tenancy.tenancy_shapes import ApiKeyCreate, ApiKeyCreateResponse
from models.problems import Problem, invalid, not_found
from models.scopes import INGEST_SCOPES, default_scopes, missing


async def audit_key_change(connection: AsyncConnection, actor: Actor, row: ApiKey, action: str) -> None:
    """Write what happened to a key into the audit log; never the secret."""
    await record_for_organization(
        connection,
        row.organization_id,
        actor,
        resource_type="api_key",
        resource_id=row.id,
        action=action,
        title=f"API key {row.name or row.key_prefix} {action}",
        data={"key_prefix": row.key_prefix, "last_four": row.last_four, "kind": row.kind},
    )


async def make_key(
    database: Database, caller: Caller, body: ApiKeyCreate, *, kind: str = "secret"
) -> ApiKeyCreateResponse:
    """Make a key as the body asks; ``kind`` is the surface's default. The answer holds the secret, this once.

    Raises ``Problem`` 403 for a role, scopes or projects that the caller does not have, 404 for unknown projects.
    """
    caller.require("ADMIN")
    role = body.role or "ADMIN"
    caller.require(role)
    chosen_kind = body.kind or kind
    scopes = sorted(set(body.scopes)) if body.scopes else None
    if chosen_kind == "ingest" and missing(INGEST_SCOPES, scopes or ()):
        raise invalid("scopes", f"an ingest key has at most {', '.join(INGEST_SCOPES)}; make a secret key")
    caller.require_scopes(*(scopes or default_scopes(chosen_kind)))
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise invalid("expires_at", "must be in the future")
    async with database.transaction(caller.scope) as connection:
        chosen = await _projects(connection, caller, body.project_ids)
        project = await _first_project(connection, caller, body.environment, chosen)
        key = NewKey(
            organization_id=caller.organization_id,
            active_project_id=project.id,
            name=body.name,
            kind=chosen_kind,
            environment=body.environment or project.environment,
            role=role,
            project_ids=tuple(row.id for row in chosen) or caller.project_ids,
            expires_at=body.expires_at,
            scopes=scopes,
        )
        row, secret = await key_store.issue(connection, key)
        await audit_key_change(connection, caller.actor, row, "created")
    return ApiKeyCreateResponse.of(row, secret)


async def _projects(connection: AsyncConnection, caller: Caller, references: Sequence[str] | None) -> list[Project]:
    found = [
        await organization_store.get_project(connection, caller.organization_id, reference)
        for reference in dict.fromkeys(references or ())
    ]
    for row in found:
        if caller.project_ids and row.id not in caller.project_ids:
            raise project_forbidden(row.id)
    return found


async def _first_project(
    connection: AsyncConnection, caller: Caller, environment: str | None, chosen: Sequence[Project]
) -> Project:
    """Choose where a new key works at first: in a chosen project, else in the caller's or the environment's own."""
    if chosen:
        fitting = [row for row in chosen if environment in (None, row.environment)]
        if not fitting:
            raise invalid("environment", f"none of the projects is a {environment} project")
        return fitting[0]
    current = await organization_store.get_project(connection, caller.organization_id, str(caller.project_id))
    if environment is None or current.environment == environment:
        return current
    other = await organization_store.first_project(connection, caller.organization_id, environment)
    if other is None or (caller.project_ids and other.id not in caller.project_ids):
        raise invalid(
            "environment", f"there is no {environment} project that this key may use; name one in project_ids"
        )
    return other


async def rotate_key(
    database: Database, caller: Caller, reference: str, *, overlap_seconds: int = 0
) -> ApiKeyCreateResponse:
    """Replace a key by a new one with the same rights; the old one dies after the overlap, at once without one (B18).

    Raises ``Problem`` 404 for an unknown or revoked key.
    """
    async with database.transaction(caller.scope) as connection:
        old = await _managed(connection, caller, reference)
        key = NewKey(
            organization_id=old.organization_id,
            active_project_id=old.active_project_id,
            name=old.name,
            kind=old.kind,
            environment=old.environment,
            role=old.role,
            project_ids=tuple(old.project_ids),
            expires_at=old.expires_at,
            rotated_from=old.id,
            scopes=old.scopes,
        )
        row, secret = await key_store.issue(connection, key)
        await key_store.revoke(connection, old.id, after_seconds=overlap_seconds)
        await audit_key_change(connection, caller.actor, old, "rotated")
        await audit_key_change(connection, caller.actor, row, "created")
    return ApiKeyCreateResponse.of(row, secret)


async def revoke_key(database: Database, caller: Caller, reference: str) -> None:
    """Let a key stop working at once. Raises ``Problem`` 404 for an unknown or revoked one."""
    async with database.transaction(caller.scope) as connection:
        row = await _managed(connection, caller, reference)
        await key_store.revoke(connection, row.id)
        await audit_key_change(connection, caller.actor, row, "revoked")


async def _managed(connection: AsyncConnection, caller: Caller, reference: str) -> ApiKey:
    """Return a key that the caller may manage; for a restricted caller, one of other projects does not exist."""
    caller.require("ADMIN")
    try:
        key_id = UUID(reference)
    except ValueError:
        raise not_found("api_key", reference) from None
    row = await key_store.get(connection, caller.organization_id, key_id, lock=True)
    if caller.project_ids and not (row.project_ids and set(row.project_ids) <= set(caller.project_ids)):
        raise not_found("api_key", reference)
    if ROLES.index(row.role) > ROLES.index(caller.role):
        raise Problem(
            403, "role_forbidden", f"This key is a {caller.role}; it may not manage the key of an {row.role}."
        )
    caller.require_scopes(*(row.scopes or default_scopes(row.kind)))
    return row
