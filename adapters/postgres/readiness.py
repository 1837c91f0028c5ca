"""Whether the database is there and has the schema that this code expects."""

from functools import lru_cache
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.migrate import newest_revision
from models.problems import Problem

_NOBODY = ProjectScope(organization_id=UUID(int=0), project_id=UUID(int=0))


async def schema_state(database: Database) -> str:
    """Answer ``ok``, or in a few words what is wrong: unreachable, not migrated, or at another revision."""
    try:
        # The two logins: the tenants' first.
        async with database.transaction(_NOBODY):
            pass
        async with database.transaction(SYSTEM) as connection:
            revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    except Problem:
        return "unreachable"
    except (SQLAlchemyError, psycopg.Error):
        return "not migrated"
    return "ok" if revision == _expected() else f"at revision {revision}, this code expects {_expected()}"


@lru_cache(maxsize=1)
def _expected() -> str:
    return newest_revision()
