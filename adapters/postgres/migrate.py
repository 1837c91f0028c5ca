"""Bring a database to the newest schema, and ask whether it is there."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from adapters.postgres.database import sqlalchemy_url
from adapters.postgres.schema import Login, login_statements, role_statements

APP = Login("durabill")
SYSTEM = Login("durabill_system_login")
"""The logins of a Postgres on this machine, which asks for no password."""

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def _config(admin_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(admin_url).replace("%", "%%"))
    return config


def create_database(admin_url: str, name: str) -> None:
    """Create the database if it is missing. ``admin_url`` names any database of the server."""
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def upgrade(admin_url: str, *, app: Login = APP, system: Login = SYSTEM) -> None:
    """Create the roles and the two logins, then run every migration that is missing.

    ``admin_url`` is a libpq URL of the owner of the database. Safe to run again, and by several at once.
    """
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=10) as connection:
        for statement in role_statements() + login_statements(app, system):
            connection.execute(statement.encode())
    command.upgrade(_config(admin_url), "head")


def newest_revision() -> str:
    """Name the revision that this code expects."""
    head = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    assert head is not None, "there is at least one migration"
    return head
