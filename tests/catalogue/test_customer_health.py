"""How a customer pays is read from its invoices and payment attempts; the customer's clock decides what is overdue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import update

from adapters.postgres.customers import customer_store
from adapters.postgres.database import SYSTEM, Connection, Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from api.customers.customer_shapes import HealthAnswer
from models.identifiers import new_id
from models.tables import invoices, payment_attempts, test_clocks
from tests.api.conftest import Service
from tests.catalogue.seeds import made, refused

FROZEN = datetime(2030, 1, 1, tzinfo=UTC)


async def _invoice(connection: Connection, scope: ProjectScope, customer: Any, status: str, **values: Any) -> UUID:
    invoice_id = new_id()
    fixed = {
        "id": invoice_id,
        "project_id": scope.project_id,
        "customer_id": customer.id,
        "billing_key": str(invoice_id),
    }
    defaults = {"kind": "period", "currency": "usd", "total_minor": 1250}
    row = {**fixed, **defaults, **values, "status": status}
    row["settled_minor"] = row["total_minor"] if status == "paid" else 0
    await connection.execute(invoices.insert().values(**row))
    return invoice_id


async def _attempt(connection: Connection, scope: ProjectScope, invoice_id: UUID, number: int, status: str) -> None:
    names = {
        "provider": "sandbox",
        "idempotency_key": f"{invoice_id}:{number}",
        "currency": "usd",
        "amount_minor": 1250,
    }
    await connection.execute(
        payment_attempts.insert().values(
            id=new_id(),
            project_id=scope.project_id,
            invoice_id=invoice_id,
            attempt_no=number,
            status=status,
            started_at=FROZEN,
            **names,
        )
    )


async def test_an_unpaid_invoice_is_overdue_once_the_customers_clock_passes_its_due_date(
    database: Database, tenant: ProjectScope
) -> None:
    clock = new_id()
    async with begin(database, tenant, SYSTEM_ACTOR) as tx:
        await tx.connection.execute(
            test_clocks.insert().values(id=clock, project_id=tenant.project_id, frozen_time=FROZEN)
        )
        values = {"code": "c", "test_clock_id": clock}
        customer = await customer_store.create(tx, values)
        await _invoice(tx.connection, tenant, customer, "issued", due_at=FROZEN + timedelta(days=1))
        await _invoice(tx.connection, tenant, customer, "draft")
        paid = await _invoice(tx.connection, tenant, customer, "paid", due_at=FROZEN - timedelta(days=1))
        await _attempt(tx.connection, tenant, paid, 1, "declined")
        await _attempt(tx.connection, tenant, paid, 2, "succeeded")
        before = await customer_store.health(tx.connection, customer)
        await tx.connection.execute(
            update(test_clocks).where(test_clocks.c.id == clock).values(frozen_time=FROZEN + timedelta(days=2))
        )
        after = await customer_store.health(tx.connection, customer)
    assert vars(HealthAnswer.of(before)) == {
        "status": "warning",
        "total_invoices": 2,
        "paid_invoices": 1,
        "overdue_invoices": 0,
        "total_payments": 2,
        "failed_payments": 1,
        "overdue_amount": Decimal(0),
    }
    assert (after.overdue_invoices, after.overdue_amount) == (1, Decimal("12.50"))
    assert HealthAnswer.of(after).status == "critical"


async def test_a_customer_lives_on_a_clock_that_is_ready(service: Service, api: httpx.AsyncClient) -> None:
    project = (await api.get("/v1/projects")).json()[0]
    allowed = await api.patch(f"/v1/projects/{project['id']}", json={"allow_test_clocks": True})
    assert allowed.status_code == 200, allowed.text
    clock = await made(api, "/v1/test_clocks", {"frozen_time": "2030-01-01T00:00:00Z"})
    shown = await made(api, "/v1/customers", {"id": "c", "test_clock_id": clock["id"]})
    assert shown["test_clock_id"] == clock["id"]
    assert (await api.patch("/v1/customers/c", json={"test_clock_id": clock["id"]})).status_code == 200
    async with service.app.state.database.transaction(SYSTEM) as connection:
        await connection.execute(update(test_clocks).values(status="advancing"))
    await refused(api, "/v1/customers", {"id": "d", "test_clock_id": clock["id"]}, 409, "test_clock_advancing")
