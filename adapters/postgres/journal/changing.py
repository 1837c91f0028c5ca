"""How the rows of simple resources are locked and changed: one row, one audit entry for what really changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Table, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from models.problems import not_found


@dataclass(frozen=True)
class Resource:
    """A table whose rows have a `code` and may be hidden by `deleted_at`, and what the audit log calls one of them.

    `shares_keys` lets rows that refer to a locked one be inserted meanwhile.
    """

    table: Table
    kind: str
    title: str
    shares_keys: bool = False


async def locked(connection: AsyncConnection, resource: Resource, row: Row[Any]) -> Row[Any]:
    """Read a row again and keep others from changing it until the transaction ends.

    Raises `Problem` 404 if it was deleted meanwhile.
    """
    table = resource.table
    statement = select(table).where(table.c.id == row.id)
    if "deleted_at" in table.c:
        statement = statement.where(table.c.deleted_at.is_(None))
    found = (await connection.execute(statement.with_for_update(key_share=resource.shares_keys))).one_or_none()
    if found is None:
        raise not_found(resource.kind, row.code)
    return found


async def change(
    tx: Transaction,
    resource: Resource,
    *,
    row: Row[Any],
    values: Mapping[str, Any],
) -> Row[Any]:
    """Change columns of a row that `locked` gave; what is as it was is neither written nor noted."""
    changes = changes_between(row._asdict(), values)
    if not changes:
        return row
    table = resource.table
    statement = update(table).where(table.c.id == row.id).values(**values, updated_at=func.clock_timestamp())
    changed: Row[Any] = (await tx.connection.execute(statement.returning(table))).one()
    await audit_change(tx, resource, row=row, action="updated", changes=changes)
    return changed


async def audit_change(
    tx: Transaction,
    resource: Resource,
    *,
    row: Row[Any],
    action: str,
    changes: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write the audit entry of a row that was created, updated or deleted."""
    await tx.audit(
        resource_type=resource.kind,
        resource_id=row.id,
        action=action,
        title=f"{resource.title} {row.code} {action}",
        changes=changes,
        data=data,
    )
