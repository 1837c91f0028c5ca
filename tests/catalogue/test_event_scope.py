"""The parts of a charge with filters share the events: each is priced once, in SQL as in the rules (B51)."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from adapters.postgres.catalogue.plan_store import charges_of_version
from adapters.postgres.catalogue.plan_write_store import ChargeDraft, FilterDraft, VersionDraft, create
from adapters.postgres.database import Connection, Database, ProjectScope
from adapters.postgres.events import event_months
from adapters.postgres.events.event_scope import DEFAULT_BUCKET, bucket_expression, group_expressions
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.usage.usage_store import usages
from billing.charges import Charge, PerUnit
from billing.period import Period
from billing.rating import rate
from billing.scope import Combination, EventScope, PropertyMatch, group_of
from models.identifiers import new_id
from models.tables import customers, events, metric_filters, metrics, subscriptions

APRIL = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))
EU = Combination(matches=(PropertyMatch(key="region", values=("eu", "5")),))
US = Combination(matches=(PropertyMatch(key="region", values=("us", "true", "eu")),))
GOLD_EU = Combination(
    matches=(PropertyMatch(key="region", values=("eu", "true")), PropertyMatch(key="tier", values=("gold",)))
)
SCOPES = tuple(EventScope(buckets=(US, EU, GOLD_EU), bucket=bucket) for bucket in (0, 1, 2, None))
VALUES = ("eu", "us", "mars", 5, Decimal("5.0"), "5", "5.0", True, "true", None, ["eu"])
PROPERTIES: list[dict[str, Any]] = [
    *({"region": value} for value in VALUES),
    *({"region": value, "tier": "gold"} for value in VALUES),
    {},
    {"other": "eu"},
    {"tier": "gold"},
]


@pytest.mark.parametrize("properties", [*PROPERTIES, None], ids=str)
async def test_one_part_of_the_charge_holds_each_event(database: Database, properties: dict[str, Any] | None) -> None:
    held = [scope.holds(properties or {}) for scope in SCOPES]
    assert held.count(True) == 1
    document = None if properties is None else json.dumps(properties, default=lambda value: json.loads(str(value)))
    bucket, binds = bucket_expression(SCOPES[0].buckets)
    groups, group_binds = group_expressions(["tier", "region"])
    row = "(SELECT CAST(:document AS jsonb) AS properties) event"
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(f"SELECT {bucket}, {', '.join(groups)} FROM {row}"), {"document": document, **binds, **group_binds}
        )
        counted_in, region, tier = found.one()
    wanted = SCOPES[held.index(True)].bucket
    assert counted_in == (DEFAULT_BUCKET if wanted is None else wanted)
    assert (("region", region), ("tier", tier)) == group_of(["tier", "region"], properties or {})


async def _insert(connection: Connection, table: Any, scope: ProjectScope, **values: Any) -> UUID:
    row_id = new_id()
    await connection.execute(table.insert().values(id=row_id, project_id=scope.project_id, **values))
    return row_id


async def _filtered_plan(connection: Connection, scope: ProjectScope) -> tuple[UUID, tuple[Charge, ...], Any]:
    """Make a plan that prices calls at 25, those of the EU at 10; returns the metric, the charges and the version."""
    metric = await _insert(connection, metrics, scope, key="calls", name="Calls", aggregation="count")
    region = await _insert(connection, metric_filters, scope, metric_id=metric, key="region", values=["eu", "us"])
    eu = FilterDraft(
        metric_filter_ids=(region,),
        combination=Combination(matches=(PropertyMatch(key="region", values=("eu",)),)),
        model=PerUnit(unit_price=Decimal(10)),
        supplied={"amount": "10"},
    )
    charge = ChargeDraft(model=PerUnit(unit_price=Decimal(25)), metric_id=metric, filters=(eu,))
    draft = VersionDraft(name="P", currency="usd", interval="monthly", base_amount=Decimal(7), charges=(charge,))
    found = await create(Transaction(connection, scope, SYSTEM_ACTOR), draft, code="p")
    return metric, await charges_of_version(connection, found.plan.version_id), found.plan


async def _subscription(connection: Connection, scope: ProjectScope, plan: Any) -> UUID:
    customer = await _insert(connection, customers, scope, code="c")
    instants = dict.fromkeys(("anchor", "starts_at", "bills_automatically_from"), APRIL.start)
    owners = {"customer_id": customer, "plan_id": plan.id, "plan_version_id": plan.version_id, "plan_version": 1}
    return await _insert(connection, subscriptions, scope, **owners, **instants, status="active", interval="monthly")


async def test_b51_events_of_a_filter_are_billed_at_its_price(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        metric, charges, plan = await _filtered_plan(connection, tenant)
        subscription = await _subscription(connection, tenant, plan)
        await event_months.ensure(connection, [APRIL.start])
        for number, region in enumerate(["eu", "eu", "eu", "us", None]):
            await _insert(
                connection,
                events,
                tenant,
                idempotency_key=str(number),
                metric_ref="calls",
                metric_id=metric,
                subscription_id=subscription,
                properties={"region": region},
                occurred_at=APRIL.start + timedelta(days=number),
                source="test",
                status="counted",
            )
        used = await usages(connection, subscription, charges, APRIL)
    lines = rate(charges, used, period=APRIL, full_period=APRIL, currency="usd")
    assert [(line.description, line.amount_minor) for line in lines] == [
        ("P base fee", 700),
        ("Calls — usage (2 calls)", 5000),
        ("Calls (region: eu) — usage (3 calls)", 3000),
    ]
    assert [used[charge.id].events for charge in charges if charge.metered] == [2, 3]
