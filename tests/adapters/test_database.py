"""Transactions of the hot paths: what travels together is still one transaction."""

import asyncio
from decimal import Decimal

import pytest
from psycopg.errors import DivisionByZero
from sqlalchemy.exc import DataError

from adapters.postgres.database import Database, ProjectScope, driver, with_commit
from models.identifiers import new_id

_ADD = "INSERT INTO metrics (id, project_id, key, name) VALUES (%(id)s, %(project)s, 'api_calls', 'API Calls')"
_NAME_AGAIN = "UPDATE metrics SET name = %(name)s WHERE id = %(id)s"
_COUNT = "SELECT count(*) FROM metrics"
_FAILS = "SELECT 1 / %(zero)s"


async def test_the_first_statement_and_the_last_are_one_transaction_with_the_rest(
    database: Database, tenant: ProjectScope
) -> None:
    names = {"id": new_id(), "project": tenant.project_id}
    async with database.transaction_asking(tenant, (_COUNT, {}), ("SELECT 2", {})) as (connection, (rows, others)):
        assert (rows, others) == ([(0,)], [(2,)])
        async with with_commit(connection) as raw:
            await raw.execute(_ADD, names)
    async with database.transaction_asking(tenant, (_COUNT, {})) as (_, (rows,)):
        assert rows == [(1,)]
    other = ProjectScope(organization_id=new_id(), project_id=new_id())
    async with database.transaction_asking(other, (_COUNT, {})) as (_, (rows,)):
        assert rows == [(0,)]


async def test_more_than_a_socket_holds_at_once_goes_through(database: Database, tenant: ProjectScope) -> None:
    """Neither side may wait for the other while megabytes are still to be sent (psycopg issue 685)."""
    much = {"id": new_id(), "project": tenant.project_id, "name": "x" * 5_000_000}
    measure = "SELECT length(%(name)s::text)"
    async with asyncio.timeout(30):
        async with database.transaction_asking(tenant, (measure, much), (measure, much)) as (connection, rows):
            assert rows == [[(5_000_000,)]] * 2
            async with with_commit(connection) as raw:
                await raw.execute(_ADD.replace("'API Calls'", "%(name)s"), much)
                await raw.execute(_NAME_AGAIN, much)
        async with database.transaction_asking(tenant, (_COUNT, {})) as (_, (rows,)):
            assert rows == [(1,)]


async def _add_and_fail(database: Database, scope: ProjectScope, where: str) -> None:
    names = {"id": new_id(), "project": scope.project_id, "zero": Decimal(0)}
    first = _FAILS if where == "first" else _COUNT
    async with database.transaction_asking(scope, (first, names)) as (connection, _):
        await (await driver(connection)).execute(_ADD, names)
        if where == "body":
            raise ZeroDivisionError("division by zero")
        async with with_commit(connection) as raw:
            await raw.execute(_FAILS, names)


@pytest.mark.parametrize("where", ["first", "body", "last"])
async def test_what_fails_leaves_nothing_behind_and_the_connection_usable(
    database: Database, tenant: ProjectScope, where: str
) -> None:
    own = Database(database.engine.url.render_as_string(hide_password=False), pool_size=1)
    with pytest.raises((DataError, DivisionByZero, ZeroDivisionError), match="division by zero"):
        await _add_and_fail(own, tenant, where)
    async with own.transaction_asking(tenant, (_COUNT, {})) as (_, (rows,)):
        assert rows == [(0,)]
    await own.close()
