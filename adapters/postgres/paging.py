"""Which part of a list is wanted: by offset, or by a cursor that is stable under inserts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ClauseElement, ColumnElement, Executable, FromClause, Row, Select, Table, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles

from models.problems import Problem, invalid

MOST_COUNTED: Final = 10_000
"""Lists of up to so many rows are counted exactly."""


@dataclass(frozen=True)
class Page:
    """``skip`` rows are left out, then at most ``limit`` given; ``after`` is the id of the last row already seen."""

    skip: int = 0
    limit: int = 100
    after: UUID | None = None
    order_by: str | None = None


class Estimate(int):
    """A number of rows that was estimated, because counting them all would take long (C15)."""


class _Explain(Executable, ClauseElement):
    """``EXPLAIN`` of a statement: how many rows the planner expects."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _explained(element: _Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


async def total_of(connection: AsyncConnection, source: FromClause, *wanted: ColumnElement[bool]) -> int:
    """Count the rows of ``source`` that meet all conditions: exactly up to 10,000, beyond as an ``Estimate`` (C15)."""
    found = select(literal(1)).select_from(source).where(*wanted)
    counted = select(func.count()).select_from(found.limit(MOST_COUNTED + 1).subquery())
    total = int(await connection.scalar(counted) or 0)
    if total <= MOST_COUNTED:
        return total
    plan = await connection.scalar(_Explain(found))
    return Estimate(max(total, int(plan[0]["Plan"]["Plan Rows"])))


async def page_of(
    connection: AsyncConnection,
    table: Table,
    page: Page,
    *wanted: ColumnElement[bool],
    rows: Select[Any] | None = None,
    orderable: Mapping[str, ColumnElement[Any]] | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    """Give one part of a table's rows that meet all conditions, ordered as `paged` says, and the number of all of them.

    ``rows`` selects what is shown of each row, and neither adds rows nor leaves some out; None shows all columns.
    """
    total = await total_of(connection, table, *wanted)
    shown = select(table) if rows is None else rows
    statement = paged(shown.where(*wanted), page, table.c.id, orderable)
    return (await connection.execute(statement)).all(), total


def paged(
    statement: Select[Any],
    page: Page,
    key: ColumnElement[Any],
    orderable: Mapping[str, ColumnElement[Any]] | None = None,
) -> Select[Any]:
    """Order and cut a list: newest first by ``key`` (a time-ordered uuid), or as ``order_by=field:asc|desc`` asks.

    ``orderable`` lists what may be ordered by, beside ``created_at``. Raises ``Problem`` 422 for another field, and for
    a cursor together with an order.
    """
    if page.order_by is None:
        if page.after is not None:
            statement = statement.where(key < page.after)
        return statement.order_by(key.desc()).offset(page.skip).limit(page.limit)
    if page.after is not None:
        raise Problem(422, "cursor_with_order", "A cursor goes with the default order; leave out order_by or cursor.")
    column, descending = _order(page.order_by, {"created_at": key, **(orderable or {})})
    ordering = (column.desc(), key.desc()) if descending else (column.asc(), key.asc())
    return statement.order_by(*ordering).offset(page.skip).limit(page.limit)


def _order(order_by: str, orderable: Mapping[str, ColumnElement[Any]]) -> tuple[ColumnElement[Any], bool]:
    field, _, direction = order_by.partition(":")
    if field not in orderable or direction not in ("", "asc", "desc"):
        names = ", ".join(sorted(orderable))
        raise invalid("order_by", f"must be one of {names}, followed by :asc or :desc")
    return orderable[field], direction == "desc"
