"""Third-party systems of a project, what its customers and objects are called there, and what was tried (B178)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Table, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of, paged
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import (
    customers,
    integration_customers,
    integration_mappings,
    integration_syncs,
    integrations,
)

ORDERABLE: Final = {
    "integration_type": integrations.c.integration_type,
    "provider_type": integrations.c.provider_type,
    "status": integrations.c.status,
    "updated_at": integrations.c.updated_at,
}
_now = func.clock_timestamp()
_alive: Final = integrations.c.deleted_at.is_(None)


async def create(tx: Transaction, values: Mapping[str, Any]) -> Row[Any]:
    """Add an integration; ``values`` are columns of ``integrations``.

    Raises ``Problem`` 409 ``integration_exists``: a project has one integration with each provider.
    """
    statement = (
        upsert(integrations)
        .values(id=new_id(), project_id=tx.scope.project_id, **values)
        .on_conflict_do_nothing(
            index_elements=["project_id", "provider_type"], index_where=integrations.c.deleted_at.is_(None)
        )
        .returning(integrations)
    )
    row: Row[Any] | None = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        raise _taken(values["provider_type"])
    await _note(tx, row, "created")
    return row


def _taken(provider: str) -> Exception:
    return conflict("integration_exists", f"This project has an integration with {provider!r} already.")


async def listing(connection: AsyncConnection, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of the project's integrations, newest first, and their number."""
    return await page_of(connection, integrations, page, _alive, orderable=ORDERABLE)


async def get(connection: AsyncConnection, reference: str, *, lock: bool = False) -> Row[Any]:
    """Return an integration by its uuid. Raises ``Problem`` 404."""
    found = parse_id(reference)
    statement = select(integrations).where(integrations.c.id == found, _alive)
    if lock:
        statement = statement.with_for_update()
    row: Row[Any] | None = None if found is None else (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("integration", reference)
    return row


async def change(tx: Transaction, before: Row[Any], values: Mapping[str, Any]) -> Row[Any]:
    """Change columns of an integration that ``get`` locked. Raises ``Problem`` 409 for a provider that is taken."""
    changed = sorted(name for name, value in values.items() if before._mapping[name] != value)
    if not changed:
        return before
    provider = values.get("provider_type", before.provider_type)
    taken = select(integrations.c.id).where(
        integrations.c.provider_type == provider, integrations.c.id != before.id, _alive
    )
    if (await tx.connection.execute(taken)).first() is not None:
        raise _taken(provider)
    statement = update(integrations).where(integrations.c.id == before.id).values(**values, updated_at=_now)
    after: Row[Any] = (await tx.connection.execute(statement.returning(integrations))).one()
    # Settings hold secrets, so only the names of what changed are noted.
    hidden = {name: {"old": "[hidden]", "new": "[hidden]"} for name in changed}
    await _note(tx, after, "updated", changes=hidden)
    return after


async def delete(tx: Transaction, reference: str) -> None:
    """Delete an integration, and forget its settings. Raises ``Problem`` 404."""
    row = await get(tx.connection, reference, lock=True)
    ended = update(integrations).where(integrations.c.id == row.id)
    await tx.connection.execute(ended.values(deleted_at=_now, updated_at=_now, settings={}))
    await _note(tx, row, "deleted")


async def add_customer(tx: Transaction, integration: Row[Any], values: Mapping[str, Any]) -> Row[Any]:
    """Note what a customer is called at the provider. Raises ``Problem`` 409 for a customer that is noted already."""
    row = await _added(tx, integration_customers, {**values, "integration_id": integration.id})
    await _note(tx, integration, "mapped", data={"customer_id": row.customer_id})
    return row


async def add_mapping(tx: Transaction, integration: Row[Any], values: Mapping[str, Any]) -> Row[Any]:
    """Note what an object is called at the provider. Raises ``Problem`` 409 for an object that is noted already."""
    row = await _added(tx, integration_mappings, {**values, "integration_id": integration.id})
    await _note(tx, integration, "mapped", data={row.mappable_type: row.mappable_id})
    return row


async def _added(tx: Transaction, table: Table, values: Mapping[str, Any]) -> Row[Any]:
    statement = upsert(table).values(id=new_id(), project_id=tx.scope.project_id, **values)
    found = await tx.connection.execute(statement.on_conflict_do_nothing().returning(table))
    row: Row[Any] | None = found.one_or_none()
    if row is None:
        raise conflict("integration_mapping_exists", "This is mapped at the integration already.")
    return row


async def customers_of(connection: AsyncConnection, integration_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of the customers that the integration knows, newest first, and their number."""
    return await _listed(connection, integration_customers, integration_id, page)


async def mappings_of(connection: AsyncConnection, integration_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of the objects that the integration knows, newest first, and their number."""
    return await _listed(connection, integration_mappings, integration_id, page)


@dataclass(frozen=True)
class SyncFilter:
    """Which entries of the history are wanted; None leaves a field open."""

    status: str | None = None
    resource_type: str | None = None


async def syncs_of(
    connection: AsyncConnection, integration_id: UUID, page: Page, wanted: SyncFilter
) -> tuple[Sequence[Row[Any]], int]:
    """Return one part of what was tried with the integration, newest first, and the number of it."""
    fields = {name: value for name, value in vars(wanted).items() if value is not None}
    return await _listed(connection, integration_syncs, integration_id, page, fields)


async def _listed(
    connection: AsyncConnection,
    table: Table,
    integration_id: UUID,
    page: Page,
    fields: Mapping[str, str] | None = None,
) -> tuple[Sequence[Row[Any]], int]:
    wanted = [table.c.integration_id == integration_id]
    wanted += [table.c[name] == value for name, value in (fields or {}).items()]
    return await page_of(connection, table, page, *wanted)


async def record_sync(connection: AsyncConnection, scope: ProjectScope, values: Mapping[str, Any]) -> Row[Any]:
    """Write what was tried with an integration and how it ended; it is complete now."""
    statement = insert(integration_syncs).values(id=new_id(), project_id=scope.project_id, completed_at=_now, **values)
    row: Row[Any] = (await connection.execute(statement.returning(integration_syncs))).one()
    return row


async def of_customer(connection: AsyncConnection, customer_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """Give what a customer is called at each integration that has not been deleted, newest first, and their number."""
    joined = integration_customers.join(integrations, integrations.c.id == integration_customers.c.integration_id).join(
        customers, customers.c.id == integration_customers.c.customer_id
    )
    wanted = (integration_customers.c.customer_id == customer_id, _alive)
    total = await connection.scalar(select(func.count()).select_from(joined).where(*wanted))
    chosen = select(
        integration_customers, integrations.c.name.label("integration_name"), integrations.c.provider_type
    ).select_from(joined)
    statement = paged(chosen.where(*wanted), page, integration_customers.c.id)
    return (await connection.execute(statement)).all(), int(total or 0)


async def _note(
    tx: Transaction,
    row: Row[Any],
    action: str,
    *,
    changes: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    await tx.audit(
        resource_type="integration",
        resource_id=row.id,
        action=action,
        title=f"Integration with {row.provider_type} {action}",
        changes=changes,
        data=data,
    )
