"""The worker killed in the middle of closing 200 periods, again and again: nothing double, nothing missing."""

import random
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from operator import le
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from adapters.postgres.customers import clock_store
from adapters.postgres.database import SYSTEM
from models.tables import invoices, sandbox_charges, test_clocks
from tests.conftest import FreshDatabase
from tests.support.stack import Stack
from tests.waiting import eventually
from tests.workflows.conftest import Office

SUBSCRIPTIONS = 200
KILLS = 5
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def worker_process(office: Office, fresh_database: FreshDatabase, tmp_path: Path) -> Any:
    """A way to start and kill the real worker process of the office's task queue."""
    configuration = office.configuration
    stack = Stack(
        database_url=fresh_database.url,
        admin_url=fresh_database.admin_url,
        temporal_address=configuration.temporal_address,
        directory=tmp_path,
        task_queue=configuration.temporal_task_queue,
    )
    yield stack
    stack.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_worker_killed_while_closing_200_periods_bills_and_charges_each_once(
    office: Office, worker_process: Stack
) -> None:
    catalogue, seed = office.catalogue, random.randrange(10**6)
    chance = random.Random(seed)
    clock_id = await catalogue.clock(START)
    customer_id = await catalogue.customer(clock_id=clock_id)
    states = [catalogue.state(customer_id, START, at=START, frozen=START) for _ in range(SUBSCRIPTIONS)]
    await catalogue.subscribe(*states, clock_id=clock_id)
    worker_process.start_worker()
    for month in range(1, KILLS + 1):
        end = START.replace(month=month + 1)
        kill_after = chance.randrange(1, SUBSCRIPTIONS)
        await ready(office, clock_id)
        await advance(office, clock_id, end)
        await eventually(partial(billed, office, end), seconds=120, until=partial(le, kill_after))
        worker_process.kill_worker()
        worker_process.start_worker()
        await ready(office, clock_id)
        found = await catalogue.rows(invoices, invoices.c.period_end == end)
        context = f"seed {seed}, month {month}, killed after {kill_after} invoices"
        assert Counter(row.subscription_id for row in found) == {s.subscription_id: 1 for s in states}, context
        assert Counter(row.status for row in found) == {"paid": SUBSCRIPTIONS}, context
        assert await charges(office) == SUBSCRIPTIONS * month, context


async def ready(office: Office, clock_id: UUID) -> None:
    """Wait until every subscription has lived up to the clock's time."""

    async def clock() -> Any:
        return await office.catalogue.row(test_clocks, clock_id)

    await eventually(clock, seconds=180, until=lambda row: row.status == "ready")


async def advance(office: Office, clock_id: UUID, to: datetime) -> None:
    """Advance the clock by a month, without waiting."""
    scope = office.catalogue.scope
    async with office.database.transaction(scope) as connection:
        await clock_store.advance(connection, scope.project_id, str(clock_id), to)


async def billed(office: Office, end: datetime) -> int:
    """Count the invoices of the period that ends then."""
    statement = select(func.count()).select_from(invoices).where(invoices.c.period_end == end)
    async with office.database.transaction(office.catalogue.scope) as connection:
        return int(await connection.scalar(statement) or 0)


async def charges(office: Office) -> int:
    """Count the payments that the provider took."""
    taken = sandbox_charges.c.status == "succeeded"
    async with office.database.transaction(SYSTEM) as connection:
        return int(await connection.scalar(select(func.count()).select_from(sandbox_charges).where(taken)) or 0)
