"""Subscriptions as the API makes them, rows and outbox row alike, written straight to Postgres."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal import outbox_store
from billing.period import BillingCycle, Interval
from billing.subscriptions import lifecycle
from billing.subscriptions.subscription import SubscriptionState, TestClock
from models.identifiers import new_id, subscription_workflow_id
from models.messages.base import SubscriptionRef
from models.tables import customers, metrics, plan_charges, plan_versions, plans, subscriptions, usage_watermarks


@dataclass
class Catalogue:
    """One plan with a flat fee of 49.00 USD and a metered charge of 0.01 a call, in one project."""

    database: Database
    scope: ProjectScope
    plan_id: UUID = field(default_factory=new_id)
    version_id: UUID = field(default_factory=new_id)
    metric_id: UUID = field(default_factory=new_id)
    interval: Interval = "monthly"

    async def build(self) -> "Catalogue":
        """Write the rows."""
        async with self.database.transaction(self.scope) as connection:
            await self._insert(connection, metrics, id=self.metric_id, key=f"calls_{self.metric_id.hex}", name="Calls")
            await self._insert(connection, plans, id=self.plan_id, code=f"plan_{self.plan_id.hex}")
            await self.version(connection, 1, self.version_id, fee="49.00")
        return self

    async def version(self, connection: AsyncConnection, number: int, version_id: UUID, *, fee: str) -> None:
        """Write one version of the plan."""
        names = {"version": number, "name": "Growth", "currency": "usd", "interval": self.interval}
        await self._insert(connection, plan_versions, id=version_id, plan_id=self.plan_id, **names)
        models = ((None, {"kind": "flat", "amount": fee}), (self.metric_id, {"kind": "per_unit", "unit_price": "0.01"}))
        for position, (metric_id, model) in enumerate(models):
            charge = {"plan_version_id": version_id, "plan_id": self.plan_id, "position": position}
            await self._insert(connection, plan_charges, id=new_id(), metric_id=metric_id, model=model, **charge)

    async def new_version(self, number: int, *, fee: str) -> UUID:
        """Add a version with another fee; returns its id."""
        version_id = new_id()
        async with self.database.transaction(self.scope) as connection:
            await self.version(connection, number, version_id, fee=fee)
        return version_id

    async def clock(self, frozen_time: datetime) -> UUID:
        """Make a test clock; returns its id."""
        async with self.database.transaction(self.scope) as connection:
            row = await clock_store.create(
                connection, project_id=self.scope.project_id, name="clock", frozen_time=frozen_time
            )
        return UUID(str(row.id))

    async def customer(self, *, card: str | None = "card_ok", clock_id: UUID | None = None, **more: Any) -> UUID:
        """Write a customer, paying with a sandbox card unless `card` is None; returns its id."""
        customer_id = new_id()
        values = {"code": f"cust_{customer_id.hex}", "test_clock_id": clock_id, **more}
        if card is not None:
            values |= {"payment_provider": "sandbox", "payment_provider_customer_id": card}
        async with self.database.transaction(self.scope) as connection:
            await self._insert(connection, customers, id=customer_id, **values)
        return customer_id

    def state(
        self, customer_id: UUID, starts_at: datetime, *, at: datetime, frozen: datetime | None = None, **more: Any
    ) -> SubscriptionState:
        """Return the state of a new subscription, created at `at`."""
        trial_ends_at: datetime | None = more.get("trial_ends_at")
        cycle = BillingCycle(
            interval=self.interval, anchor=trial_ends_at or starts_at, timezone="UTC", alignment="anniversary"
        )
        bare = SubscriptionState(
            organization_id=self.scope.organization_id,
            project_id=self.scope.project_id,
            subscription_id=new_id(),
            customer_id=customer_id,
            plan_id=self.plan_id,
            plan_code="growth",
            plan_version_id=self.version_id,
            plan_version=1,
            cycle=cycle,
            status="pending",
            starts_at=starts_at,
            bills_automatically_from=max(starts_at, at),
            clock=TestClock(frozen_time=frozen, advanced_to=frozen) if frozen else None,
            **more,
        )
        return lifecycle.created(bare, at=at)

    async def subscribe(self, *states: SubscriptionState, clock_id: UUID | None = None) -> list[str]:
        """Write subscriptions and the outbox rows of their starts in one transaction; returns the workflow ids."""
        async with self.database.transaction(self.scope) as connection:
            for state in states:
                await self._insert(connection, subscriptions, **row_of(state), test_clock_id=clock_id)
            return [await outbox_store.enqueue_subscription_start(connection, state) for state in states]

    async def _insert(self, connection: AsyncConnection, table: Any, **values: Any) -> None:
        await connection.execute(insert(table).values(project_id=self.scope.project_id, **values))

    async def rows(self, table: Any, *conditions: Any) -> list[Any]:
        """Read rows of a table, oldest first."""
        async with self.database.transaction(self.scope) as connection:
            return list((await connection.execute(select(table).where(*conditions).order_by(table.c.id))).all())

    async def marks(self) -> list[Any]:
        """Read the usage marks."""
        async with self.database.transaction(self.scope) as connection:
            return list((await connection.execute(select(usage_watermarks))).all())

    async def row(self, table: Any, identity: UUID) -> Any:
        """Read one row."""
        (found,) = await self.rows(table, table.c.id == identity)
        return found


def row_of(state: SubscriptionState) -> dict[str, Any]:
    """Return the subscription's row as the API would insert it."""
    period = state.period
    return {
        "id": state.subscription_id,
        "customer_id": state.customer_id,
        "plan_id": state.plan_id,
        "plan_version_id": state.plan_version_id,
        "plan_version": state.plan_version,
        "status": state.status,
        "interval": state.cycle.interval,
        "anchor": state.cycle.anchor,
        "starts_at": state.starts_at,
        "bills_automatically_from": state.bills_automatically_from,
        "trial_ends_at": state.trial_ends_at,
        "current_period_start": period.start if period else None,
        "current_period_end": period.end if period else None,
    }


def ref_of(state: SubscriptionState) -> SubscriptionRef:
    """Name a subscription as messages do."""
    return SubscriptionRef(
        organization_id=state.organization_id, project_id=state.project_id, subscription_id=state.subscription_id
    )


def workflow_id_of(state: SubscriptionState) -> str:
    """Name the workflow of a subscription."""
    return subscription_workflow_id(state.project_id, state.subscription_id)


def soon_due(seconds: float, *, interval: Interval = "monthly") -> tuple[datetime, datetime]:
    """Return a start whose first period ends so many seconds from now, and an instant inside that period."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    assert interval == "monthly", "the other intervals are not needed here"
    year, month = (end.year, end.month - 1) if end.month > 1 else (end.year - 1, 12)
    start = end.replace(year=year, month=month, day=min(end.day, 28))
    return start, start
