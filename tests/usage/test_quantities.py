"""The quantity from rollups, edges and events is the pure fold of the same events, whatever order they came in."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.events.ingest_events import IngestEvent, Outcome, Submission
from adapters.postgres.events.ingest_store import ingest
from adapters.postgres.usage import current_totals_store, usage_store
from api.events.ingest_queue import IngestQueue
from billing.aggregations import AGGREGATIONS, CARRY_OVER_AGGREGATIONS, EventValue, aggregation
from billing.numbers import plain
from billing.period import BillingCycle, Period
from models.identifiers import new_id
from models.problems import Problem
from models.tables import (
    customers,
    events,
    metrics,
    plan_charges,
    plan_versions,
    plans,
    subscriptions,
    usage_rollups,
    usage_watermarks,
)

SETS = 100
START = datetime(2025, 1, 1, tzinfo=UTC)
FULL = BillingCycle(interval="monthly", anchor=START, timezone="UTC", alignment="anniversary")


@dataclass
class Meters:
    """One metric of each aggregation, all charged by one plan."""

    database: Database
    scope: ProjectScope
    plan_id: UUID
    version_id: UUID
    metric_ids: dict[str, UUID]

    async def subscription(self, code: str) -> UUID:
        """Make a customer with a subscription."""
        customer_id, subscription_id = new_id(), new_id()
        async with self.database.transaction(self.scope) as connection:
            project = {"project_id": self.scope.project_id}
            await connection.execute(insert(customers).values(id=customer_id, code=code, **project))
            await connection.execute(
                insert(subscriptions).values(
                    id=subscription_id,
                    customer_id=customer_id,
                    plan_id=self.plan_id,
                    plan_version_id=self.version_id,
                    plan_version=1,
                    status="active",
                    interval="monthly",
                    anchor=START,
                    starts_at=START,
                    bills_automatically_from=START,
                    **project,
                )
            )
        return subscription_id

    async def ingest(self, batch: Sequence[IngestEvent]) -> Outcome:
        """Send one batch."""
        (outcome,) = await ingest(self.database, self.scope, [Submission(batch, "events")])
        assert outcome.problem is None
        return outcome


@pytest.fixture
async def meters(database: Database, tenant: ProjectScope) -> Meters:
    made = Meters(database, tenant, new_id(), new_id(), {kind: new_id() for kind in AGGREGATIONS})
    project = {"project_id": tenant.project_id}
    async with database.transaction(tenant) as connection:
        await connection.execute(insert(plans).values(id=made.plan_id, code="plan", **project))
        await connection.execute(
            insert(plan_versions).values(
                id=made.version_id,
                plan_id=made.plan_id,
                version=1,
                name="P",
                currency="usd",
                interval="monthly",
                **project,
            )
        )
        for position, (kind, metric_id) in enumerate(made.metric_ids.items()):
            expression = "value * 2" if kind == "custom" else None
            await connection.execute(
                insert(metrics).values(
                    id=metric_id, key=kind, name=kind, aggregation=kind, expression=expression, **project
                )
            )
            await connection.execute(
                insert(plan_charges).values(
                    id=new_id(),
                    plan_version_id=made.version_id,
                    plan_id=made.plan_id,
                    position=position,
                    metric_id=metric_id,
                    model={"kind": "per_unit", "unit_price": "1"},
                    **project,
                )
            )
    return made


def some_period(chance: random.Random) -> Period:
    """Return a period of up to six days, at midnight or anywhere."""
    start = START + timedelta(days=chance.randrange(200))
    end = start + timedelta(days=chance.randrange(1, 7))
    if chance.random() < 0.7:
        start += timedelta(seconds=chance.randrange(86_400), microseconds=chance.choice((0, 1, 999_999)))
        end = start + timedelta(seconds=chance.choice((1, 3600, 86_400, 200_000, 400_000)))
    return Period(start=start, end=end)


def some_events(chance: random.Random, code: str, kind: str, period: Period) -> list[IngestEvent]:
    """Return events in and around a period, many of them at its edges."""
    instants = [
        period.start,
        period.end,
        period.end - timedelta(microseconds=1),
        period.start - timedelta(microseconds=1),
    ]
    made = []
    for number in range(chance.randrange(12)):
        at = period.start + (period.duration + timedelta(days=2)) * chance.random() - timedelta(days=1)
        value = Decimal(chance.randrange(-400, 4000)).scaleb(-chance.randrange(0, 4))
        made.append(
            IngestEvent(
                metric_ref=kind,
                customer_ref=code,
                key=f"{code}-{kind}-{number}",
                value=plain(value),
                occurred_at=chance.choice([at, at, *instants]),
            )
        )
    return made


def folded(
    kind: str, sent: Sequence[IngestEvent], arrived: dict[str, tuple[datetime, str]], period: Period, carry: bool | None
) -> Decimal:
    folding = aggregation(kind, expression="value * 2" if kind == "custom" else None, carry_over=carry)
    values = []
    for event in sent:
        assert event.key is not None
        assert event.occurred_at is not None
        assert event.value is not None
        received_at, own = arrived[event.key]
        value = folding.value_of(value=Decimal(event.value), properties={})
        values.append(EventValue(key=own, value=value, occurred_at=event.occurred_at, received_at=received_at))
    full = FULL.full_period_containing(period.start)
    return folding.fold(values, period, full if full.covers(period) else None)


async def test_rollups_edges_and_events_give_the_fold(meters: Meters) -> None:
    chance = random.Random(20261121)
    for number in range(SETS):
        code, period = f"customer-{number}", some_period(chance)
        subscription = await meters.subscription(code)
        sent = {kind: some_events(chance, code, kind, period) for kind in AGGREGATIONS}
        stream = [event for each in sent.values() for event in each]
        stream += chance.sample(stream, len(stream) // 3)
        chance.shuffle(stream)
        arrived: dict[str, tuple[datetime, str]] = {}
        while stream:
            batch = [stream.pop() for _ in range(min(len(stream), chance.randrange(1, 30)))]
            outcome = await meters.ingest(batch)
            assert outcome.conflicts == []
            for place, event in enumerate(batch):
                assert event.key is not None
                if place not in outcome.already:
                    assert outcome.received_at is not None
                    arrived[event.key] = (outcome.received_at, str(outcome.id_at(place)))
        carried = CARRY_OVER_AGGREGATIONS if number % 2 else ()
        async with meters.database.transaction(meters.scope) as connection:
            await connection.execute(metrics.update().values(recurring=metrics.c.aggregation.in_(carried)))
            found = await usage_store.metric_usages(connection, subscription, list(meters.metric_ids.values()), period)
        for kind, metric_id in meters.metric_ids.items():
            expected = folded(kind, sent[kind], arrived, period, kind in carried or None)
            assert found[metric_id].quantity == expected, (number, kind, period)
            inside = [event for event in sent[kind] if event.occurred_at and period.contains(event.occurred_at)]
            assert found[metric_id].events == len(inside)


async def test_overlapping_batches_in_any_order_do_not_wait_for_each_other_for_ever(meters: Meters) -> None:
    subscription = await meters.subscription("busy")
    batch = [
        IngestEvent("sum", "busy", key=f"k-{number}", value="1", occurred_at=START + timedelta(hours=number))
        for number in range(200)
    ]
    orders = [random.Random(seed).sample(batch, len(batch)) for seed in range(12)]
    outcomes = await asyncio.gather(*(meters.ingest(order) for order in orders))
    assert sum(outcome.accepted for outcome in outcomes) == 200
    assert all(not outcome.conflicts for outcome in outcomes)
    async with meters.database.transaction(meters.scope) as connection:
        period = Period(start=START, end=START + timedelta(days=30))
        found = await usage_store.metric_usages(connection, subscription, [meters.metric_ids["sum"]], period)
        counted = await connection.scalar(select(func.sum(usage_rollups.c.event_count)))
        stored = await connection.scalar(select(func.count()).select_from(events))
        mark = (await connection.execute(select(usage_watermarks))).one()
    assert found[meters.metric_ids["sum"]].quantity == 200
    assert (counted, stored) == (200, 200)
    assert mark.version > mark.signalled_version


async def test_current_totals_are_cumulative(meters: Meters) -> None:
    subscription = await meters.subscription("acme")
    await meters.ingest([IngestEvent("sum", "acme", value="2", occurred_at=START)])
    month = {"current_period_start": START, "current_period_end": START + timedelta(days=31)}
    totals: list[Any] = []
    for _ in range(2):
        await meters.ingest([IngestEvent("sum", "acme", value="3", occurred_at=START + timedelta(days=1))])
        async with meters.database.transaction(meters.scope) as connection:
            await connection.execute(subscriptions.update().values(**month))
            totals += await current_totals_store.current_totals(connection, [subscription])
    assert [(each.version, each.totals[0].quantity, each.totals[0].events) for each in totals] == [(2, 5, 2), (3, 8, 3)]


async def test_one_poisoned_request_does_not_harm_its_neighbours(meters: Meters) -> None:
    await meters.subscription("acme")
    queue = IngestQueue(meters.database)
    good = [Submission([IngestEvent("sum", "acme", key=f"g-{number}", value="1")], "events") for number in range(5)]
    bad = Submission([IngestEvent("sum", "acme", key="b", value="1" + "0" * 30)], "events")
    answers = await asyncio.gather(*(queue.submit(meters.scope, each) for each in (*good, bad)), return_exceptions=True)
    assert [isinstance(answer, Outcome) for answer in answers] == [True] * 5 + [False]


async def test_what_waits_is_bounded(meters: Meters) -> None:
    await meters.subscription("acme")
    queue = IngestQueue(meters.database, most_waiting_events=20)
    batches = [
        Submission([IngestEvent("sum", "acme", key=f"w-{number}-{place}", value="1") for place in range(10)], "events")
        for number in range(5)
    ]
    answers = await asyncio.gather(*(queue.submit(meters.scope, each) for each in batches), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Problem)]
    assert [(problem.status, problem.headers["Retry-After"]) for problem in refused] == [(429, "1")] * 3
    assert isinstance(await queue.submit(meters.scope, batches[-1]), Outcome)
