"""The migrations build exactly the tables, the rights and the policies that the code describes, and take them back."""

import uuid
from collections.abc import Iterator
from typing import Any, LiteralString, TypeAlias

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from adapters.postgres.database import sqlalchemy_url
from adapters.postgres.migrate import _config, create_database, newest_revision
from adapters.postgres.schema import APP_ROLE, SYSTEM_ROLE, privileges_of, security_statements
from devstack.embedded_postgres import EmbeddedPostgres
from models.tables import metadata
from tests.conftest import FreshDatabase, make_database

Connection: TypeAlias = "psycopg.Connection[Any]"
every_table = pytest.mark.parametrize("table", sorted(metadata.tables))

_COLUMNS: LiteralString = """
    SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attcollation,
           pg_get_expr(adbin, adrelid)
    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY 1
"""
# NOT NULL is a property of the columns above; its names are Postgres's own.
_CONSTRAINTS: LiteralString = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = to_regclass(%s) AND contype <> 'n' ORDER BY 1
"""
_INDEXES: LiteralString = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s ORDER BY 1"
_PARTITIONED: LiteralString = "SELECT pg_get_partkeydef(to_regclass(%s))"
_POLICIES: LiteralString = """
    SELECT policyname, permissive, roles, cmd, qual, with_check FROM pg_policies WHERE tablename = %s ORDER BY 1
"""
_PRIVILEGES: LiteralString = """
    SELECT grantee::regrole::text, privilege_type, is_grantable
    FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass(%s) AND grantee <> relowner
"""


@pytest.fixture(scope="module")
def migrated(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """The owner's connection to a database that the migrations built."""
    with psycopg.connect(make_database(postgres).admin_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def described(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """The owner's connection to a database with the tables of the code and nothing else."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    create_database(postgres.url(), name)
    engine = create_engine(sqlalchemy_url(postgres.url(name)))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SEQUENCE audit_sequence")
        metadata.create_all(connection)
    engine.dispose()
    with psycopg.connect(postgres.url(name), autocommit=True) as opened:
        yield opened


def test_a_migrated_database_has_nothing_to_add_or_remove(fresh_database: FreshDatabase) -> None:
    engine = create_engine(sqlalchemy_url(fresh_database.admin_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []


@every_table
def test_a_table_is_as_the_code_describes_it(migrated: Connection, described: Connection, table: str) -> None:
    for question in (_COLUMNS, _CONSTRAINTS, _INDEXES, _PARTITIONED):
        assert migrated.execute(question, (table,)).fetchall() == described.execute(question, (table,)).fetchall()


@every_table
def test_a_table_has_the_policies_that_the_code_demands(migrated: Connection, table: str) -> None:
    assert migrated.execute("SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass(%s)", (table,)).fetchone() == (
        True,
    )
    found = migrated.execute(_POLICIES, (table,)).fetchall()
    with migrated.transaction(force_rollback=True):
        for name, *_ in found:
            migrated.execute(f'DROP POLICY "{name}" ON "{table}"'.encode())
        for statement in security_statements([table]):
            migrated.execute(statement.encode())
        assert found == migrated.execute(_POLICIES, (table,)).fetchall()


@every_table
def test_a_table_gives_the_rights_that_the_code_demands_and_no_more(migrated: Connection, table: str) -> None:
    demanded = {(role, right, False) for role, rights in privileges_of(table).items() for right in rights}
    assert set(migrated.execute(_PRIVILEGES, (table,)).fetchall()) == demanded


def test_nothing_beside_the_tables_is_open_to_the_application(migrated: Connection) -> None:
    tables = migrated.execute(
        "SELECT relname, grantee::regrole::text, privilege_type FROM pg_class, aclexplode(relacl)"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND grantee <> relowner"
    ).fetchall()
    priced_together = [row for row in tables if row[0] not in metadata.tables]
    assert priced_together == [("alembic_version", SYSTEM_ROLE, "SELECT")]
    schemas = migrated.execute(
        "SELECT nspname, has_schema_privilege(role, oid, 'USAGE'), has_schema_privilege(role, oid, 'CREATE')"
        " FROM pg_namespace, unnest(CAST(%s AS text[])) AS role"
        " WHERE nspname IN ('public', 'event_months', 'event_archive')",
        ([APP_ROLE, SYSTEM_ROLE],),
    ).fetchall()
    assert set(schemas) == {
        ("public", True, False),
        ("event_months", False, False),
        ("event_archive", False, False),
    }


@pytest.mark.parametrize("name", ["event_floor()", "events_closed_until()", "ensure_event_month(timestamptz)"])
def test_a_function_runs_as_its_owner_for_the_two_roles_alone(migrated: Connection, name: str) -> None:
    row = migrated.execute(
        "SELECT prosecdef, proconfig[1], (SELECT array_agg(CASE grantee WHEN 0 THEN 'public' ELSE"
        " grantee::regrole::text END ORDER BY 1) FROM aclexplode(proacl) WHERE grantee <> proowner)"
        " FROM pg_proc WHERE oid = to_regprocedure(%s)",
        (name,),
    ).fetchone()
    assert row is not None
    assert (row[0], row[1], set(row[2])) == (True, "search_path=pg_catalog, pg_temp", {APP_ROLE, SYSTEM_ROLE})


def test_only_the_owner_protects_tables(migrated: Connection) -> None:
    allowed = migrated.execute(
        "SELECT role FROM unnest(CAST(%s AS text[])) AS role"
        " WHERE has_function_privilege(role, 'protect_table(text, text, text)', 'EXECUTE')",
        ([APP_ROLE, SYSTEM_ROLE],),
    ).fetchall()
    assert allowed == []


@pytest.mark.parametrize("name", ["audit_sequence", "outbox_id_seq"])
def test_a_sequence_may_be_used_by_the_two_roles(migrated: Connection, name: str) -> None:
    found = set(migrated.execute(_PRIVILEGES, (name,)).fetchall())
    assert found == {(APP_ROLE, "USAGE", False), (SYSTEM_ROLE, "USAGE", False)}


def test_every_revision_goes_back_and_forth(fresh_database: FreshDatabase) -> None:
    url = fresh_database.admin_url
    with psycopg.connect(url) as connection:
        before = connection.execute(_EVERYTHING).fetchall()
    for revision in ScriptDirectory(_config(url).get_main_option("script_location") or "").walk_revisions():
        command.downgrade(_config(url), "-1")
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        assert found == ([] if revision.down_revision is None else [(revision.down_revision,)])
    with psycopg.connect(url) as connection:
        assert [row[0] for row in connection.execute(_EVERYTHING).fetchall()] == [
            "public.alembic_version",
            "public.alembic_version_pkc",
        ]
    command.upgrade(_config(url), "head")
    with psycopg.connect(url) as connection:
        assert connection.execute(_EVERYTHING).fetchall() == before
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (newest_revision(),)


def test_a_migration_does_not_queue_behind_a_table_that_is_in_use(fresh_database: FreshDatabase) -> None:
    url = fresh_database.admin_url
    with psycopg.connect(url) as reader:
        reader.execute("SELECT FROM evaluation_thresholds")
        with pytest.raises(Exception, match="lock timeout"):
            command.downgrade(_config(url), "limits")
        (revision,) = reader.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    assert revision == "alerts"


_EVERYTHING: LiteralString = """
    SELECT relnamespace::regnamespace::text || '.' || relname, relkind, relacl::text FROM pg_class
    WHERE relnamespace::regnamespace::text IN ('public', 'event_months', 'event_archive') ORDER BY 1
"""
