"""Alembic's entry: one transaction per migration, serialised by an advisory lock.

A statement that waits for a table longer than ``lock_timeout`` fails and leaves the schema at the revision before:
everybody who comes after it would wait behind it. Each revision sets the same limit again, for whoever runs its SQL
by hand.
"""

from alembic import context
from sqlalchemy import create_engine, text

from models.tables import metadata

_LOCK = 7_021_184_001
_LOCK_TIMEOUT = "SET lock_timeout = '5s'"


def run() -> None:
    """Run the migrations on a live connection."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None
    engine = create_engine(url, connect_args={"connect_timeout": 10})
    with engine.connect() as connection:
        # Whoever migrates at the same time may take longer than a table's lock may.
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.execute(text(_LOCK_TIMEOUT))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
        connection.commit()
    engine.dispose()


run()
