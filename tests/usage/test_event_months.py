"""Events lie in months of their own time, which are made when needed and detached when nothing of them is open."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select, text

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.events import event_months
from adapters.postgres.events.event_archive import StillOpen, detach
from adapters.postgres.events.ingest_events import IngestEvent, Outcome, Submission
from adapters.postgres.events.ingest_store import ingest
from models.identifiers import new_id
from models.tables import event_keys, events
from tests.conftest import FreshDatabase
from tests.usage.conftest import Shop

NOW = datetime(2026, 11, 15, tzinfo=UTC)


def event(key: str, at: datetime | None, value: str = "1", **more: object) -> IngestEvent:
    return IngestEvent(metric_ref="api_calls", customer_ref="acme", key=key, value=value, occurred_at=at, **more)  # type: ignore[arg-type]


async def send(database: Database, scope: ProjectScope, *sent: IngestEvent) -> Outcome:
    (outcome,) = await ingest(database, scope, [Submission(sent, "events")])
    return outcome


def months_of(fresh: FreshDatabase, schema: str = "event_months") -> list[str]:
    with psycopg.connect(fresh.admin_url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace "
            "AND relname NOT IN ('months', 'past', 'future') ORDER BY 1",
            (schema,),
        )
        return [row[0] for row in found.fetchall()]


async def test_any_legal_time_finds_or_makes_its_month(
    database: Database, tenant: ProjectScope, fresh_database: FreshDatabase
) -> None:
    times = [datetime(1970, 1, 2, tzinfo=UTC), datetime(2019, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
    times += [
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2024, 2, 29, 12, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
    ]
    outcome = await send(database, tenant, *(event(f"k{place}", at) for place, at in enumerate(times)))
    assert outcome.accepted == len(times)
    assert months_of(fresh_database) == ["y2020m01", "y2024m02", "y2026m11"]
    async with database.transaction(tenant) as connection:
        stored = (await connection.execute(select(events.c.occurred_at).order_by(events.c.occurred_at))).scalars().all()
    assert stored == times


async def test_far_times_share_partitions(database: Database, fresh_database: FreshDatabase) -> None:
    """No tenant's test clock or backfill makes the schema grow by thousands of tables."""
    clocks = [datetime(year, month, 1, tzinfo=UTC) for year in (2045, 2046, 2060, 2199) for month in range(1, 13)]
    async with database.transaction(SYSTEM) as connection:
        await event_months.ensure(connection, [datetime(1970, 1, 1, tzinfo=UTC), *clocks])
    assert months_of(fresh_database) == ["y2045", "y2046"]


async def test_the_past_is_detached_like_a_month(
    database: Database, tenant: ProjectScope, fresh_database: FreshDatabase
) -> None:
    await send(database, tenant, event("old", datetime(2010, 5, 1, tzinfo=UTC)))
    cut = datetime(2020, 1, 1, tzinfo=UTC)
    assert [month.name for month in detach(fresh_database.admin_url, cut, now=NOW, close_acceptance=True)] == ["past"]
    refused = await send(database, tenant, event("new", datetime(2010, 5, 2, tzinfo=UTC)))
    assert refused.problem is not None
    assert refused.problem.code == "timestamp_too_old"


async def test_concurrent_requests_make_a_month_once(
    database: Database, tenant: ProjectScope, fresh_database: FreshDatabase
) -> None:
    at = datetime(2023, 5, 5, tzinfo=UTC)
    outcomes = await asyncio.gather(*(send(database, tenant, event(f"k{n % 4}", at)) for n in range(8)))
    assert sum(outcome.accepted for outcome in outcomes) == 4
    assert months_of(fresh_database) == ["y2023m05"]


async def test_the_months_to_come_are_made_ahead(database: Database, fresh_database: FreshDatabase) -> None:
    await event_months.create_partitions_ahead(database, datetime(2026, 10, 31, 23, tzinfo=UTC))
    await event_months.create_partitions_ahead(database, datetime(2026, 10, 31, 23, tzinfo=UTC))
    assert months_of(fresh_database) == ["y2026m10", "y2026m11", "y2026m12", "y2027m01"]


async def test_a_month_that_was_rolled_back_is_made_again(database: Database, tenant: ProjectScope) -> None:
    at = datetime(2022, 3, 1, tzinfo=UTC)
    async with database.transaction(tenant) as connection:
        await event_months.ensure(connection, [at])
        await event_months.ensure(connection, [at])
        await connection.rollback()
    assert (await send(database, tenant, event("k", at))).accepted == 1


async def test_the_months_are_behind_the_wall(database: Database, tenant: ProjectScope) -> None:
    other = ProjectScope(organization_id=new_id(), project_id=new_id())
    await send(database, tenant, event("mine", NOW))
    async with database.transaction(other) as connection:
        assert (await connection.execute(select(events.c.id))).all() == []
        assert (await connection.execute(select(event_keys.c.event_id))).all() == []
    for scope in (tenant, SYSTEM):
        with pytest.raises(Exception, match="permission denied for schema event_months"):
            async with database.transaction(scope) as connection:
                await connection.execute(text("SELECT 1 FROM event_months.y2026m11"))


async def test_a_key_without_a_fingerprint_is_compared_with_its_event(
    database: Database, tenant: ProjectScope, fresh_database: FreshDatabase
) -> None:
    old, later = NOW - timedelta(days=40), NOW - timedelta(days=1)
    await send(database, tenant, event("k0", old, "2.5"), event("k1", later, "2.5"), event("k2", later, "2.5"))
    with psycopg.connect(fresh_database.admin_url) as connection:
        connection.execute("UPDATE event_keys SET fingerprint = NULL")
    again = await send(database, tenant, event("k0", old, "2.50"), event("k1", later, "3"), event("k2", old, "2.5"))
    assert (again.accepted, again.conflicts) == (0, [1, 2])


async def test_a_key_outlives_its_month(
    database: Database, tenant: ProjectScope, fresh_database: FreshDatabase
) -> None:
    old, kept = datetime(2026, 8, 31, 23, 59, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)
    properties = {"region": "eu", "size": 1}
    await send(database, tenant, event("old", old, properties=properties), event("kept", kept))
    with pytest.raises(StillOpen, match="accepts events of any age"):
        detach(fresh_database.admin_url, datetime(2026, 9, 1, tzinfo=UTC), now=NOW)
    with pytest.raises(StillOpen, match="has not begun"):
        detach(fresh_database.admin_url, datetime(2026, 12, 1, tzinfo=UTC), now=NOW, close_acceptance=True)
    for _ in range(2):  # the second finds nothing to do
        detach(fresh_database.admin_url, datetime(2026, 9, 1, tzinfo=UTC), now=NOW, close_acceptance=True)
    assert months_of(fresh_database, "event_archive") == ["y2026m08"]
    async with database.transaction(tenant) as connection:
        assert (await connection.execute(select(events.c.idempotency_key))).scalars().all() == ["kept"]
    retried = await send(database, tenant, event("old", old, "1.0", properties={"size": 1, "region": "eu"}))
    assert (retried.problem, retried.accepted, retried.conflicts) == (None, 0, [])
    for other in (
        event("old", old, "2", properties=properties),
        event("old", old, properties={**properties, "size": 2}),
        event("old", old + timedelta(seconds=1), properties=properties),
    ):
        assert (await send(database, tenant, other)).conflicts == [0]
    refused = await send(database, tenant, event("new", old))
    assert refused.problem is not None
    assert refused.problem.code == "timestamp_too_old"
    assert (await send(database, tenant, event("new", kept))).accepted == 1


async def test_a_projects_window_keeps_its_months(
    database: Database, tenant: ProjectScope, fresh_database: FreshDatabase
) -> None:
    await send(database, tenant, event("old", datetime(2026, 8, 1, tzinfo=UTC)))
    with psycopg.connect(fresh_database.admin_url) as connection:
        connection.execute("UPDATE projects SET settings = jsonb_build_object('event_past_seconds', 86400 * 90)")
    with pytest.raises(StillOpen, match="seconds old"):
        detach(fresh_database.admin_url, datetime(2026, 9, 1, tzinfo=UTC), now=NOW, close_acceptance=True)
    with psycopg.connect(fresh_database.admin_url) as connection:
        connection.execute("UPDATE projects SET settings = jsonb_build_object('event_past_seconds', 86400 * 30)")
    detached = detach(fresh_database.admin_url, datetime(2026, 9, 1, tzinfo=UTC), now=NOW)
    assert [month.name for month in detached] == ["past", "y2026m08"]


async def test_what_is_still_read_keeps_its_months(shop: Shop, fresh_database: FreshDatabase) -> None:
    """A carried level and a period that nobody billed keep theirs; the days of a trial and a carried count do not."""
    old, cut = "2026-08-01T00:00:00Z", datetime(2026, 9, 1, tzinfo=UTC)
    await shop.metric("storage", aggregation="weighted_sum", carry_over=True)
    await shop.metric("seats", aggregation="count", carry_over=True)
    for metric in ("storage", "seats"):
        await shop.plan(f"plan_{metric}", metric=metric)
        await shop.customer(metric)
        await shop.subscription(metric, f"plan_{metric}", trial_ends_at="2026-11-10T00:00:00Z")
        await shop.send(customer_id=metric, metric_key=metric, timestamp=old)
    await shop.ready()
    await shop.send(timestamp=old)
    with psycopg.connect(fresh_database.admin_url) as connection:
        connection.execute("UPDATE subscriptions SET current_period_start = '2026-11-10'")
    with pytest.raises(StillOpen) as refused:
        detach(fresh_database.admin_url, cut, now=NOW, close_acceptance=True)
    carried, unbilled = sorted(refused.value.reasons, key=lambda reason: "no final invoice" in reason)
    assert "'storage' carries over what came before; 1 live subscriptions" in carried
    assert "1 subscriptions have usage since 2026-08-01" in unbilled
    with psycopg.connect(fresh_database.admin_url) as connection:
        connection.execute("DELETE FROM usage_rollups WHERE metric_id IN (SELECT id FROM metrics WHERE key <> 'seats')")
    assert [month.name for month in detach(fresh_database.admin_url, cut, now=NOW, close_acceptance=True)] == [
        "past",
        "y2026m08",
    ]
