"""Which part of a list is wanted: by offset, or by a cursor that is stable under inserts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from models.problems import Problem, invalid


@dataclass(frozen=True)
class Page:
    """``skip`` rows are left out, then at most ``limit`` given; ``after`` is the id of the last row already seen."""

    skip: int = 0
    limit: int = 100
    after: UUID | None = None
    order_by: str | None = None


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
    total = await connection.scalar(select(func.count()).select_from(table).where(*wanted))
    shown = select(table) if rows is None else rows
    statement = paged(shown.where(*wanted), page, table.c.id, orderable)
    return (await connection.execute(statement)).all(), int(total or 0)


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
