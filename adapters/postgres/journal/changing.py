"""How the rows of simple resources are made, locked, changed and hidden, each with its audit entry."""

from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Row, Table, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.rows import Columns, read_as
from models.identifiers import new_id
from models.problems import conflict, not_found


class Stored(Protocol):
    """A record of a row that has an id."""

    @property
    def id(self) -> UUID:
        """Return the row's uuid."""


_Record = TypeVar("_Record", bound="Stored | Row[Any]")


@dataclass(frozen=True)
class Resource(Generic[_Record]):
    """A table whose rows have a code and may be hidden by `deleted_at`, and what the audit log calls one of them.

    `key` is the column with the code; `record` is what a row is read as, the row itself without it; `shares_keys` lets
    rows that refer to a locked one be inserted meanwhile.
    """

    table: Table
    kind: str
    title: str
    record: type[_Record] | None = None
    key: str = "code"
    shares_keys: bool = False


async def insert_new(tx: Transaction, resource: Resource[_Record], values: Columns) -> _Record | None:
    """Insert a row; `values` are its columns. Returns None, having written nothing, for a code in use."""
    table = resource.table
    statement = (
        insert(table)
        .values(id=new_id(), project_id=tx.scope.project_id, **values)
        .on_conflict_do_nothing(
            index_elements=["project_id", resource.key],
            index_where=table.c["deleted_at"].is_(None) if "deleted_at" in table.c else None,
        )
        .returning(table)
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    return None if row is None else read_as(resource.record, row)


async def create(tx: Transaction, resource: Resource[_Record], values: Columns) -> _Record:
    """Insert a row with its audit entry. Raises `Problem` 409 `<kind>_exists` for a code in use."""
    row = await insert_new(tx, resource, values)
    if row is None:
        article = "an" if resource.title.startswith(("A", "E", "I", "O", "U")) else "a"
        named = f"{article} {resource.title.lower()} with the {resource.key} {values[resource.key]!r}"
        raise conflict(f"{resource.kind}_exists", f"This project has {named} already.")
    await audit_change(tx, resource, row=row, action="created")
    return row


async def locked(connection: AsyncConnection, resource: Resource[_Record], row: _Record) -> _Record:
    """Read a row again and keep others from changing it until the transaction ends.

    Raises `Problem` 404 if it was deleted meanwhile.
    """
    table = resource.table
    statement = select(table).where(table.c.id == row.id)
    if "deleted_at" in table.c:
        statement = statement.where(table.c.deleted_at.is_(None))
    found = (await connection.execute(statement.with_for_update(key_share=resource.shares_keys))).one_or_none()
    if found is None:
        raise not_found(resource.kind, getattr(row, resource.key))
    return read_as(resource.record, found)


async def change(
    tx: Transaction,
    resource: Resource[_Record],
    *,
    row: _Record,
    values: Columns,
    unnoted: Columns | None = None,
) -> _Record:
    """Change columns of a row that `locked` gave; what is as it was is neither written nor noted.

    `unnoted` are columns to write as well if anything changes, which the audit log does not name.
    """
    changes = changes_of(row, values)
    if not changes:
        return row
    table = resource.table
    statement = update(table).where(table.c.id == row.id)
    statement = statement.values(**{**values, **(unnoted or {})}, updated_at=func.clock_timestamp()).returning(table)
    changed = (await tx.connection.execute(statement)).one()
    await audit_change(tx, resource, row=row, action="updated", changes=changes)
    return read_as(resource.record, changed)


def changes_of(row: object, values: Columns) -> dict[str, dict[str, object]]:
    """Return the columns whose value would change, as `changes_between` does."""
    return changes_between({name: getattr(row, name) for name in values}, values)


async def hide(tx: Transaction, resource: Resource[_Record], row: _Record) -> None:
    """Hide a row that `locked` gave, and free its code."""
    table = resource.table
    await tx.connection.execute(update(table).where(table.c.id == row.id).values(deleted_at=func.clock_timestamp()))
    await audit_change(tx, resource, row=row, action="deleted")


async def audit_change(
    tx: Transaction,
    resource: Resource[_Record],
    *,
    row: _Record,
    action: str,
    changes: Columns | None = None,
    data: Columns | None = None,
) -> None:
    """Write the audit entry of what was done to a row, which its title names by the code."""
    await tx.audit(
        resource_type=resource.kind,
        resource_id=row.id,
        action=action,
        title=f"{resource.title} {getattr(row, resource.key)} {action.replace('_', ' ')}",
        changes=changes,
        data=data,
    )
