"""Item 42a: a foreign key between tables of tenants contains the project, so no row refers to another project's."""

import psycopg
import pytest
from sqlalchemy import Table

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from models.identifiers import new_id
from models.tables import customers, invoices, metadata, payment_methods, projects, usage_corrections
from tests.conftest import FreshDatabase


def _is_tenants(table: Table) -> bool:
    return "project_id" in table.c


def test_item_42a_every_foreign_key_between_tenant_tables_contains_the_project() -> None:
    keys = [
        key
        for table in metadata.tables.values()
        for key in table.foreign_key_constraints
        if _is_tenants(table) and _is_tenants(key.referred_table)
    ]
    assert len(keys) > 40
    loose = [
        key.name
        for key in keys
        if ("project_id", "project_id") not in [(each.parent.name, each.column.name) for each in key.elements]
    ]
    assert loose == []


def test_item_42a_every_foreign_key_was_checked(fresh_database: FreshDatabase) -> None:
    with psycopg.connect(fresh_database.admin_url) as connection:
        found = connection.execute("SELECT conname FROM pg_constraint WHERE contype = 'f' AND NOT convalidated")
        assert found.fetchall() == []


async def test_item_42a_a_row_cannot_point_to_another_projects_row(database: Database, tenant: ProjectScope) -> None:
    other = ProjectScope(tenant.organization_id, new_id())
    foreign = new_id()
    async with database.transaction(SYSTEM) as connection:
        values = {"id": other.project_id, "organization_id": other.organization_id, "name": "Other"}
        await connection.execute(projects.insert().values(values))
        await connection.execute(customers.insert().values(id=foreign, project_id=other.project_id, code="c"))
    method = {"customer_id": foreign, "provider": "stripe", "provider_payment_method_id": "pm_1", "type": "card"}
    for project, is_refused in ((tenant.project_id, True), (other.project_id, False)):
        async with database.transaction(SYSTEM) as connection:
            insert = payment_methods.insert().values(id=new_id(), project_id=project, **method)
            if is_refused:
                with pytest.raises(Exception, match="violates foreign key"):
                    await connection.execute(insert)
            else:
                await connection.execute(insert)


async def test_item_42a_a_deleted_draft_frees_its_corrections_and_keeps_their_project(
    database: Database, tenant: ProjectScope
) -> None:
    """ON DELETE SET NULL names its column: the project of the correction is not emptied with it."""
    customer, invoice, correction = new_id(), new_id(), new_id()
    project = tenant.project_id
    async with database.transaction(tenant) as connection:
        await connection.execute(customers.insert().values(id=customer, project_id=project, code="c"))
        draft = {"kind": "on_demand", "status": "draft", "currency": "usd", "total_minor": 0, "billing_key": "k"}
        await connection.execute(
            invoices.insert().values(id=invoice, project_id=project, customer_id=customer, **draft)
        )
        await connection.execute(
            usage_corrections.insert().values(
                id=correction,
                project_id=project,
                kind="voided",
                event_id=new_id(),
                idempotency_key="e",
                occurred_at="2025-04-01T00:00:00Z",
                actor_type="api_key",
                settled_by=invoice,
            )
        )
        await connection.execute(invoices.delete().where(invoices.c.id == invoice))
        columns = (usage_corrections.c.project_id, usage_corrections.c.settled_by)
        (row,) = (await connection.execute(usage_corrections.select().with_only_columns(*columns))).all()
    assert tuple(row) == (project, None)
