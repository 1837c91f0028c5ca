"""The migrations build exactly the schema that the code describes."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from adapters.postgres.database import sqlalchemy_url
from models.tables import metadata
from tests.conftest import FreshDatabase


def test_a_migrated_database_has_nothing_to_add_or_remove(fresh_database: FreshDatabase) -> None:
    engine = create_engine(sqlalchemy_url(fresh_database.admin_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    engine.dispose()
    assert differences == []
