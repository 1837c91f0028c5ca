"""Item 42: the tenants' login and the system's are two, so no tenant's transaction becomes the system's."""

import psycopg
import pytest
from psycopg import sql

from adapters.postgres.database import SYSTEM, Database, ProjectScope, driver, system_url_of
from adapters.postgres.schema import APP_ROLE, SYSTEM_ROLE, Login, login_statements
from devstack.embedded_postgres import EmbeddedPostgres
from tests.conftest import FreshDatabase

_DENIED = psycopg.errors.InsufficientPrivilege


@pytest.mark.parametrize(
    "statements",
    [
        [f"SET ROLE {SYSTEM_ROLE}"],
        [f"SET LOCAL ROLE {SYSTEM_ROLE}"],
        [f"SELECT set_config('role', '{SYSTEM_ROLE}', true)"],
        ["RESET ROLE", "SELECT * FROM organizations"],
        ["RESET ROLE", f"SET ROLE {SYSTEM_ROLE}"],
        ["SET SESSION AUTHORIZATION durabill_system_login"],
        ["SELECT * FROM sandbox_charges"],
    ],
)
async def test_item_42_a_tenants_transaction_cannot_become_the_system(
    database: Database, tenant: ProjectScope, statements: list[str]
) -> None:
    *before, refused = statements
    async with database.transaction(tenant) as connection:
        raw = await driver(connection)
        for statement in before:
            await raw.execute(statement.encode())
        with pytest.raises(_DENIED):
            await raw.execute(refused.encode())


async def test_item_42_nor_can_what_begins_on_its_connection_next(database: Database, tenant: ProjectScope) -> None:
    """A role that outlives its transaction would meet the next tenant in the pool: it gives nothing either."""
    for _ in range(2):
        async with database.engine.connect() as connection:
            raw = await driver(connection)
            await raw.rollback()
            await raw.execute(f"SET ROLE {APP_ROLE}".encode())
            await raw.commit()
            seen = await (await raw.execute(b"SELECT count(*) FROM organizations")).fetchone()
            assert seen == (0,)
            with pytest.raises(_DENIED):
                await raw.execute(f"SET ROLE {SYSTEM_ROLE}".encode())
            await raw.rollback()
    async with database.transaction(SYSTEM) as connection:
        assert (await (await driver(connection)).execute(b"SELECT count(*) FROM organizations")).rowcount == 1


def test_item_42_both_pools_stay_within_the_connections_of_a_process() -> None:
    for most in (4, 5, 20, 200):
        database = Database("postgresql://durabill@nowhere/none", pool_size=most)
        sizes = [engine.pool.size() for engine in (database.engine, database.system_engine)]  # type: ignore[attr-defined]
        assert sum(sizes) == most
        assert min(sizes) >= 2


def test_item_42_an_older_login_is_put_out_by_the_second_run(
    postgres: EmbeddedPostgres, fresh_database: FreshDatabase
) -> None:
    """Processes of the release before work with one login for both roles until `migrate` runs again."""
    app, system = Login("older_app"), Login("older_app_system_login")
    can = "SELECT pg_has_role('older_app', %s, 'MEMBER'), pg_has_role('older_app_system_login', %s, 'MEMBER')"
    with psycopg.connect(fresh_database.admin_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE older_app LOGIN NOINHERIT")
        connection.execute(sql.SQL("GRANT {}, {} TO older_app").format(*map(sql.Identifier, (APP_ROLE, SYSTEM_ROLE))))
        for of_app in (True, False, False):
            for statement in login_statements(app, system):
                connection.execute(statement.encode())
            assert connection.execute(can, [SYSTEM_ROLE, SYSTEM_ROLE]).fetchone() == (of_app, True)
            assert connection.execute(can, [APP_ROLE, APP_ROLE]).fetchone() == (True, False)


@pytest.mark.parametrize(
    ("url", "derived"),
    [
        ("postgresql://d@h/db", "postgresql://d_system_login@h/db"),
        (
            "postgresql://d:p%40:w@h:5432/db?sslmode=require",
            "postgresql://d_system_login:p%40:w@h:5432/db?sslmode=require",
        ),
        ("postgresql://d@/db?host=%2Ftmp&port=1", "postgresql://d_system_login@/db?host=%2Ftmp&port=1"),
    ],
)
def test_item_42_the_systems_login_is_derived(url: str, derived: str) -> None:
    assert system_url_of(url) == derived


def test_item_42_a_url_without_a_user_is_refused() -> None:
    with pytest.raises(ValueError, match="names no user"):
        system_url_of("postgresql://h/db")
