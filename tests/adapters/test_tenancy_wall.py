"""Row-level security is the second wall: a forgotten filter returns nothing (design section 4)."""

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import ProgrammingError

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from models.identifiers import new_id
from models.tables import metadata, metrics


async def _add_metric(database: Database, scope: ProjectScope) -> None:
    async with database.transaction(scope) as connection:
        await connection.execute(
            insert(metrics).values(id=new_id(), project_id=scope.project_id, key="api_calls", name="API Calls")
        )


async def test_an_unfiltered_query_sees_only_its_project(database: Database, tenant: ProjectScope) -> None:
    other = ProjectScope(organization_id=new_id(), project_id=new_id())
    await _add_metric(database, tenant)
    await _add_metric(database, other)
    async with database.transaction(tenant) as connection:
        rows = (await connection.execute(select(metrics.c.project_id))).scalars().all()
    assert rows == [tenant.project_id]
    async with database.transaction(SYSTEM) as connection:
        assert len((await connection.execute(select(metrics.c.id))).all()) == 2


async def test_a_row_of_another_project_cannot_be_written(database: Database, tenant: ProjectScope) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"):
        async with database.transaction(tenant) as connection:
            await connection.execute(insert(metrics).values(id=new_id(), project_id=new_id(), key="x", name="X"))


async def test_a_transaction_without_a_scope_sees_nothing(database: Database, tenant: ProjectScope) -> None:
    await _add_metric(database, tenant)
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with database.engine.begin() as connection:
            await connection.execute(select(metrics.c.id))


async def test_every_table_is_behind_the_wall(database: Database) -> None:
    async with database.transaction(SYSTEM) as connection:
        guarded = set(
            (await connection.execute(text("SELECT relname FROM pg_class WHERE relrowsecurity"))).scalars().all()
        )
    assert set(metadata.tables) <= guarded
