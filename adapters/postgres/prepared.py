"""Statements of the hot paths: composed once with SQLAlchemy, run by the driver as prepared statements.

Building and compiling a statement costs the worker more than Postgres needs to answer it. What every close, every
payment and every flush asks is therefore compiled when the module is loaded.
"""

from collections.abc import Mapping
from typing import Any, Final

from psycopg import AsyncConnection as DriverConnection
from psycopg import AsyncCursor
from psycopg.rows import namedtuple_row
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.elements import ClauseElement

# SQLAlchemy leaves the constructors of its dialects without types.
DIALECT: Final = PGDialect_psycopg()  # type: ignore[no-untyped-call]


class Prepared:
    """A statement with named parameters; rows come back as named tuples."""

    def __init__(self, statement: ClauseElement) -> None:
        compiled = statement.compile(dialect=DIALECT)
        if "__[POSTCOMPILE" in str(compiled):
            msg = "IN (...) of a list has no fixed text: compare with any_(literal(values, ARRAY(...))) instead"
            raise ValueError(msg)
        # The driver remembers only short statements in its converted form.
        self._sql = " ".join(line.strip() for line in str(compiled).splitlines()).encode()
        self._fixed: Mapping[str, Any] = {name: value for name, value in compiled.params.items() if value is not None}

    async def run(self, raw: "DriverConnection[Any]", parameters: Mapping[str, Any]) -> AsyncCursor[Any]:
        """Run it on psycopg's own connection of a transaction (`database.driver`); in a pipeline it is only sent."""
        cursor = raw.cursor(row_factory=namedtuple_row)
        return await cursor.execute(self._sql, {**self._fixed, **parameters}, prepare=True)
