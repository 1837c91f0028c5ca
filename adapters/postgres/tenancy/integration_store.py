"""Third-party systems of a project, what its customers and objects are called there, and what was tried (B178)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope
from adapters.postgres.journal import changing
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of, paged
from adapters.postgres.rows import Columns, read_as, record, records
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
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class Integration:
    """A third-party system of a project; `settings` may hold secrets."""

    id: UUID
    integration_type: str
    provider_type: str
    name: str | None
    status: str
    settings: dict[str, Any]
    last_sync_at: datetime | None
    error_details: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class IntegrationCustomer:
    """What a customer is called at the provider."""

    id: UUID
    integration_id: UUID
    customer_id: UUID
    external_customer_id: str
    settings: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class IntegrationMapping:
    """What an object is called at the provider."""

    id: UUID
    integration_id: UUID
    mappable_type: str
    mappable_id: UUID
    external_id: str
    external_data: dict[str, Any] | None
    last_synced_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class IntegrationSync:
    """One thing that was tried with the provider."""

    id: UUID
    integration_id: UUID
    resource_type: str
    resource_id: UUID | None
    external_id: str | None
    action: str
    status: str
    error_message: str | None
    details: dict[str, Any] | None
    started_at: datetime
    completed_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CustomerIntegration:
    """What a customer is called at one integration, with the integration's name."""

    id: UUID
    integration_id: UUID
    integration_name: str | None
    provider_type: str
    external_customer_id: str
    settings: dict[str, Any] | None
    created_at: datetime


RESOURCE: Final = changing.Resource(integrations, "integration", "Integration with", Integration, key="provider_type")


async def create(tx: Transaction, values: Columns) -> Integration:
    """Add an integration; ``values`` are columns of ``integrations``.

    Raises ``Problem`` 409 ``integration_exists``: a project has one integration with each provider.
    """
    integration = await changing.insert_new(tx, RESOURCE, values)
    if integration is None:
        raise _taken(values["provider_type"])
    await changing.audit_change(tx, RESOURCE, row=integration, action="created")
    return integration


def _taken(provider: object) -> Exception:
    return conflict("integration_exists", f"This project has an integration with {provider!r} already.")


async def listing(connection: AsyncConnection, page: Page) -> tuple[tuple[Integration, ...], int]:
    """Return one part of the project's integrations, newest first, and their number."""
    rows, total = await page_of(connection, integrations, page, _alive, orderable=ORDERABLE)
    return records(Integration, rows), total


async def get(connection: AsyncConnection, reference: str, *, lock: bool = False) -> Integration:
    """Return an integration by its uuid. Raises ``Problem`` 404."""
    found = parse_id(reference)
    statement = select(integrations).where(integrations.c.id == found, _alive)
    if lock:
        statement = statement.with_for_update()
    row = None if found is None else (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("integration", reference)
    return record(Integration, row)


async def change(tx: Transaction, before: Integration, values: Columns) -> Integration:
    """Change columns of an integration that ``get`` locked. Raises ``Problem`` 409 for a provider that is taken."""
    changed = sorted(name for name, value in values.items() if getattr(before, name) != value)
    if not changed:
        return before
    provider = values.get("provider_type", before.provider_type)
    taken = select(integrations.c.id).where(
        integrations.c.provider_type == provider, integrations.c.id != before.id, _alive
    )
    if (await tx.connection.execute(taken)).first() is not None:
        raise _taken(provider)
    statement = update(integrations).where(integrations.c.id == before.id).values(**values, updated_at=_now)
    after = record(Integration, (await tx.connection.execute(statement.returning(integrations))).one())
    # Settings hold secrets, so only the names of what changed are noted.
    hidden = {name: {"old": "[hidden]", "new": "[hidden]"} for name in changed}
    await changing.audit_change(tx, RESOURCE, row=after, action="updated", changes=hidden)
    return after


async def delete(tx: Transaction, reference: str) -> None:
    """Delete an integration, and forget its settings. Raises ``Problem`` 404."""
    row = await get(tx.connection, reference, lock=True)
    ended = update(integrations).where(integrations.c.id == row.id)
    await tx.connection.execute(ended.values(deleted_at=_now, updated_at=_now, settings={}))
    await changing.audit_change(tx, RESOURCE, row=row, action="deleted")


async def add_customer(tx: Transaction, integration: Integration, values: Columns) -> IntegrationCustomer:
    """Note what a customer is called at the provider. Raises ``Problem`` 409 for a customer that is noted already."""
    row = await _added(tx, integration_customers, IntegrationCustomer, {**values, "integration_id": integration.id})
    await changing.audit_change(tx, RESOURCE, row=integration, action="mapped", data={"customer_id": row.customer_id})
    return row


async def add_mapping(tx: Transaction, integration: Integration, values: Columns) -> IntegrationMapping:
    """Note what an object is called at the provider. Raises ``Problem`` 409 for an object that is noted already."""
    row = await _added(tx, integration_mappings, IntegrationMapping, {**values, "integration_id": integration.id})
    await changing.audit_change(
        tx, RESOURCE, row=integration, action="mapped", data={row.mappable_type: row.mappable_id}
    )
    return row


async def _added(tx: Transaction, table: Table, kind: type[_Record], values: Columns) -> _Record:
    statement = upsert(table).values(id=new_id(), project_id=tx.scope.project_id, **values)
    row = (await tx.connection.execute(statement.on_conflict_do_nothing().returning(table))).one_or_none()
    if row is None:
        raise conflict("integration_mapping_exists", "This is mapped at the integration already.")
    return read_as(kind, row)


async def customers_of(
    connection: AsyncConnection, integration_id: UUID, page: Page
) -> tuple[tuple[IntegrationCustomer, ...], int]:
    """Return one part of the customers that the integration knows, newest first, and their number."""
    return await _listed(connection, integration_customers, IntegrationCustomer, integration_id, page)


async def mappings_of(
    connection: AsyncConnection, integration_id: UUID, page: Page
) -> tuple[tuple[IntegrationMapping, ...], int]:
    """Return one part of the objects that the integration knows, newest first, and their number."""
    return await _listed(connection, integration_mappings, IntegrationMapping, integration_id, page)


@dataclass(frozen=True)
class SyncFilter:
    """Which entries of the history are wanted; None leaves a field open."""

    status: str | None = None
    resource_type: str | None = None


async def syncs_of(
    connection: AsyncConnection, integration_id: UUID, page: Page, wanted: SyncFilter
) -> tuple[tuple[IntegrationSync, ...], int]:
    """Return one part of what was tried with the integration, newest first, and the number of it."""
    fields = {name: value for name, value in vars(wanted).items() if value is not None}
    return await _listed(connection, integration_syncs, IntegrationSync, integration_id, page, **fields)


async def _listed(
    connection: AsyncConnection, table: Table, kind: type[_Record], integration_id: UUID, page: Page, **fields: str
) -> tuple[tuple[_Record, ...], int]:
    wanted = [table.c.integration_id == integration_id, *(table.c[name] == value for name, value in fields.items())]
    rows, total = await page_of(connection, table, page, *wanted)
    return tuple(read_as(kind, row) for row in rows), total


async def record_sync(connection: AsyncConnection, scope: ProjectScope, values: Columns) -> None:
    """Write what was tried with an integration and how it ended; it is complete now."""
    statement = insert(integration_syncs).values(id=new_id(), project_id=scope.project_id, completed_at=_now, **values)
    await connection.execute(statement)


async def of_customer(
    connection: AsyncConnection, customer_id: UUID, page: Page
) -> tuple[tuple[CustomerIntegration, ...], int]:
    """Return what a customer is called at each integration that is not deleted, newest first, and their number."""
    joined = integration_customers.join(integrations, integrations.c.id == integration_customers.c.integration_id).join(
        customers, customers.c.id == integration_customers.c.customer_id
    )
    wanted = (integration_customers.c.customer_id == customer_id, _alive)
    total = await connection.scalar(select(func.count()).select_from(joined).where(*wanted))
    chosen = select(
        integration_customers, integrations.c.name.label("integration_name"), integrations.c.provider_type
    ).select_from(joined)
    statement = paged(chosen.where(*wanted), page, integration_customers.c.id)
    return records(CustomerIntegration, await connection.execute(statement)), int(total or 0)
