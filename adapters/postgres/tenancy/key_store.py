"""API keys: look-up by hash, creation, rotation with an overlap, revocation (conflicts C3, B14-B19)."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from adapters.postgres.tenancy.organization_store import project_matches
from models.identifiers import new_id
from models.problems import not_found
from models.tables import api_keys, organizations, projects

_USED_AGAIN_SECONDS: Final = 60
_RANDOM_BYTES: Final = 32
_PREFIXES: Final = {"secret": "sk", "ingest": "uf"}
_now = func.clock_timestamp()
_not_revoked: Final = or_(api_keys.c.revoked_at.is_(None), api_keys.c.revoked_at > _now)
_usable: Final = and_(
    _not_revoked,
    or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > _now),
    organizations.c.deleted_at.is_(None),
)
_stale: Final = func.coalesce(
    api_keys.c.last_used_at < _now - func.make_interval(0, 0, 0, 0, 0, 0, _USED_AGAIN_SECONDS), true()
)
_LOOKED_UP: Final = (
    api_keys.c.id,
    api_keys.c.organization_id,
    api_keys.c.key_hash,
    api_keys.c.kind,
    api_keys.c.role,
    api_keys.c.scopes,
    api_keys.c.environment,
    api_keys.c.project_ids,
    api_keys.c.active_project_id,
)


def hashed(key: str) -> bytes:
    """Hash the whole of a key; only this is stored (B19)."""
    return hashlib.sha256(key.encode()).digest()


def new_secret(kind: str, environment: str) -> str:
    """Make a key of 256 random bits, such as ``sk_live_`` and 64 hex digits (B14, B15)."""
    return f"{_PREFIXES[kind]}_{environment}_{secrets.token_hex(_RANDOM_BYTES)}"


@dataclass(frozen=True)
class KnownKey:
    """What one look-up tells about a presented key.

    ``requested_project`` is the project that the request asks for (its ``X-Project-Id``, else the key's active one);
    None if the organization has no such project.
    """

    id: UUID
    organization_id: UUID
    key_hash: bytes
    kind: str
    role: str
    scopes: list[str] | None
    environment: str
    project_ids: tuple[UUID, ...]
    active_project_id: UUID
    requested_project: UUID | None
    usable: bool
    stale: bool


async def find_by_hash(connection: AsyncConnection, key_hash: bytes, project: str | None = None) -> KnownKey | None:
    """Look a key up by the SHA-256 of the whole of it, in one statement; the transaction is a SYSTEM one.

    ``usable`` is false when the key or its organization has ended; ``stale`` says that ``last_used_at`` is older than
    a minute. ``project`` is what the request asks for: a uuid, or the client's own id of a project; None for the key's
    active one. Nothing is cached, so that a revocation acts at once (B18).
    """
    return await _known(connection, api_keys.c.key_hash == key_hash, project)


async def find_by_id(connection: AsyncConnection, key_id: UUID) -> KnownKey | None:
    """Look a key up by its id, for whoever has proved to hold it before; the transaction is a SYSTEM one."""
    return await _known(connection, api_keys.c.id == key_id, None)


async def _known(connection: AsyncConnection, condition: ColumnElement[bool], project: str | None) -> KnownKey | None:
    wanted = projects.c.id == api_keys.c.active_project_id if project is None else project_matches(project)
    statement = (
        select(*_LOOKED_UP, projects.c.id.label("requested_project"), _usable.label("usable"), _stale.label("stale"))
        .join(organizations, organizations.c.id == api_keys.c.organization_id)
        .outerjoin(projects, and_(projects.c.organization_id == api_keys.c.organization_id, wanted))
        .where(condition)
    )
    row = (await connection.execute(statement)).first()
    if row is None:
        return None
    found = row._asdict()
    return KnownKey(**{**found, "project_ids": tuple(found["project_ids"])})


async def record_use(connection: AsyncConnection, key_id: UUID) -> None:
    """Remember that a key was used now; several requests at once do not wait for each other."""
    free = select(api_keys.c.id).where(api_keys.c.id == key_id).with_for_update(skip_locked=True)
    await connection.execute(update(api_keys).where(api_keys.c.id.in_(free)).values(last_used_at=_now))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret; without `project_ids` it may serve every project of the organization.

    `scopes` is None for a key that may do what keys of its kind may by default.
    """

    id: UUID
    organization_id: UUID
    name: str | None
    key_prefix: str
    last_four: str
    kind: str
    environment: str
    role: str
    scopes: list[str] | None
    project_ids: list[UUID]
    active_project_id: UUID
    rotated_from: UUID | None
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def status(self) -> str:
        """Return `active`, `expired` or `revoked`, as of now by the wall clock."""
        now = datetime.now(UTC)
        if self.revoked_at is not None and self.revoked_at <= now:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@dataclass(frozen=True)
class NewKey:
    """A key to make. ``project_ids`` are the projects it may serve; empty means every one of the organization."""

    organization_id: UUID
    active_project_id: UUID
    name: str | None = None
    kind: str = "secret"
    environment: str = "live"
    role: str = "ADMIN"
    project_ids: tuple[UUID, ...] = field(default=())
    expires_at: datetime | None = None
    rotated_from: UUID | None = None
    scopes: list[str] | None = None


async def issue(connection: AsyncConnection, key: NewKey) -> tuple[ApiKey, str]:
    """Make a key and store its hash; returns its row and the key itself, which nobody can read again (B19)."""
    secret = new_secret(key.kind, key.environment)
    values = {
        **vars(key),
        "id": new_id(),
        "project_ids": list(key.project_ids),
        "key_hash": hashed(secret),
        "key_prefix": secret[:12],
        "last_four": secret[-4:],
    }
    row = (await connection.execute(insert(api_keys).values(**values).returning(api_keys))).one()
    return record(ApiKey, row), secret


async def get(connection: AsyncConnection, organization_id: UUID, key_id: UUID, *, lock: bool = False) -> ApiKey:
    """Return a key of the organization that has not been revoked. Raises ``Problem`` 404."""
    statement = select(api_keys).where(
        api_keys.c.organization_id == organization_id, api_keys.c.id == key_id, _not_revoked
    )
    row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
    if row is None:
        raise not_found("api_key", key_id)
    return record(ApiKey, row)


async def listing(
    connection: AsyncConnection, organization_id: UUID, page: Page, *, within: tuple[UUID, ...] = ()
) -> tuple[tuple[ApiKey, ...], int]:
    """Return the organization's keys that are not revoked, newest first, and their number.

    ``within`` narrows them to keys that serve only those projects (what a restricted key may see); empty: all.
    """
    conditions = [api_keys.c.organization_id == organization_id, _not_revoked]
    if within:
        conditions += [api_keys.c.project_ids.contained_by(list(within)), func.cardinality(api_keys.c.project_ids) > 0]
    orderable = {"name": api_keys.c.name, "last_used_at": api_keys.c.last_used_at}
    rows, total = await page_of(connection, api_keys, page, *conditions, orderable=orderable)
    return records(ApiKey, rows), total


async def revoke(connection: AsyncConnection, key_id: UUID, *, after_seconds: int = 0) -> None:
    """Let a key stop working now, or at the end of a rotation's overlap; an earlier end stays."""
    ends = _now + func.make_interval(0, 0, 0, 0, 0, 0, after_seconds)
    await connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id)
        .values(revoked_at=func.least(func.coalesce(api_keys.c.revoked_at, ends), ends), updated_at=_now)
    )


async def select_project(connection: AsyncConnection, key_id: UUID, project_id: UUID) -> None:
    """Make a project the one that the key works in (conflicts C10)."""
    await connection.execute(
        update(api_keys).where(api_keys.c.id == key_id).values(active_project_id=project_id, updated_at=_now)
    )
