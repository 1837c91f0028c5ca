"""Connections, and the one place where a transaction begins, is scoped to a tenant, and commits."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import msgspec
import psycopg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from adapters.postgres.schema import APP_ROLE, SYSTEM_ROLE
from models.problems import unavailable
from settings import Settings

_LOG = structlog.get_logger(__name__)
# JSONB keeps every digit of a number, so neither writing nor reading may pass through a float (C11).
_JSON_ENCODER = msgspec.json.Encoder(decimal_format="number")
_JSON_DECODER = msgspec.json.Decoder(float_hook=Decimal)


# Classes of SQLSTATE: the connection failed, there are too many of them, an operator ends the server.
_LOST = ("08", "53300", "57P", "58")
# The disk is full, memory is short, a configured limit is reached: the connections are good, waiting cures it at best.
_EXHAUSTED = ("53",)
# Deadlock, serialization failure, lock not available, cancelled by a timeout: the same request may succeed later.
_GAVE_WAY = ("40P01", "40001", "55P03", "57014")


def exact_json(value: Any) -> str:
    """Write JSON as it goes into a JSONB column: Decimals as numbers with every digit."""
    return _JSON_ENCODER.encode(value).decode()


# Run on the driver itself: it begins every transaction.
_SET_SCOPE = (
    "SELECT set_config('role', %(role)s, true), set_config('durabill.project_id', %(project)s, true), "
    "set_config('durabill.organization_id', %(organization)s, true)"
)


Connection: TypeAlias = AsyncConnection
"""An open transaction, as callers outside this folder name it."""


Asked: TypeAlias = tuple[str, Mapping[str, Any]]
"""A statement of a hot path, and its parameters."""


@dataclass(frozen=True)
class ProjectScope:
    """One project of one organization: what an API key, a workflow or an activity of that project may see."""

    organization_id: UUID
    project_id: UUID


@dataclass(frozen=True)
class SystemScope:
    """All tenants: key look-up, bootstrap, the relay, clocks. Nothing else."""


SYSTEM = SystemScope()
Scope = ProjectScope | SystemScope


def _settings_of(scope: Scope) -> dict[str, str]:
    match scope:
        case ProjectScope(organization_id=organization, project_id=project):
            return {"role": APP_ROLE, "project": str(project), "organization": str(organization)}
        case SystemScope():
            return {"role": SYSTEM_ROLE, "project": "", "organization": ""}


class Database:
    """The application's connections to Postgres: a pool for tenants and one for the system, each with its own login.

    What runs in a tenant's connection can take no other role than the tenant's. The two pools together open at most
    ``pool_size`` connections (from 4 on), a quarter of them for the system. Without ``system_url`` the system's login
    is the one that ``system_url_of`` derives.
    """

    def __init__(self, url: str, *, system_url: str | None = None, pool_size: int = 20) -> None:
        # The relay that leads holds one for as long as it leads.
        for_system = max(2, pool_size // 4)
        self.engine = _engine(url, max(1, pool_size - for_system))
        self.system_engine = _engine(system_url or system_url_of(url), for_system)

    @asynccontextmanager
    async def transaction(self, scope: Scope) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that sees only ``scope``; commits at the end, rolls back on any error.

        Raises ``Problem`` 503 ``database_unavailable`` if Postgres cannot be reached.
        """
        async with self._begun(scope) as connection:
            await (await driver(connection)).execute(_SET_SCOPE.encode(), _settings_of(scope), prepare=True)
            yield connection

    @asynccontextmanager
    async def transaction_asking(
        self, scope: Scope, *asked: Asked
    ) -> AsyncIterator[tuple[AsyncConnection, list[list[tuple[Any, ...]]]]]:
        """Open a transaction as ``transaction`` does, and give the rows of each of its first statements with it.

        For the hot paths: begin, scope and statements are one round trip, which is most of what a short transaction
        waits for on a busy machine.
        """
        async with self._begun(scope) as connection:
            _, *rows = await run_together(connection, (_SET_SCOPE, _settings_of(scope)), *asked)
            yield connection, rows

    @asynccontextmanager
    async def _begun(self, scope: Scope) -> AsyncIterator[AsyncConnection]:
        engine = self.system_engine if isinstance(scope, SystemScope) else self.engine
        try:
            async with engine.begin() as connection:
                yield connection
        except PoolTimeoutError as error:
            raise unavailable("database_busy", "All database connections are in use; try again.") from error
        except (DBAPIError, psycopg.OperationalError, OSError) as error:
            if is_connection_loss(error):
                await self.engine.dispose(close=False)
                await self.system_engine.dispose(close=False)
                raise unavailable("database_unavailable", "Postgres cannot be reached; try again.") from error
            if (_sqlstate(error) or "").startswith(_EXHAUSTED):
                _LOG.error("database_exhausted", sqlstate=_sqlstate(error), error=str(error).splitlines()[0])
                raise unavailable(
                    "database_exhausted", "Postgres has no room for this (disk, memory or a limit); tell the operator."
                ) from error
            if _sqlstate(error) in _GAVE_WAY:
                raise unavailable("database_busy", "Another request was in the way; try again.") from error
            raise

    @classmethod
    def configured(cls, settings: Settings) -> "Database":
        """Return the connections that a deployment's settings name."""
        system = settings.database_system_url
        return cls(
            settings.database_url.get_secret_value(),
            system_url=None if system is None else system.get_secret_value(),
            pool_size=settings.database_pool_size,
        )

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.shield(asyncio.gather(self.engine.dispose(), self.system_engine.dispose()))


def _engine(url: str, pool_size: int) -> AsyncEngine:
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=False,
        # What a statement was given may be personal or secret; it stays out of errors and logs.
        hide_parameters=True,
        json_serializer=exact_json,
        json_deserializer=_JSON_DECODER.decode,
    )


async def run_together(connection: AsyncConnection, *asked: Asked) -> list[list[tuple[Any, ...]]]:
    """Send prepared statements together, and give the rows of each: one round trip.

    They are executed one after the other: each sees what was committed when it began.
    """
    raw = await driver(connection)
    async with raw.pipeline():
        sent = [await raw.execute(sql.encode(), parameters, prepare=True) for sql, parameters in asked]
    return [await cursor.fetchall() for cursor in sent]


@asynccontextmanager
async def with_commit(connection: AsyncConnection) -> "AsyncIterator[psycopg.AsyncConnection[Any]]":
    """Return the driver of a transaction for its last statements, which travel with the commit; for the hot paths.

    Their errors show at the end of the block, and then nothing is committed.
    """
    raw = await driver(connection)
    async with raw.pipeline():
        yield raw
        # Sent as a statement: the driver's own commit, inside a pipeline, waits for an answer before all that was
        # queued has left, and never gets one when that is more than a socket holds.
        await raw.execute(b"COMMIT")


def is_connection_loss(error: BaseException) -> bool:
    """Tell a lost or refused connection from an error of the statement itself."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    # What Postgres itself answered is a loss only if it says that the connection ends or cannot begin.
    state = _sqlstate(error)
    lost = state is None or state.startswith(_LOST)
    return isinstance(cause, OSError) or (isinstance(cause, psycopg.OperationalError) and lost)


def _sqlstate(error: BaseException) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None


async def driver(connection: AsyncConnection) -> "psycopg.AsyncConnection[Any]":
    """Return psycopg's own connection of this transaction, for COPY and the hot paths."""
    # The connection is open, so nothing waits: what SQLAlchemy's own accessor spends on switching contexts is saved.
    began = connection.sync_connection
    assert began is not None, "the transaction has begun"
    found = began.connection.driver_connection
    assert isinstance(found, psycopg.AsyncConnection)
    return found


def system_url_of(url: str) -> str:
    """Return the URL of the system's login where none is set: the application's, its user named ``..._system_login``.

    Raises ValueError if ``url`` names no user.
    """
    parts = urlsplit(url)
    user, separator, rest = parts.netloc.partition("@")
    name, colon, password = user.partition(":")
    if not (separator and name):
        raise ValueError("the database's URL names no user; the application needs a login of its own")
    return urlunsplit(parts._replace(netloc=f"{name}_system_login{colon}{password}@{rest}"))


def sqlalchemy_url(url: str) -> str:
    """Turn a libpq URL into SQLAlchemy's for psycopg 3."""
    scheme, separator, rest = url.partition("://")
    assert separator, "a database URL has a scheme"
    return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url
