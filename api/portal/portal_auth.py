"""Who uses the customer portal: tokens bound to one customer, which open nothing else (B169, B170, conflicts C2).

A token is a JWT (HS256) signed with a key of its own, derived from the session secret; its audience is ``portal``. It
names organization, project and customer, and nothing is stored of it: it ends by itself, with its customer, or with its
organization.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

import jwt
from fastapi import Depends, Query, Request

from adapters.postgres.customers import customer_store
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.resources import Customer
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.tenancy import organization_store
from models.problems import Problem
from settings import Settings

AUDIENCE: Final = "portal"
LONGEST: Final = timedelta(hours=12)
_ISSUER: Final = "durabill"
_ALGORITHM: Final = "HS256"
_LONGEST_TOKEN: Final = 4096
_NEEDED: Final = ("exp", "iat", "aud", "iss", "sub", "org", "project")
# Without a configured secret, tokens end with the process.
_FALLBACK_SECRET: Final = secrets.token_hex(32)


@dataclass(frozen=True)
class PortalToken:
    """A token and the instant at which it ends."""

    token: str
    expires_at: datetime


@dataclass(frozen=True)
class PortalCaller:
    """A customer at the portal: one project, one customer, nothing else."""

    scope: ProjectScope
    customer_id: UUID

    @property
    def project_id(self) -> UUID:
        """Return the customer's project."""
        return self.scope.project_id

    @property
    def actor(self) -> Actor:
        """Return the name that the audit log notes."""
        return Actor("customer", str(self.customer_id))

    def begin(self, database: Database) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of the customer's project in the customer's name."""
        return begin(database, self.scope, self.actor)


def _key(settings: Settings) -> bytes:
    configured = settings.session_secret
    secret = _FALLBACK_SECRET if configured is None else configured.get_secret_value()
    return hmac.digest(secret.encode(), b"durabill-portal-token", hashlib.sha256)


def issue(settings: Settings, scope: ProjectScope, customer_id: UUID, *, seconds: int | None = None) -> PortalToken:
    """Sign a token for a customer; it lasts ``seconds``, 12 hours by default and at most."""
    now = datetime.now(UTC).replace(microsecond=0)
    expires_at = now + min(LONGEST if seconds is None else timedelta(seconds=seconds), LONGEST)
    claims = {
        "iss": _ISSUER,
        "aud": AUDIENCE,
        "type": AUDIENCE,
        "sub": str(customer_id),
        "org": str(scope.organization_id),
        "project": str(scope.project_id),
        "iat": now,
        "exp": expires_at,
    }
    return PortalToken(jwt.encode(claims, _key(settings), algorithm=_ALGORITHM), expires_at)


def portal_url(request: Request, token: str) -> str:
    """Return the address of the portal's page for a token, below the configured address of the API."""
    return f"{request.app.state.settings.address}/portal?{urlencode({'token': token})}"


def read_token(settings: Settings, token: str) -> PortalCaller:
    """Verify a token. Raises ``Problem`` 401 for one that is missing, forged, expired or for something else."""
    if not token:
        raise _unauthorized("missing_portal_token", "Send a portal token: ?token=<token>, or as a Bearer token.")
    claims = _verified(_key(settings), token)
    try:
        scope = ProjectScope(UUID(claims["org"]), UUID(claims["project"]))
        return PortalCaller(scope, UUID(claims["sub"]))
    except (ValueError, TypeError, AttributeError):
        raise _invalid() from None


def _verified(key: bytes, token: str) -> Mapping[str, Any]:
    if len(token) > _LONGEST_TOKEN:
        raise _invalid()
    try:
        return jwt.decode(
            token,
            key,
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            issuer=_ISSUER,
            options={"require": list(_NEEDED)},
        )
    except jwt.ExpiredSignatureError:
        raise _unauthorized("portal_token_expired", "This portal link has expired; ask for a new one.") from None
    except (jwt.PyJWTError, ValueError):
        raise _invalid() from None


def _invalid() -> Problem:
    return _unauthorized("invalid_portal_token", "This is no valid portal token; an API key does not open the portal.")


def _unauthorized(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": 'Bearer realm="durabill-portal"'})


def _presented(request: Request, token: str | None) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    return token or (bearer.strip() if scheme.lower() == "bearer" else "")


async def _portal_caller(
    request: Request,
    token: Annotated[
        str | None, Query(max_length=_LONGEST_TOKEN, description="The portal token; or send it as a Bearer token.")
    ] = None,
) -> PortalCaller:
    caller = read_token(request.app.state.settings, _presented(request, token))
    database = request.app.state.database
    assert isinstance(database, Database)
    async with database.transaction(caller.scope) as connection:
        await customer_of(connection, caller)
    return caller


PortalDep = Annotated[PortalCaller, Depends(_portal_caller)]


async def customer_of(connection: AsyncConnection, caller: PortalCaller) -> Customer:
    """Read the customer whom a token names. Raises ``Problem`` 401 once customer or organization are gone."""
    try:
        await organization_store.get(connection, caller.scope.organization_id)
    except Problem:
        raise _invalid() from None
    row = await customer_store.by_id(connection, caller.customer_id)
    if row is None:
        raise _invalid()
    return row
