"""Rollups by filter bucket: what charges with filters count is what their events say, whatever was changed."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update

from adapters.postgres.catalogue import metric_store
from adapters.postgres.database import SYSTEM, Connection, Database
from adapters.postgres.events import backfill_store, correction_store, event_store
from adapters.postgres.events.correction_store import Replacement
from adapters.postgres.events.event_scope import filter_bucket, filters_of, rollup_dimensions
from adapters.postgres.events.ingest_events import IngestEvent
from adapters.postgres.journal import changing
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.reports import trend_store
from adapters.postgres.resources import Metric
from adapters.postgres.rows import record
from adapters.postgres.usage import usage_check_store, usage_store
from billing.aggregations import EventValue, aggregation
from billing.charges import Charge
from billing.numbers import plain
from billing.period import Period
from billing.scope import Combination, EventScope, PropertyMatch
from models.identifiers import new_id
from models.tables import events, metrics, usage_rollups
from tests.usage.test_quantities import START, Meters, meters, some_period

__all__ = ["meters"]

SETS = 60
ADDITIVE = ("sum", "count", "max", "min")
LISTED: Mapping[str, list[Any]] = {"region": ["eu", "us", "uk"], "tier": ["gold", 5, True]}
SENT: Mapping[str, list[Any]] = {
    "region": ["eu", "us", "uk", "mars", None, ["eu"]],
    "tier": ["gold", 5, Decimal("5.0"), "5", True, "true", 6],
}
TEXTS: Mapping[str, list[str]] = {"region": ["eu", "us", "uk"], "tier": ["gold", "5", "true"]}
DAY = START + timedelta(days=3, hours=10)
MONTH = Period(start=START, end=START + timedelta(days=31))
EU = Combination(matches=(PropertyMatch(key="region", values=("eu",)),))


async def metric_row(connection: Connection, metric_id: UUID) -> Metric:
    return record(Metric, (await connection.execute(select(metrics).where(metrics.c.id == metric_id))).one())


async def add_filter(meters: Meters, kind: str, key: str, values: list[Any]) -> None:
    async with begin(meters.database, meters.scope, SYSTEM_ACTOR) as tx:
        row = await metric_row(tx.connection, meters.metric_ids[kind])
        await metric_store.create_filter(tx, row, key=key, values=values)


async def change_filters(chance: random.Random, meters: Meters, kind: str) -> None:
    """Add, change or remove a filter."""
    key = chance.choice(sorted(LISTED))
    values = chance.sample(LISTED[key], chance.choice((0, 1, 2, 3, 3, 3)))
    async with begin(meters.database, meters.scope, SYSTEM_ACTOR) as tx:
        row = await changing.locked(
            tx.connection, metric_store.RESOURCE, await metric_row(tx.connection, meters.metric_ids[kind])
        )
        own = [each for each in await metric_store.filters_of(tx.connection, row.id) if each.key == key]
        if not own:
            await metric_store.create_filter(tx, row, key=key, values=values)
        elif chance.random() < 0.7:
            await metric_store.change_filter(tx, row, own[0], values=values)
        else:
            await metric_store.delete_filter(tx, row, own[0])


def parts(metric_id: UUID, combinations: Sequence[Combination]) -> list[Charge]:
    """Return the parts of one charge: its filters and its default bucket."""
    scopes = [EventScope(buckets=tuple(combinations), bucket=index) for index in (*range(len(combinations)), None)]
    model = {"kind": "per_unit", "unit_price": 1}
    return [Charge(id=new_id(), metric_id=metric_id, scope=scope, model=model) for scope in scopes]


async def used(meters: Meters, subscription: UUID, charges: Sequence[Charge], period: Period) -> list[tuple[Any, int]]:
    async with meters.database.transaction(meters.scope) as connection:
        found = await usage_store.usages(connection, subscription, charges, period)
    return [(found[charge.id].quantity, found[charge.id].events) for charge in charges]


async def rolled(meters: Meters) -> list[tuple[Any, ...]]:
    columns = usage_rollups.c
    shown = (columns.filters_version, columns.bucket, columns.value_sum, columns.event_count)
    async with meters.database.transaction(meters.scope) as connection:
        rows = await connection.execute(select(*shown, columns.value_max, columns.value_min).order_by(*shown[:2]))
        return [tuple(row) for row in rows]


async def differences(database: Database) -> list[Any]:
    """Return what a check of every project finds."""
    found: list[Any] = []
    for scope in await usage_check_store.all_projects(database):
        one = await usage_check_store.check(database, scope, started_by="test", tell=lambda _: None)
        assert one.differences == len(one.details)
        found += one.details
    return found


@pytest.mark.parametrize(
    ("properties", "bucket"),
    [
        ({"region": "eu", "tier": "gold", "user": "ann"}, {"region": "eu", "tier": "gold"}),
        ({"region": "mars", "tier": 5}, {"tier": "5"}),
        ({"tier": 5.0}, {"tier": "5"}),
        ({"tier": "5"}, {"tier": "5"}),
        ({"tier": True, "region": ["eu"]}, {"tier": "true"}),
        ({"region": None, "tier": {"gold": 1}}, None),
        (None, None),
    ],
)
async def test_a_bucket_names_the_values_that_filters_list(
    meters: Meters, properties: dict[str, Any] | None, bucket: dict[str, str] | None
) -> None:
    for key, values in LISTED.items():
        await add_filter(meters, "sum", key, values)
    statement = f"""
        WITH filters AS ({filters_of("m.id = :metric")})
        SELECT {filter_bucket("e")} FROM (SELECT :metric AS metric_id, CAST(:properties AS jsonb) AS properties) e
    """
    document = None if properties is None else json.dumps(properties)
    async with meters.database.transaction(meters.scope) as connection:
        names = {"metric": meters.metric_ids["sum"], "properties": document}
        found = await connection.scalar(text(statement), names)
    assert (json.loads(found) if found else None) == bucket


class World:
    """What one subscription sent of one metric, as it is after every change, and as the rules would count it."""

    def __init__(self, chance: random.Random, meters: Meters, kind: str, number: int) -> None:
        self.chance = chance
        self.meters = meters
        self.kind = kind
        self.code = f"customer-{number}"
        self.period = some_period(chance)
        self.stored: dict[str, EventValue] = {}
        self.sent = 0

    def properties(self) -> dict[str, Any]:
        chosen = {key: self.chance.choice(values) for key, values in SENT.items() if self.chance.random() < 0.8}
        return {**chosen, "user": self.chance.randrange(9)}

    def value(self) -> Decimal:
        return Decimal(self.chance.randrange(-400, 4000)).scaleb(-self.chance.randrange(0, 4))

    def at(self) -> datetime:
        edges = [self.period.start, self.period.end, self.period.start - timedelta(microseconds=1)]
        within = self.period.start + (self.period.duration + timedelta(days=2)) * self.chance.random()
        return self.chance.choice([within - timedelta(days=1)] * 4 + edges)

    def some_events(self) -> list[IngestEvent]:
        made = []
        for _ in range(self.chance.randrange(1, 9)):
            key, self.sent = f"{self.code}-{self.sent}", self.sent + 1
            value, properties, at = self.value(), self.properties(), self.at()
            made.append(
                IngestEvent(self.kind, self.code, key=key, value=plain(value), properties=properties, occurred_at=at)
            )
            self.stored[key] = EventValue(key=key, value=value, properties=properties, occurred_at=at, received_at=at)
        return made

    async def ingest(self) -> None:
        made = self.some_events()
        await self.meters.ingest([*made, self.chance.choice(made)])

    async def change_filters(self) -> None:
        await change_filters(self.chance, self.meters, self.kind)

    async def amend(self) -> None:
        if not self.stored:
            return
        key = self.chance.choice(sorted(self.stored))
        value, properties = self.value(), self.properties()
        replacement = Replacement(value=plain(value), properties=properties)
        async with begin(self.meters.database, self.meters.scope, SYSTEM_ACTOR) as tx:
            await correction_store.amend(tx, key, replacement=replacement, reason=None)
        self.stored[key] = self.stored[key].model_copy(update={"value": value, "properties": properties})

    async def void(self) -> None:
        if not self.stored:
            return
        key = self.chance.choice(sorted(self.stored))
        async with begin(self.meters.database, self.meters.scope, SYSTEM_ACTOR) as tx:
            await correction_store.void(tx, key, reason=None)
        del self.stored[key]

    async def backfill(self) -> None:
        """Replace a day of this subscription: some events stay, some change, the others go, and one is new."""
        start = self.at()
        window = Period(start=start, end=start + timedelta(days=1))
        inside = {key: each for key, each in self.stored.items() if window.contains(each.occurred_at)}
        kept = self.chance.sample(sorted(inside), len(inside) // 2)
        new = f"{self.code}-{self.sent}"
        self.sent += 1
        sent = []
        for key in (*kept, new):
            at = inside[key].occurred_at if key in inside else start
            value, properties = self.value(), self.properties()
            sent.append(
                IngestEvent(self.kind, self.code, key=key, value=plain(value), properties=properties, occurred_at=at)
            )
            inside[key] = EventValue(key=key, value=value, properties=properties, occurred_at=at, received_at=at)
        async with begin(self.meters.database, self.meters.scope, SYSTEM_ACTOR) as tx:
            row = await metric_row(tx.connection, self.meters.metric_ids[self.kind])
            replaced = backfill_store.Window(row, start, window.end, subscription_id=self.subscription)
            await backfill_store.backfill(tx, replaced, sent=sent, reason="anew")
        self.stored = {key: each for key, each in self.stored.items() if key not in inside}
        self.stored |= {key: inside[key] for key in (*kept, new)}

    async def live(self) -> None:
        """Let anything happen, in any order."""
        self.subscription = await self.meters.subscription(self.code)
        steps = [
            self.ingest,
            self.ingest,
            self.ingest,
            self.amend,
            self.void,
            self.backfill,
            self.change_filters,
            self.change_filters,
        ]
        await self.ingest()
        for _ in range(self.chance.randrange(2, 7)):
            await self.chance.choice(steps)()

    def some_combinations(self) -> list[Combination]:
        found = [EU] if self.chance.random() < 0.5 else []
        for _ in range(self.chance.randrange(2)):
            keys = self.chance.sample(sorted(TEXTS), self.chance.randrange(1, 3))
            found.append(
                Combination(
                    matches=tuple(
                        PropertyMatch(
                            key=key, values=tuple(self.chance.sample(TEXTS[key], self.chance.randrange(1, 3)))
                        )
                        for key in keys
                    )
                )
            )
        return found or [Combination(matches=(PropertyMatch(key="region", values=("mars", "eu")),))]

    def expected(self, charge: Charge, *, carries: bool) -> tuple[Decimal, int]:
        assert charge.scope is not None
        own = [event for event in self.stored.values() if charge.scope.holds(event.properties)]
        folding = aggregation(self.kind, **({"carry_over": True} if carries else {}))
        return folding.fold(own, self.period), sum(self.period.contains(event.occurred_at) for event in own)


async def test_rollups_events_and_rules_count_the_same_whatever_was_changed(meters: Meters) -> None:
    chance = random.Random("filter buckets")
    for number in range(SETS):
        world = World(chance, meters, chance.choice(ADDITIVE), number)
        await world.live()
        metric_id, carries = meters.metric_ids[world.kind], world.kind in ("count", "max") and chance.random() < 0.4
        async with meters.database.transaction(meters.scope) as connection:
            await connection.execute(update(metrics).where(metrics.c.id == metric_id).values(recurring=carries))
        charges = parts(metric_id, world.some_combinations())
        for charge, found in zip(charges, await used(meters, world.subscription, charges, world.period), strict=True):
            assert found == world.expected(charge, carries=carries), (number, world.kind, carries, charge, world.period)
    assert await differences(meters.database) == []


async def test_whole_days_are_read_from_rollups_alone(meters: Meters) -> None:
    subscription = await meters.subscription("acme")
    await add_filter(meters, "sum", "region", ["eu", "us"])
    sent = [("a", "2", "eu"), ("b", "3", "us"), ("c", "5", "mars"), ("d", "7", "eu")]
    await meters.ingest(
        [
            IngestEvent("sum", "acme", key=key, value=value, properties={"region": region}, occurred_at=DAY)
            for key, value, region in sent
        ]
    )
    assert await rolled(meters) == [
        (1, "", 5, 1, 5, 5),
        (1, '{"region": "eu"}', 9, 2, 7, 2),
        (1, '{"region": "us"}', 3, 1, 3, 3),
    ]
    async with meters.database.transaction(SYSTEM) as connection:
        await connection.execute(events.delete())
    charges = parts(meters.metric_ids["sum"], [EU])
    assert await used(meters, subscription, charges, MONTH) == [(9, 2), (8, 2)]
    # Nobody tells Mars apart, so that it would have to be read from the events.
    mars = Combination(matches=(PropertyMatch(key="region", values=("eu", "mars")),))
    assert await used(meters, subscription, parts(meters.metric_ids["sum"], [mars]), MONTH) == [(0, 0), (0, 0)]


async def test_days_from_before_a_change_of_filters_are_read_from_events(meters: Meters) -> None:
    subscription = await meters.subscription("acme")
    for day, key in enumerate(("a", "b", "c", "d")):
        event = IngestEvent(
            "count", "acme", key=key, properties={"region": "eu"}, occurred_at=DAY + timedelta(days=day % 3)
        )
        await meters.ingest([event])
        if key == "b":
            await add_filter(meters, "count", "region", ["eu"])
    # The third day has all of its events from after the change, the first has one from before and one from after.
    assert [row[:2] for row in await rolled(meters)] == [
        (0, ""),
        (0, ""),
        (1, '{"region": "eu"}'),
        (1, '{"region": "eu"}'),
    ]
    charges = parts(meters.metric_ids["count"], [EU])
    assert await used(meters, subscription, charges, MONTH) == [(4, 4), (0, 0)]
    async with meters.database.transaction(SYSTEM) as connection:
        await connection.execute(events.delete())
    assert await used(meters, subscription, charges, MONTH) == [(1, 1), (0, 0)]


async def test_corrections_move_events_from_bucket_to_bucket(meters: Meters) -> None:
    await meters.subscription("acme")
    await add_filter(meters, "sum", "region", ["eu", "us"])
    for key, value, region in (("a", "2", "eu"), ("b", "9", "eu"), ("c", "4", "us")):
        await meters.ingest(
            [IngestEvent("sum", "acme", key=key, value=value, properties={"region": region}, occurred_at=DAY)]
        )
    scope = meters.scope
    async with begin(meters.database, scope, SYSTEM_ACTOR) as tx:
        moved = Replacement(properties={"region": "us"})
        await correction_store.amend(tx, "b", replacement=moved, reason=None)
    assert await rolled(meters) == [(1, '{"region": "eu"}', 2, 1, 2, 2), (1, '{"region": "us"}', 13, 2, 9, 4)]
    async with begin(meters.database, scope, SYSTEM_ACTOR) as tx:
        await correction_store.void(tx, "a", reason=None)
        await correction_store.void(tx, "b", reason=None)
    assert await rolled(meters) == [(1, '{"region": "us"}', 4, 1, 4, 4)]
    # Events of before a change of filters are told apart anew, together with their whole day.
    await add_filter(meters, "sum", "tier", ["gold"])
    await meters.ingest([IngestEvent("sum", "acme", key="d", value="1", properties={"tier": "gold"}, occurred_at=DAY)])
    assert [row[:2] for row in await rolled(meters)] == [(1, '{"region": "us"}'), (2, '{"tier": "gold"}')]
    async with begin(meters.database, scope, SYSTEM_ACTOR) as tx:
        again = Replacement(value="6", properties={"region": "us", "tier": "gold"})
        await correction_store.amend(tx, "c", replacement=again, reason=None)
    assert await rolled(meters) == [
        (2, '{"tier": "gold", "region": "us"}', 6, 1, 6, 6),
        (2, '{"tier": "gold"}', 1, 1, 1, 1),
    ]
    assert await differences(meters.database) == []


async def test_a_skipped_event_is_counted_in_its_bucket(meters: Meters) -> None:
    await add_filter(meters, "sum", "region", ["eu"])
    await meters.ingest([IngestEvent("sum", "late", key="a", value="3", properties={"region": "eu"}, occurred_at=DAY)])
    assert await rolled(meters) == []
    await meters.subscription("late")
    async with begin(meters.database, meters.scope, SYSTEM_ACTOR) as tx:
        await event_store.reprocess(tx, "a")
    assert await rolled(meters) == [(1, '{"region": "eu"}', 3, 1, 3, 3)]


async def test_filters_that_change_while_events_come_in_lose_and_double_nothing(meters: Meters) -> None:
    subscription = await meters.subscription("busy")
    chance = random.Random(5916)
    sent = [
        IngestEvent(
            "sum",
            "busy",
            key=f"k-{number}",
            value="1",
            properties={"region": SENT["region"][number % 4]},
            occurred_at=DAY,
        )
        for number in range(240)
    ]
    batches = [sent[start : start + 20] for start in range(0, len(sent), 20)]
    changes = [change_filters(chance, meters, "sum") for _ in range(6)]

    async def amend(number: int) -> None:
        async with begin(meters.database, meters.scope, SYSTEM_ACTOR) as tx:
            replacement = Replacement(value="3", properties={"region": "uk"})
            await correction_store.amend(tx, f"k-{number}", replacement=replacement, reason=None)

    await meters.ingest(batches[0])
    await asyncio.gather(
        *(meters.ingest(batch) for batch in batches), *changes, *(amend(number) for number in range(4))
    )
    charges = parts(meters.metric_ids["sum"], [EU])
    assert await used(meters, subscription, charges, MONTH) == [(59, 59), (189, 181)]
    assert await differences(meters.database) == []


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({}, {}),
        ({"region": ["us", "eu", "us"], "any": []}, {"region": ["eu", "us"]}),
        ({"tier": [5, Decimal("5.0"), "5", True, None, ["x"]]}, {"tier": ["5", "true"]}),
        # What is too long, and everything behind it
        ({"a": ["x"], "b": ["y" * 1000], "c": ["é" * 500], "d": ["z"]}, {"a": ["x"], "b": ["y" * 1000]}),
        ({"a": ["\n" * 1100], "b": ["x"]}, {}),
    ],
)
def test_filters_tell_apart_what_they_list(filters: dict[str, list[Any]], told: dict[str, list[str]]) -> None:
    assert rollup_dimensions(filters) == told


async def test_values_that_no_index_could_hold_are_not_told_apart(meters: Meters) -> None:
    subscription = await meters.subscription("acme")
    long = "é\n" * 1000
    await add_filter(meters, "sum", "region", ["eu"])
    await add_filter(meters, "sum", "story", [long])
    event = IngestEvent("sum", "acme", key="a", value="3", properties={"region": "eu", "story": long}, occurred_at=DAY)
    await meters.ingest([event])
    assert [row[1] for row in await rolled(meters)] == ['{"region": "eu"}']
    told = Combination(matches=(PropertyMatch(key="story", values=(long,)),))
    charges = parts(meters.metric_ids["sum"], [told])
    assert await used(meters, subscription, charges, MONTH) == [(3, 1), (0, 0)]


async def test_a_check_finds_events_in_the_wrong_bucket(meters: Meters) -> None:
    await meters.subscription("acme")
    await add_filter(meters, "max", "region", ["eu", "us"])
    for key, region in (("a", "eu"), ("b", "us")):
        await meters.ingest(
            [IngestEvent("max", "acme", key=key, value="2", properties={"region": region}, occurred_at=DAY)]
        )
    assert await differences(meters.database) == []
    async with meters.database.transaction(SYSTEM) as connection:
        await connection.execute(update(usage_rollups).where(usage_rollups.c.bucket != "").values(value_sum=3))
        own = usage_rollups.c.bucket == '{"region": "us"}'
        await connection.execute(update(usage_rollups).where(own).values(bucket="", value_sum=2))
    found = await differences(meters.database)
    assert [(each["bucket"], each["events_sum"], each["rollup_sum"]) for each in found] == [
        ("", None, "2"),
        ('{"region": "eu"}', "2", "3"),
        ('{"region": "us"}', "2", None),
    ]


async def test_a_trend_puts_the_parts_of_a_day_together(meters: Meters) -> None:
    subscription = await meters.subscription("acme")
    await add_filter(meters, "max", "region", ["eu", "us"])
    for key, region, value in (("a", "eu", "4"), ("b", "us", "9"), ("c", "mars", "1")):
        await meters.ingest(
            [IngestEvent("max", "acme", key=key, value=value, properties={"region": region}, occurred_at=DAY)]
        )
    days = trend_store.Days(subscription, DAY.date(), DAY.date())
    async with meters.database.transaction(meters.scope) as connection:
        (shown,) = await trend_store.trend(connection, days, meters.metric_ids["max"])
    assert shown == (DAY.date(), Decimal(9), 3)
