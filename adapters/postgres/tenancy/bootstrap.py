"""The default organization, so that a fresh stack has something to work in (design section 8)."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.journal.audit_store import Actor, record_for_organization
from adapters.postgres.tenancy import key_store, organization_store
from adapters.postgres.tenancy.key_store import NewKey
from models.tables import organizations

_ACTOR = Actor("bootstrap")
_LOCK = 0x6475726162  # serialises stacks that start at the same time


@dataclass(frozen=True)
class DefaultOrganization:
    """The organization named Default; ``demo_key`` works in its test project, and is given only when just made."""

    organization_id: UUID
    demo_key: str | None


async def ensure_default_organization(database: Database) -> DefaultOrganization:
    """Make the organization "Default" and a key that works in its test project, once; safe to call at every start."""
    async with database.transaction(SYSTEM) as connection:
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        found = await _default(connection)
        if found is not None:
            return DefaultOrganization(found, None)
        made = await organization_store.create_organization(connection, _ACTOR, {"name": "Default"})
        return DefaultOrganization(made.organization.id, await _demo_key(connection, made.organization.id))


async def new_demo_key(database: Database) -> str:
    """Make another secret key of the default organization's test project, when the first one's file was lost."""
    organization = await ensure_default_organization(database)
    if organization.demo_key is not None:
        return organization.demo_key
    async with database.transaction(SYSTEM) as connection:
        return await _demo_key(connection, organization.organization_id)


async def _default(connection: AsyncConnection) -> UUID | None:
    statement = select(organizations.c.id).where(organizations.c.slug == organization_store.DEFAULT_SLUG)
    found: UUID | None = await connection.scalar(statement)
    return found


async def _demo_key(connection: AsyncConnection, organization_id: UUID) -> str:
    project = await organization_store.first_project(connection, organization_id, "test")
    assert project is not None, "the default organization was made with a test project"
    key = NewKey(
        organization_id=organization_id,
        active_project_id=project.id,
        name="Demo key",
        environment="test",
    )
    row, secret = await key_store.issue(connection, key)
    await record_for_organization(
        connection,
        organization_id,
        _ACTOR,
        resource_type="api_key",
        resource_id=row.id,
        action="created",
        title="API key Demo key created",
    )
    return secret
