"""Alembic's entry: one transaction per migration, serialised by an advisory lock."""

from alembic import context
from sqlalchemy import create_engine, text

from models.tables import metadata

_LOCK = 7_021_184_001


def run() -> None:
    """Run the migrations on a live connection."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    engine = create_engine(url, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
        connection.commit()
    engine.dispose()


run()
