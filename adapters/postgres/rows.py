"""What the stores return: records built from rows, and the names of SQL for the layers that must not speak it."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["AsyncConnection", "Columns", "Row", "SQLAlchemyError", "read_as", "record", "records"]


Columns: TypeAlias = Mapping[str, object]
"""Values by the columns that they are for."""

_Record = TypeVar("_Record", bound="DataclassInstance")
_Any = TypeVar("_Any")


def record(kind: type[_Record], row: Row[*tuple[Any, ...]]) -> _Record:
    """Return a record with the columns of the row that its fields name; other columns are ignored."""
    columns = row._mapping
    return kind(**{name: columns[name] for name in _names(kind)})


def records(kind: type[_Record], rows: Iterable[Row[*tuple[Any, ...]]]) -> tuple[_Record, ...]:
    """Return a record for each row, as `record` does."""
    return tuple(record(kind, row) for row in rows)


def read_as(kind: type[_Any] | None, row: Row[Any]) -> _Any:
    """Return a row as a record of a kind that was chosen elsewhere; the row itself without one."""
    read: Any = row if kind is None else kind(**{name: row._mapping[name] for name in _names(cast(Any, kind))})
    return cast(_Any, read)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
