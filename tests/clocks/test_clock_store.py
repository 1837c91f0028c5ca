"""Test clocks in Postgres: forward only, ready when the last subscription arrives, still while something is created."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.paging import Page
from models.identifiers import new_id, shown_id
from models.problems import Problem
from models.tables import customers, outbox, plan_versions, plans, subscriptions

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)


async def make_clock(database: Database, tenant: ProjectScope, at: datetime = JANUARY) -> UUID:
    async with database.transaction(tenant) as connection:
        made: UUID = (await clock_store.create(connection, project_id=tenant.project_id, name="t", frozen_time=at)).id
    return made


async def make_subscriptions(database: Database, tenant: ProjectScope, clock_id: UUID, count: int) -> list[UUID]:
    project = {"project_id": tenant.project_id}
    customer, plan, version = new_id(), new_id(), new_id()
    made = [new_id() for _ in range(count)]
    async with database.transaction(tenant) as connection:
        await connection.execute(insert(customers).values(id=customer, code="c", test_clock_id=clock_id, **project))
        await connection.execute(insert(plans).values(id=plan, code="p", **project))
        await connection.execute(
            insert(plan_versions).values(
                id=version, plan_id=plan, version=1, name="P", currency="usd", interval="monthly", **project
            )
        )
        for subscription_id in made:
            await connection.execute(
                insert(subscriptions).values(
                    id=subscription_id,
                    customer_id=customer,
                    plan_id=plan,
                    plan_version_id=version,
                    plan_version=1,
                    status="active",
                    interval="monthly",
                    anchor=JANUARY,
                    starts_at=JANUARY,
                    bills_automatically_from=JANUARY,
                    test_clock_id=clock_id,
                    clock_reached_at=JANUARY,
                    **project,
                )
            )
    return made


async def advance(database: Database, tenant: ProjectScope, clock_id: UUID, target: datetime) -> list[UUID]:
    async with database.transaction(tenant) as connection:
        _, called = await clock_store.advance(connection, tenant.project_id, str(clock_id), target)
    return called


async def arrive(database: Database, tenant: ProjectScope, subscription_id: UUID, at: datetime) -> bool:
    async with database.transaction(tenant) as connection:
        return await clock_store.reached(connection, subscription_id, at)


async def read(database: Database, tenant: ProjectScope, clock_id: UUID) -> Any:
    async with database.transaction(tenant) as connection:
        return await clock_store.find(connection, tenant.project_id, shown_id("test_clock", clock_id))


async def test_a_clock_without_subscriptions_arrives_at_once(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    assert await advance(database, tenant, clock_id, FEBRUARY) == []
    clock = await read(database, tenant, clock_id)
    assert (clock.status, clock.frozen_time, clock.target_time) == ("ready", FEBRUARY, None)


async def test_it_is_ready_when_the_last_subscription_arrives(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    first, second = await make_subscriptions(database, tenant, clock_id, 2)
    assert await advance(database, tenant, clock_id, FEBRUARY) == [first, second]
    assert not await arrive(database, tenant, first, FEBRUARY)
    assert not await arrive(database, tenant, first, FEBRUARY), "twice is harmless"
    assert not await arrive(database, tenant, second, JANUARY), "not far enough"
    clock = await read(database, tenant, clock_id)
    assert (clock.status, clock.frozen_time) == ("advancing", JANUARY)
    async with database.transaction(tenant) as connection:
        progress = await clock_store.progress(connection, [clock_id])
        assert progress[clock_id] == clock_store.Progress(subscriptions=2, reached=1)
        assert await clock_store.now(connection, clock_id) == JANUARY
    assert await arrive(database, tenant, second, FEBRUARY)
    clock = await read(database, tenant, clock_id)
    assert (clock.status, clock.frozen_time, clock.target_time) == ("ready", FEBRUARY, None)


async def test_arrivals_at_the_same_time_leave_no_clock_behind(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    made = await make_subscriptions(database, tenant, clock_id, 4)
    for month in range(2, 6):
        target = datetime(2026, month, 1, tzinfo=UTC)
        await advance(database, tenant, clock_id, target)
        arrivals = await asyncio.gather(*(arrive(database, tenant, one, target) for one in made))
        assert any(arrivals)
        assert (await read(database, tenant, clock_id)).frozen_time == target


async def test_the_signals_are_written_with_the_advance(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    await advance(database, tenant, clock_id, FEBRUARY)
    async with database.transaction(tenant) as connection:
        row = (await connection.execute(select(outbox))).one()
    assert row.ordering_key == f"subscription/{tenant.project_id}/{only}"
    assert (row.payload["signal"], row.payload["message"]) == (
        "clock_advanced",
        {"frozen_time": "2026-02-01T00:00:00Z"},
    )


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (JANUARY - timedelta(seconds=1), 422, "clock_backwards"),
        (JANUARY + timedelta(days=365 * 11), 422, "clock_too_far"),
    ],
)
async def test_time_goes_forward_in_steps_of_at_most_ten_years(
    database: Database, tenant: ProjectScope, target: datetime, status: int, code: str
) -> None:
    clock_id = await make_clock(database, tenant)
    with pytest.raises(Problem) as refused:
        await advance(database, tenant, clock_id, target)
    assert (refused.value.status, refused.value.code) == (status, code)


async def test_nothing_may_happen_in_the_middle_of_time_travel(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    await make_subscriptions(database, tenant, clock_id, 1)
    await advance(database, tenant, clock_id, FEBRUARY)
    for forbidden in (
        lambda connection: clock_store.advance(connection, tenant.project_id, str(clock_id), FEBRUARY),
        lambda connection: clock_store.locked_now(connection, clock_id),
        lambda connection: clock_store.delete(connection, tenant.project_id, str(clock_id)),
    ):
        with pytest.raises(Problem, match="test_clock_advancing"):
            async with database.transaction(tenant) as connection:
                await forbidden(connection)


async def test_one_that_ended_does_not_hold_the_clock_back(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    await advance(database, tenant, clock_id, FEBRUARY)
    async with database.transaction(tenant) as connection:
        await connection.execute(
            subscriptions.update()
            .where(subscriptions.c.id == only)
            .values(status="terminated", ended_at=JANUARY, left_clock_at=JANUARY)
        )
        assert await clock_store.mark_ready_if_idle(connection, clock_id)


async def test_clocks_move_independently(database: Database, tenant: ProjectScope) -> None:
    one, other = await make_clock(database, tenant), await make_clock(database, tenant)
    await make_subscriptions(database, tenant, one, 1)
    await advance(database, tenant, one, FEBRUARY)
    await advance(database, tenant, other, FEBRUARY + timedelta(days=1))
    assert (await read(database, tenant, one)).status == "advancing"
    assert (await read(database, tenant, other)).frozen_time == FEBRUARY + timedelta(days=1)


async def test_deleting_ends_its_customers_and_subscriptions(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    async with database.transaction(tenant) as connection:
        _, called = await clock_store.delete(connection, tenant.project_id, str(clock_id))
        assert called == [only]
    async with database.transaction(tenant) as connection:
        ended = (await connection.execute(select(subscriptions))).one()
        assert (ended.status, ended.ended_at) == ("terminated", JANUARY)
        assert (await connection.execute(select(customers.c.deleted_at))).scalar_one() is not None
        assert (await connection.execute(select(outbox.c.payload))).scalar_one()["signal"] == "clock_deleted"
        with pytest.raises(Problem, match="test_clock_not_found"):
            await clock_store.find(connection, tenant.project_id, str(clock_id))
        assert await clock_store.listed(connection, tenant.project_id, Page()) == ((), 0)


async def test_a_clock_of_another_project_is_not_there(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    stranger = ProjectScope(organization_id=tenant.organization_id, project_id=new_id())
    async with database.transaction(stranger) as connection:
        with pytest.raises(Problem, match="test_clock_not_found"):
            await clock_store.find(connection, stranger.project_id, str(clock_id))
