"""What the stores return: records built from rows, and the names of SQL for the layers that must not speak it."""

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["AsyncConnection", "Row", "SQLAlchemyError", "record", "records"]


_Record = TypeVar("_Record", bound="DataclassInstance")


def record(kind: type[_Record], row: Row[*tuple[Any, ...]]) -> _Record:
    """Return a record with the columns of the row that its fields name; other columns are ignored."""
    columns = row._mapping
    return kind(**{name: columns[name] for name in _names(kind)})


def records(kind: type[_Record], rows: Iterable[Row[*tuple[Any, ...]]]) -> tuple[_Record, ...]:
    """Return a record for each row, as `record` does."""
    return tuple(record(kind, row) for row in rows)


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
