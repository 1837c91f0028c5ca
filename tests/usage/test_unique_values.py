"""Different values are counted from what is kept of them as the fold of the same events counts them."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update

from adapters.postgres.catalogue import metric_store
from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.events import backfill_store, correction_store, event_store
from adapters.postgres.events.correction_store import Replacement
from adapters.postgres.events.ingest_events import IngestEvent
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.reports import trend_store
from adapters.postgres.resolver import METRIC, required
from adapters.postgres.usage import unique_count_store, usage_check_store, usage_store
from adapters.postgres.usage.event_slice_store import EventSlice, usage_of_part
from adapters.postgres.usage.quantity_store import Measure
from adapters.postgres.usage.usage_window import window_of
from billing.aggregations import aggregation
from billing.period import Period
from models.identifiers import new_id
from models.tables import metrics, usage_unique_days, usage_uniques
from tests.usage.conftest import Shop
from tests.usage.test_quantities import START, Meters, meters

__all__ = ["meters"]

#: The last three are one value, and the two before them differ only after the 64th byte.
USERS: Sequence[Any] = (
    "ann",
    "bob",
    "",
    "true",
    True,
    "sha256:",
    "é" * 32 + "x",
    "é" * 32 + "y",
    5,
    "5",
    Decimal("5.0"),
)
FIELD = "user"


@pytest.fixture
async def people(meters: Meters) -> UUID:
    """A metric that counts different users."""
    identity = new_id()
    async with meters.database.transaction(meters.scope) as connection:
        values = {"key": "people", "name": "People", "aggregation": "unique_count", "field_name": FIELD}
        await connection.execute(insert(metrics).values(id=identity, project_id=meters.scope.project_id, **values))
    return identity


class Story:
    """Events that come in any order, come again, are corrected, replaced and voided, and what is counted meanwhile."""

    def __init__(self, meters: Meters, metric: UUID, subscription: UUID, seed: int) -> None:
        self.meters, self.metric, self.subscription = meters, metric, subscription
        self.chance = random.Random(seed)
        self.sent: dict[str, IngestEvent] = {}

    def instant(self, start: datetime = START, days: int = 9) -> datetime:
        at = start + timedelta(days=self.chance.randrange(days), seconds=self.chance.randrange(86_400))
        return self.chance.choice((at, max(start, at.replace(hour=0, minute=0, second=0))))

    def content(self) -> tuple[str | None, dict[str, Any]]:
        """Return a value and properties."""
        user = self.chance.choice((*USERS, None))
        if user is None:
            return "7.5", {"other": 1}
        return self.chance.choice(("5", "7.50", None if user else "8")), {FIELD: user}

    def events(self, most: int, start: datetime = START, days: int = 9) -> list[IngestEvent]:
        made = []
        for _ in range(self.chance.randrange(1, most)):
            key, at = f"{self.subscription}-{len(self.sent)}", self.instant(start, days)
            event = IngestEvent("people", None, str(self.subscription), None, key, *self.content(), at)
            self.sent[key] = event
            made.append(event)
        return made

    async def step(self) -> None:
        """Do one thing."""
        keys = sorted(self.sent)
        does = self.chance.choice((self.ingest, self.ingest, self.correct, self.correct, self.correct, self.backfill))
        await (does(keys) if keys else self.ingest(keys))

    async def ingest(self, keys: list[str]) -> None:
        again = [self.sent[key] for key in self.chance.sample(keys, len(keys) // 3)]
        batch = self.events(9) + again
        self.chance.shuffle(batch)
        await self.meters.ingest(batch)

    async def correct(self, keys: list[str]) -> None:
        key = self.chance.choice(keys)
        async with begin(self.meters.database, self.meters.scope, SYSTEM_ACTOR) as tx:
            found = await event_store.find(tx.connection, self.meters.scope.project_id, key)
            if found.status != event_store.COUNTED:
                return
            if self.chance.random() < 0.5:
                await correction_store.void(tx, key, reason=None)
                return
            value, properties = self.content()
            replacement = Replacement(value=value, properties=properties)
            await correction_store.amend(tx, key, replacement=replacement, reason=None)

    async def backfill(self, keys: list[str]) -> None:
        """Replace the events of some days: some stay as they are, some say something else, some are new."""
        start = START + timedelta(days=self.chance.randrange(8), hours=self.chance.choice((0, 7)))
        end = start + timedelta(days=2)
        inside = [key for key in keys if start <= (self.sent[key].occurred_at or start) < end]
        async with begin(self.meters.database, self.meters.scope, SYSTEM_ACTOR) as tx:
            stored = [await event_store.find(tx.connection, self.meters.scope.project_id, key) for key in inside]
            metric = await required(tx.connection, self.meters.scope.project_id, METRIC, str(self.metric))
            kept = [self.sent[row.idempotency_key] for row in stored if row.status == event_store.COUNTED]
            changed = [
                IngestEvent("people", None, one.subscription_ref, None, one.key, *self.content(), one.occurred_at)
                for one in kept
                if self.chance.random() < 0.7
            ]
            fresh = self.events(5, start, 2)
            window = backfill_store.Window(metric, start, end, subscription_id=self.subscription)
            sent = changed + fresh
            await backfill_store.backfill(tx, window, sent=sent, reason="as it was")

    async def check(self) -> None:
        """Count some periods both ways, and the values of each day."""
        measure = Measure("people", None, None, 0, False, aggregation("unique_count", field=FIELD))
        start = self.instant()
        periods = [
            Period(start=START - timedelta(days=1), end=START + timedelta(days=12)),
            Period(start=START + timedelta(days=2), end=START + timedelta(days=4)),
            Period(start=start, end=start + timedelta(seconds=self.chance.randrange(1, 500_000))),
        ]
        async with self.meters.database.transaction(self.meters.scope) as connection:
            for period in periods:
                window = window_of(period.start, period.end)
                values = unique_count_store.Values(
                    self.subscription, self.metric, FIELD, window.first_day, window.end_day, window.edges
                )
                counted = await unique_count_store.unique_count(connection, values)
                events = EventSlice(self.subscription, self.metric, measure, period)
                assert counted == (await usage_of_part(connection, events)).quantity, period
                found = await usage_store.metric_usages(connection, self.subscription, [self.metric], period)
                assert found[self.metric].quantity == counted
            days = trend_store.Days(self.subscription, date(2025, 1, 1), date(2025, 1, 9))
            trend = await trend_store.trend(connection, days, self.metric)
            await connection.execute(update(metrics).values(values_kept=False))
            assert trend == await trend_store.trend(connection, days, self.metric)
            await connection.execute(update(metrics).values(values_kept=True))


async def test_what_is_kept_counts_as_the_fold_does(meters: Meters, people: UUID) -> None:
    for seed in range(5):
        story = Story(meters, people, await meters.subscription(f"customer-{seed}"), seed)
        for _ in range(16):
            await story.step()
            await story.check()
    (checked,) = [
        await usage_check_store.check(meters.database, scope, started_by="test", tell=lambda _: None)
        for scope in await usage_check_store.all_projects(meters.database)
        if scope.project_id == meters.scope.project_id
    ]
    assert (checked.differences, checked.details) == (0, [])
    assert checked.checked > 50


async def test_batches_that_come_at_once_keep_each_value_of_a_day_once(meters: Meters, people: UUID) -> None:
    subscription = await meters.subscription("busy")
    batch = [
        IngestEvent("people", None, str(subscription), None, f"k-{number}", None, {FIELD: f"u{number % 20}"}, at)
        for number in range(200)
        for at in [START + timedelta(hours=number)]
    ]
    parts = [random.Random(seed).sample(batch, 120) for seed in range(10)]
    await asyncio.gather(*(meters.ingest(part) for part in [*parts, batch]))
    async with meters.database.transaction(meters.scope) as connection:
        period = Period(start=START, end=START + timedelta(days=30))
        found = await usage_store.metric_usages(connection, subscription, [people], period)
        pairs = await connection.scalar(select(func.count()).select_from(usage_uniques))
        added = await connection.scalar(select(func.sum(usage_unique_days.c.value_count)))
    assert found[people].quantity == 20
    assert pairs == added == len({(number % 20, number // 24) for number in range(200)})


async def test_a_metric_that_means_something_else_is_read_from_its_events(meters: Meters, people: UUID) -> None:
    subscription = await meters.subscription("acme")
    sent = [{FIELD: "ann", "host": "a"}, {FIELD: "ann", "host": "b"}]
    await meters.ingest(
        [IngestEvent("people", subscription_ref=str(subscription), properties=said, occurred_at=START) for said in sent]
    )
    period = Period(start=START, end=START + timedelta(days=30))
    async with begin(meters.database, meters.scope, SYSTEM_ACTOR) as tx:
        before = await usage_store.metric_usages(tx.connection, subscription, [people], period)
        row = await required(tx.connection, meters.scope.project_id, METRIC, str(people))
        changed = await metric_store.change(tx, row, {"field_name": "host"})
        after = await usage_store.metric_usages(tx.connection, subscription, [people], period)
    assert [before[people].quantity, after[people].quantity] == [1, 2]
    assert changed.values_kept is False


async def test_a_skipped_event_brings_its_value_once_it_counts(shop: Shop, database: Database) -> None:
    await shop.metric("people", aggregation="unique_count", field_name=FIELD)
    await shop.plan(metric="people")
    event = await shop.send(metric_key="people", properties={FIELD: "ann"}, value=None)
    assert (await shop.status_of(event["id"]))[0] == "skipped"
    await shop.customer()
    subscription = await shop.subscription(start_date=datetime.now(UTC).replace(day=1).isoformat())
    assert await shop.units(subscription) == "0"
    answer = await shop.http.post(f"/v1/events/{event['id']}/reprocess", json={})
    assert answer.status_code == 200, answer.text
    assert await shop.units(subscription) == "1"
    async with database.transaction(SYSTEM) as connection:
        assert list(await connection.scalars(select(usage_uniques.c.value_key))) == ["ann"]
