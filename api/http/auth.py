"""Who calls: API keys in three headers, the operator's bootstrap key, and what each may do (conflicts C2, C3, C33)."""

import hmac
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from fastapi import Request

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.tenancy import key_store
from adapters.postgres.tenancy.key_store import KnownKey, hashed
from api.http.failed_keys import FailedKeys, address_of
from models.problems import Problem, not_found
from models.scopes import EVERYTHING, default_scopes, missing
from settings import Settings

Kind = Literal["secret", "ingest", "bootstrap"]
ROLES: Final = ("VIEWER", "DEVELOPER", "ADMIN", "OWNER")
"""Roles, the weakest first; each may do what those before it may."""

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST_KEY: Final = 512
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True)
class Caller:
    """The organization, project and key in whose name a request is made."""

    organization_id: UUID
    project_id: UUID
    key_id: UUID | None
    kind: Kind
    role: str
    environment: str
    project_ids: tuple[UUID, ...] = ()
    scopes: tuple[str, ...] = (EVERYTHING,)

    @property
    def scope(self) -> ProjectScope:
        """Return the project that transactions of this request may see."""
        return ProjectScope(self.organization_id, self.project_id)

    @property
    def actor(self) -> Actor:
        """Return the name that the audit log notes."""
        return Actor("api_key", None if self.key_id is None else str(self.key_id))

    def begin(self, database: Database) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of the caller's project in the caller's name."""
        return begin(database, self.scope, self.actor)

    def require(self, role: str) -> None:
        """Refuse keys below a role. Raises ``Problem`` 403."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Problem(403, "role_forbidden", f"This needs a key with the role {role}; this key is a {self.role}.")

    def require_scopes(self, *wanted: str) -> None:
        """Refuse keys that do not have all these scopes. Raises ``Problem`` 403 ``insufficient_scope``."""
        lacking = missing(self.scopes, wanted)
        if not lacking:
            return
        has = "an ingest key: it may " if self.kind == "ingest" else "limited to "
        raise Problem(
            403,
            "insufficient_scope",
            f"This needs the scope {', '.join(lacking)}; this key is {has}{', '.join(self.scopes)}. "
            "Use a secret key, or make one that has the scope: POST /v1/api-keys with `scopes`.",
            extra={"required_scopes": lacking},
        )


@dataclass(frozen=True)
class Operator:
    """The holder of the bootstrap key: may only create, list and delete organizations."""

    @property
    def actor(self) -> Actor:
        """Return the name that the audit log notes."""
        return Actor("bootstrap")


def presented_key(request: Request) -> str:
    """Read the key: Bearer, then ``x-api-key``, then ``x-usageflow-api-key`` (B10-B13). Raises ``Problem`` 401."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    found = token.strip() if scheme.lower() == "bearer" else ""
    found = found or request.headers.get("x-api-key", "") or request.headers.get("x-usageflow-api-key", "")
    if not found:
        raise _unauthorized("missing_api_key", "Send an API key: Authorization: Bearer <key>, or x-api-key: <key>.")
    if len(found) > _LONGEST_KEY:
        raise _unauthorized("invalid_api_key", "This API key is unknown, expired or revoked.")
    return found


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="durabill"'})


def is_bootstrap(key: str, settings: Settings) -> bool:
    """Compare with the operator's key, in constant time."""
    configured = settings.bootstrap_key
    return configured is not None and hmac.compare_digest(hashed(configured.get_secret_value()), hashed(key))


async def authenticate(request: Request, database: Database) -> Caller | Operator:
    """Find out who calls.

    Raises ``Problem`` 401 for a missing, unknown, expired or revoked key, 429 after too many of those, 404
    ``project_not_found`` and 403 ``project_forbidden`` for the project of ``X-Project-Id``, 403 ``role_forbidden`` when
    a VIEWER's key would write.
    """
    key = presented_key(request)
    failed: FailedKeys = request.app.state.failed_keys
    failed.check(address_of(request), key)
    if is_bootstrap(key, request.app.state.settings):
        failed.note_success(key)
        return Operator()
    wanted = request.headers.get("x-project-id", "").strip()[:_LONGEST_KEY] or None
    caller = await caller_with_guess(request, database, key, wanted)
    if request.method not in _READING:
        caller.require("DEVELOPER")
    return caller


async def caller_with_guess(request: Request, database: Database, key: str, project: str | None = None) -> Caller:
    """Find the caller as ``caller_with_key`` does, where failures count against the address and the account.

    Raises ``Problem`` 429 ``too_many_failed_keys`` when there were too many.
    """
    failed: FailedKeys = request.app.state.failed_keys
    address = address_of(request)
    failed.check(address, key)
    try:
        caller = await caller_with_key(database, key, project)
    except Problem as problem:
        if problem.status == _UNAUTHORIZED:
            failed.note_failure(address, key)
        raise
    failed.note_success(key)
    return caller


async def caller_with_key(database: Database, key: str, project: str | None = None) -> Caller:
    """Find the caller who presents a key. Raises ``Problem`` 401, 403, 404 as ``authenticate`` does."""
    digest = hashed(key)
    async with database.transaction(SYSTEM) as connection:
        known = await key_store.find_by_hash(connection, digest, project)
        if known is not None and known.usable and known.stale:
            await key_store.record_use(connection, known.id)
    if known is None or not hmac.compare_digest(known.key_hash, digest) or not known.usable:
        raise _unauthorized("invalid_api_key", "This API key is unknown, expired or revoked.")
    return _caller(known, project)


async def caller_with_id(database: Database, key_id: UUID) -> Caller | None:
    """Find the caller of a dashboard session, which knows the id of its key; None once the key has ended."""
    async with database.transaction(SYSTEM) as connection:
        known = await key_store.find_by_id(connection, key_id)
    return _caller(known, None) if known is not None and known.usable else None


def _caller(known: KnownKey, wanted: str | None) -> Caller:
    project_id = known.requested_project
    if project_id is None:
        raise not_found("project", wanted or known.active_project_id)
    if known.project_ids and project_id not in known.project_ids:
        raise project_forbidden(project_id)
    assert known.kind in ("secret", "ingest")
    return Caller(
        organization_id=known.organization_id,
        project_id=project_id,
        key_id=known.id,
        kind="ingest" if known.kind == "ingest" else "secret",
        role=known.role,
        environment=known.environment,
        project_ids=known.project_ids,
        scopes=tuple(known.scopes or default_scopes(known.kind)),
    )


def project_forbidden(project_id: UUID) -> Problem:
    """Say that the key is restricted to other projects (B17)."""
    return Problem(403, "project_forbidden", f"This key is not allowed in the project {project_id}.")
