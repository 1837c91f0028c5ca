"""A customer on the Growth plan of the quickstart, written straight into Postgres, for tests below the API."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.events import event_months
from models.identifiers import new_id
from models.messages.base import SubscriptionRef
from models.messages.closing import ClosePeriods, InvoiceKind
from models.tables import (
    audit_log,
    customers,
    events,
    invoice_lines,
    invoices,
    metrics,
    outbox,
    payment_attempts,
    plan_charges,
    plan_versions,
    plans,
    subscriptions,
    usage_rollups,
)

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
TIERS = [
    {"up_to": "100000", "unit_price": "0"},
    {"up_to": "1000000", "unit_price": "0.0001"},
    {"up_to": None, "unit_price": "0.00005"},
]


@dataclass
class World:
    """One subscription from 1 April 2026 and what it refers to."""

    database: Database
    scope: ProjectScope
    customer_id: UUID = field(default_factory=new_id)
    metric_id: UUID = field(default_factory=new_id)
    plan_id: UUID = field(default_factory=new_id)
    version_id: UUID = field(default_factory=new_id)
    subscription_id: UUID = field(default_factory=new_id)

    @property
    def ref(self) -> SubscriptionRef:
        """Name the subscription as messages do."""
        return SubscriptionRef(
            organization_id=self.scope.organization_id,
            project_id=self.scope.project_id,
            subscription_id=self.subscription_id,
        )

    async def build(
        self,
        *,
        customer: dict[str, Any] | None = None,
        subscription: dict[str, Any] | None = None,
        fee: str = "49.00",
        currency: str = "usd",
    ) -> "World":
        """Write the rows: metric, plan with a tiered charge and a fee, customer, subscription."""
        project = {"project_id": self.scope.project_id}
        version = {"plan_version_id": self.version_id, "plan_id": self.plan_id, "description": None, **project}
        tiered = {"id": new_id(), "position": 0, "metric_id": self.metric_id, "model": _tiered(), **version}
        flat = {"id": new_id(), "position": 1, "metric_id": None, "model": {"kind": "flat", "amount": fee}, **version}
        rows: list[tuple[Any, dict[str, Any]]] = [
            (metrics, {"id": self.metric_id, "key": "api_calls", "name": "API Calls", **project}),
            (plans, {"id": self.plan_id, "code": "plan_growth", **project}),
            (plan_versions, _version(self, currency) | project),
            (plan_charges, tiered),
            (plan_charges, flat | {"description": "Growth base fee"}),
            (customers, {"id": self.customer_id, "code": "cust_acme", **project, **(customer or {})}),
            (subscriptions, _subscription(self) | project | (subscription or {})),
        ]
        async with self.database.transaction(self.scope) as connection:
            for table, values in rows:
                await connection.execute(insert(table).values(**values))
        return self

    async def use(self, quantity: int, at: datetime = datetime(2026, 4, 15, 12, tzinfo=UTC), **properties: Any) -> None:
        """Record one event of so many calls, with its rollup."""
        identity = new_id()
        async with self.database.transaction(self.scope) as connection:
            await event_months.ensure(connection, [at])
            await connection.execute(
                insert(events).values(
                    project_id=self.scope.project_id,
                    idempotency_key=identity.hex,
                    id=identity,
                    metric_ref="api_calls",
                    value=Decimal(quantity),
                    properties=properties or None,
                    occurred_at=at,
                    source="test",
                    metric_id=self.metric_id,
                    customer_id=self.customer_id,
                    subscription_id=self.subscription_id,
                    status="counted",
                )
            )
            row = upsert(usage_rollups).values(
                subscription_id=self.subscription_id,
                metric_id=self.metric_id,
                day=at.date(),
                project_id=self.scope.project_id,
                value_sum=Decimal(quantity),
                event_count=1,
                value_max=Decimal(quantity),
                value_min=Decimal(quantity),
            )
            await connection.execute(
                row.on_conflict_do_update(
                    constraint=usage_rollups.primary_key,
                    set_={
                        "value_sum": usage_rollups.c.value_sum + row.excluded.value_sum,
                        "event_count": usage_rollups.c.event_count + 1,
                        "value_max": func.greatest(usage_rollups.c.value_max, row.excluded.value_max),
                        "value_min": func.least(usage_rollups.c.value_min, row.excluded.value_min),
                    },
                )
            )

    def close(
        self,
        kind: InvoiceKind = "on_demand",
        *,
        end: datetime = MAY,
        start: datetime = APRIL,
        key: str | None = None,
        **more: Any,
    ) -> ClosePeriods:
        """Make the message that closes a window."""
        return ClosePeriods(
            subscription=self.ref,
            kind=kind,
            start=start,
            end=end,
            at=end,
            billing_key=key or f"{self.subscription_id}:{kind}:{end.isoformat()}",
            **more,
        )

    async def rows(self, table: Any, *conditions: Any) -> list[Any]:
        """Read rows of a table, oldest first."""
        order = table.c.sequence if table is audit_log else table.c.id
        async with self.database.transaction(self.scope) as connection:
            return list((await connection.execute(select(table).where(*conditions).order_by(order))).all())

    async def lines(self, invoice_id: UUID | None) -> list[tuple[str, int]]:
        """Read an invoice's lines as (description, amount)."""
        async with self.database.transaction(self.scope) as connection:
            found = await connection.execute(
                select(invoice_lines.c.description, invoice_lines.c.amount_minor)
                .where(invoice_lines.c.invoice_id == invoice_id)
                .order_by(invoice_lines.c.position)
            )
            return [(row.description, row.amount_minor) for row in found]

    async def invoice(self, invoice_id: UUID | None) -> Any:
        """Read one invoice's row."""
        (row,) = await self.rows(invoices, invoices.c.id == invoice_id)
        return row

    async def actions(self, invoice_id: UUID | None) -> list[str]:
        """Read what the audit log says of an invoice, in order."""
        return [row.action for row in await self.rows(audit_log, audit_log.c.resource_id == invoice_id)]

    async def webhooks(self) -> list[dict[str, Any]]:
        """Read the webhooks that wait in the outbox, in order."""
        return [row.payload for row in await self.rows(outbox, outbox.c.topic == "webhook")]

    async def attempts(self) -> list[Any]:
        """Read every payment attempt."""
        return await self.rows(payment_attempts)

    async def change(self, table: Any, identity: UUID, **values: Any) -> None:
        """Change a row."""
        async with self.database.transaction(self.scope) as connection:
            await connection.execute(update(table).where(table.c.id == identity).values(**values))


def _tiered() -> dict[str, Any]:
    return {"kind": "graduated", "tiers": TIERS}


def _version(world: World, currency: str) -> dict[str, Any]:
    return {
        "id": world.version_id,
        "plan_id": world.plan_id,
        "version": 1,
        "name": "Growth",
        "currency": currency,
        "interval": "monthly",
    }


def _subscription(world: World) -> dict[str, Any]:
    return {
        "id": world.subscription_id,
        "customer_id": world.customer_id,
        "plan_id": world.plan_id,
        "plan_version_id": world.version_id,
        "plan_version": 1,
        "status": "active",
        "interval": "monthly",
        "anchor": APRIL,
        "starts_at": APRIL,
        "bills_automatically_from": APRIL,
        "current_period_start": APRIL,
        "current_period_end": MAY,
    }
