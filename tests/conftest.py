"""Session-wide servers: a real Postgres, a real Temporal server, the whole stack; fresh databases from a template."""

import gc
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.migrate import create_database, upgrade
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from models.identifiers import new_id
from models.tables import organizations, projects
from tests.support.stack import Stack, running

TEMPLATE = "durabill_template"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A throw-away Postgres whose template database has the newest schema."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    try:
        create_database(server.url(), TEMPLATE)
        upgrade(server.url(TEMPLATE))
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class FreshDatabase:
    """A database of one test: the owner's URL and the application's (row-level security applies)."""

    admin_url: str
    url: str


def make_database(postgres: EmbeddedPostgres) -> FreshDatabase:
    """Copy the template into a new database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
    return FreshDatabase(admin_url=postgres.url(name), url=postgres.url(name, user="durabill"))


@pytest.fixture
def fresh_database(postgres: EmbeddedPostgres) -> FreshDatabase:
    """An empty, migrated database of this test alone."""
    return make_database(postgres)


@pytest.fixture
async def database(fresh_database: FreshDatabase) -> AsyncIterator[Database]:
    """The application's connections to this test's database."""
    opened = Database(fresh_database.url, pool_size=5)
    yield opened
    await opened.close()


@pytest.fixture
async def tenant(database: Database) -> ProjectScope:
    """One organization with one live project, as a scope."""
    scope = ProjectScope(organization_id=new_id(), project_id=new_id())
    async with database.transaction(SYSTEM) as connection:
        await connection.execute(
            organizations.insert().values(id=scope.organization_id, name="Test", slug=f"test-{scope.organization_id}")
        )
        await connection.execute(
            projects.insert().values(
                id=scope.project_id, organization_id=scope.organization_id, name="Default", is_default=True
            )
        )
    return scope


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """A throw-away Temporal dev server with Durabill's search attributes."""
    server = TemporalServer(tmp_path_factory.mktemp("temporal"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def stack(
    postgres: EmbeddedPostgres, temporal_server: TemporalServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The API and a worker on a database of their own, shared by the black-box tests of the session."""
    fresh = make_database(postgres)
    directory = tmp_path_factory.mktemp("stack")
    made = Stack(
        database_url=fresh.url,
        admin_url=fresh.admin_url,
        temporal_address=temporal_server.address,
        directory=directory,
    )
    with running(made) as ready:
        yield ready


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with the key of an organization of this test alone."""
    async with stack.client() as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold a slow test, so that no process is left with the longest one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's sight: walking it again and again costs minutes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_report_header() -> str:
    """Return which Temporal binary the session was told to use."""
    named = os.environ.get("DURABILL_TEMPORAL_BIN")
    return f"temporal: {Path(named).name if named else 'found by devstack'}"
