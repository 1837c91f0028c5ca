"""Organizations and their projects (conflicts C10, C33, B1-B9)."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers import customer_store
from adapters.postgres.database import ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR, Actor, record_for_organization
from adapters.postgres.journal.changing import changes_of
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import Columns, record, records
from models.identifiers import new_id
from models.problems import conflict, not_found
from models.tables import api_keys, organizations, projects

DEFAULT_SLUG = "default"

_now = func.clock_timestamp()


@dataclass(frozen=True, slots=True)
class Organization:
    """The company that bills with Durabill."""

    id: UUID
    name: str
    slug: str
    default_currency: str
    timezone: str
    email: str | None
    hmac_key: str | None
    logo_url: str | None
    portal_accent_color: str | None
    portal_welcome_message: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Project:
    """An isolated environment of an organization; `settings` has its own code and its limits on event times."""

    id: UUID
    organization_id: UUID
    name: str
    environment: str
    timezone: str | None
    is_default: bool
    settings: dict[str, Any]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class CreatedOrganization:
    """A new organization with its two projects; the live one is the default."""

    organization: Organization
    live: Project
    test: Project


def slug_of(name: str) -> str:
    """Make a slug such as ``acme-gmbh-co`` of a name; a name without ASCII letters or digits gives ``organization``."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:60] or "organization"


async def create_organization(connection: AsyncConnection, actor: Actor, values: Columns) -> CreatedOrganization:
    """Create an organization with a live and a test project and its hidden self-customer (C9); a SYSTEM transaction.

    ``values`` are columns of ``organizations``; the slug is made from the name, with a suffix if it is taken.
    """
    organization = await _with_free_slug(connection, values)
    live = await add_project(
        connection, actor, organization.id, {"name": "Live", "environment": "live", "is_default": True}
    )
    test = await add_project(connection, actor, organization.id, {"name": "Test", "environment": "test"})
    await customer_store.organization_customer(
        Transaction(connection, ProjectScope(organization.id, live.id), SYSTEM_ACTOR), organization.name
    )
    await _audit(connection, actor, organization, "created")
    return CreatedOrganization(organization, live, test)


async def _with_free_slug(connection: AsyncConnection, values: Columns) -> Organization:
    identity = new_id()
    base = slug_of(str(values["name"]))
    for slug in (base, f"{base}-{identity.hex[-8:]}"):
        statement = insert(organizations).values(id=identity, slug=slug, **values).on_conflict_do_nothing()
        made = (await connection.execute(statement.returning(organizations))).one_or_none()
        if made is not None:
            return record(Organization, made)
    raise conflict("organization_exists", f"The slug {base!r} is taken; try again.")


async def get(connection: AsyncConnection, organization_id: UUID, *, lock: bool = False) -> Organization:
    """Return an organization that has not been deleted. Raises ``Problem`` 404."""
    statement = select(organizations).where(organizations.c.id == organization_id, organizations.c.deleted_at.is_(None))
    row = (await connection.execute(statement.with_for_update() if lock else statement)).one_or_none()
    if row is None:
        raise not_found("organization", organization_id)
    return record(Organization, row)


async def listing(connection: AsyncConnection, page: Page) -> tuple[tuple[Organization, ...], int]:
    """Return one part of the organizations that the transaction's scope may see, newest first, and their number."""
    alive = organizations.c.deleted_at.is_(None)
    orderable = {"name": organizations.c.name, "slug": organizations.c.slug}
    rows, total = await page_of(connection, organizations, page, alive, orderable=orderable)
    return records(Organization, rows), total


async def change(connection: AsyncConnection, actor: Actor, organization_id: UUID, values: Columns) -> Organization:
    """Change columns of an organization and give its row. Raises ``Problem`` 404."""
    before = await get(connection, organization_id, lock=True)
    changes = changes_of(before, values)
    if not changes:
        return before
    statement = update(organizations).where(organizations.c.id == organization_id)
    statement = statement.values(**values, updated_at=_now).returning(organizations)
    after = record(Organization, (await connection.execute(statement)).one())
    await _audit(connection, actor, after, "updated", changes)
    return after


async def delete(connection: AsyncConnection, actor: Actor, organization_id: UUID) -> None:
    """Delete an organization: it is kept as a record, its keys stop working at once; a SYSTEM transaction.

    Raises ``Problem`` 404, and 409 ``default_organization`` for the one that the stack itself works in.
    """
    row = await get(connection, organization_id, lock=True)
    if row.slug == DEFAULT_SLUG:
        raise conflict("default_organization", "The default organization cannot be deleted.")
    ended = {"deleted_at": _now, "updated_at": _now}
    await connection.execute(update(organizations).where(organizations.c.id == organization_id).values(**ended))
    await connection.execute(
        update(api_keys)
        .where(api_keys.c.organization_id == organization_id, or_(api_keys.c.revoked_at.is_(None), _still_alive()))
        .values(revoked_at=_now, updated_at=_now)
    )
    await _audit(connection, actor, row, "deleted")


def _still_alive() -> ColumnElement[bool]:
    return api_keys.c.revoked_at > _now


async def add_project(connection: AsyncConnection, actor: Actor, organization_id: UUID, values: Columns) -> Project:
    """Create a project. ``values`` are columns of ``projects``; ``settings.code`` is the client's own id for it.

    Raises ``Problem`` 409 ``project_exists`` if the organization has a project with that code.
    """
    settings = values.get("settings")
    code = settings.get("code") if isinstance(settings, dict) else None
    if code is not None:
        # The organization's row serialises the look-up and the insert.
        await get(connection, organization_id, lock=True)
        if await find_project(connection, organization_id, code) is not None:
            raise conflict("project_exists", f"This organization has a project {code!r} already.")
    statement = insert(projects).values(id=new_id(), organization_id=organization_id, **values).returning(projects)
    row = record(Project, (await connection.execute(statement)).one())
    await _audit(connection, actor, row, "created")
    return row


async def list_projects(
    connection: AsyncConnection, organization_id: UUID, page: Page, within: tuple[UUID, ...] = ()
) -> tuple[tuple[Project, ...], int]:
    """Return the organization's projects, the oldest first, and their number; ``within`` narrows them if not empty."""
    conditions = [projects.c.organization_id == organization_id]
    if within:
        conditions.append(projects.c.id.in_(within))
    total = await connection.scalar(select(func.count()).select_from(projects).where(*conditions))
    statement = select(projects).where(*conditions).order_by(projects.c.id).offset(page.skip).limit(page.limit)
    return records(Project, await connection.execute(statement)), int(total or 0)


async def find_project(connection: AsyncConnection, organization_id: UUID, reference: str) -> Project | None:
    """Find a project of the organization by its uuid or by the id that the client chose; None if there is none."""
    statement = select(projects).where(projects.c.organization_id == organization_id, project_matches(reference))
    row = (await connection.execute(statement.order_by(projects.c.id))).first()
    return None if row is None else record(Project, row)


def project_matches(reference: str) -> ColumnElement[bool]:
    """Match the project with that uuid, or with that client-chosen id (conflicts C4)."""
    by_code: ColumnElement[bool] = projects.c.settings["code"].astext == reference
    try:
        return or_(projects.c.id == UUID(reference), by_code)
    except ValueError:
        return by_code


async def get_project(connection: AsyncConnection, organization_id: UUID, reference: str) -> Project:
    """Find a project by uuid or client-chosen id. Raises ``Problem`` 404."""
    row = await find_project(connection, organization_id, reference)
    if row is None:
        raise not_found("project", reference)
    return row


async def first_project(connection: AsyncConnection, organization_id: UUID, environment: str) -> Project | None:
    """Return the organization's default project of an environment: the marked one, else the oldest."""
    statement = select(projects).where(
        projects.c.organization_id == organization_id, projects.c.environment == environment
    )
    ordered = statement.order_by(projects.c.is_default.desc(), projects.c.id)
    row = (await connection.execute(ordered)).first()
    return None if row is None else record(Project, row)


async def change_project(connection: AsyncConnection, actor: Actor, before: Project, values: Columns) -> Project:
    """Change columns of a project and give its row."""
    changes = changes_of(before, values)
    if not changes:
        return before
    statement = update(projects).where(projects.c.id == before.id).values(**values, updated_at=_now)
    after = record(Project, (await connection.execute(statement.returning(projects))).one())
    await _audit(connection, actor, after, "updated", changes)
    return after


async def _audit(
    connection: AsyncConnection,
    actor: Actor,
    row: Organization | Project,
    action: str,
    changes: Columns | None = None,
) -> None:
    # A project names its organization; an organization is its own.
    kind, organization_id = ("project", row.organization_id) if isinstance(row, Project) else ("organization", row.id)
    await record_for_organization(
        connection,
        organization_id,
        actor,
        resource_type=kind,
        resource_id=row.id,
        action=action,
        title=f"{kind.capitalize()} {row.name} {action}",
        changes=changes,
    )
