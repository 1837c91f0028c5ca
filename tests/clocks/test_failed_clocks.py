"""A clock that cannot go on says so with the reason, and is ready again when the cause is gone."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.subscriptions import lifecycle_store
from adapters.temporal.clock_watch import ClockWatch
from adapters.temporal.sandbox import runner
from devstack.temporal_server import TemporalServer
from models.identifiers import shown_id, subscription_workflow_id
from models.messages.base import SubscriptionRef
from models.messages.lifecycle import LifecycleAction, RecordLifecycle
from models.tables import outbox, plan_versions, subscriptions
from tests.clocks.test_clock_store import FEBRUARY, JANUARY, advance, arrive, make_clock, make_subscriptions, read
from tests.support.clock_workflows import Broken, Idle
from tests.waiting import eventually


async def _record(
    database: Database, tenant: ProjectScope, subscription_id: UUID, action: LifecycleAction, error: str | None
) -> None:
    """Write what a workflow writes when it parks work, or takes parked work up again."""
    async with begin(database, tenant, SYSTEM_ACTOR) as tx:
        version = (await tx.connection.execute(plan_versions.select())).one()
        step = RecordLifecycle(
            subscription=SubscriptionRef(
                organization_id=tenant.organization_id, project_id=tenant.project_id, subscription_id=subscription_id
            ),
            action=action,
            at=JANUARY,
            status="active",
            starts_at=JANUARY,
            anchor=JANUARY,
            bills_automatically_from=JANUARY,
            plan_version_id=version.id,
            plan_version=1,
            needs_attention=error,
        )
        await lifecycle_store.record(tx, step)


async def test_parked_work_fails_the_clock_until_it_is_mended(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    first, second = await make_subscriptions(database, tenant, clock_id, 2)
    await advance(database, tenant, clock_id, FEBRUARY)
    await _record(database, tenant, first, "parked", "an absurd invoice")
    clock = await read(database, tenant, clock_id)
    reason = f"{shown_id('subscription', first)}: an absurd invoice"
    assert (clock.status, clock.failure, clock.target_time) == ("failed", reason, FEBRUARY)
    for subscription_id in (first, second):
        assert not await arrive(database, tenant, subscription_id, FEBRUARY)
    clock = await read(database, tenant, clock_id)
    assert (clock.status, clock.failure, clock.frozen_time) == ("failed", reason, FEBRUARY)
    await _record(database, tenant, first, "unparked", None)
    clock = await read(database, tenant, clock_id)
    assert (clock.status, clock.failure, clock.frozen_time) == ("ready", None, FEBRUARY)


async def test_what_is_mended_on_the_way_lets_the_clock_go_on(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    await advance(database, tenant, clock_id, FEBRUARY)
    await _record(database, tenant, only, "parked", "no answer")
    await _record(database, tenant, only, "unparked", None)
    assert (await read(database, tenant, clock_id)).status == "advancing"
    assert await arrive(database, tenant, only, FEBRUARY)
    assert (await read(database, tenant, clock_id)).status == "ready"


async def test_a_failed_clock_can_be_sent_on(database: Database, tenant: ProjectScope) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    await advance(database, tenant, clock_id, FEBRUARY)
    async with database.transaction(tenant) as connection:
        await clock_store.failed(connection, only, "its workflow is terminated")
    await advance(database, tenant, clock_id, FEBRUARY + timedelta(days=1))
    assert (await read(database, tenant, clock_id)).status == "advancing"


@pytest.fixture
async def queue(temporal_server: TemporalServer) -> AsyncIterator[tuple[Client, str]]:
    """A worker of two workflows that get nowhere, in the sandbox of every workflow."""
    client = await Client.connect(temporal_server.address)
    name = f"clocks-{uuid4().hex[:8]}"
    async with Worker(client, task_queue=name, workflows=[Broken, Idle], workflow_runner=runner()):
        yield client, name


async def _start(queue: tuple[Client, str], tenant: ProjectScope, kind: str, subscription_id: UUID) -> None:
    client, name = queue
    workflow_id = subscription_workflow_id(tenant.project_id, subscription_id)
    await client.start_workflow(kind, id=workflow_id, task_queue=name)


@pytest.mark.slow
async def test_a_workflow_that_fails_again_and_again_fails_its_clock(
    database: Database, tenant: ProjectScope, queue: tuple[Client, str]
) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    await _start(queue, tenant, "BrokenSubscription", only)
    await advance(database, tenant, clock_id, FEBRUARY)
    watch = ClockWatch(queue[0], database, quiet=timedelta(0))

    async def clock() -> Any:
        await watch.look()
        return await read(database, tenant, clock_id)

    found = await eventually(clock, seconds=60, until=lambda row: row.status == "failed")
    assert "a step that this build does not know" in found.failure
    await queue[0].get_workflow_handle(subscription_workflow_id(tenant.project_id, only)).terminate()


async def test_who_only_waits_is_called_again_and_who_is_gone_fails_the_clock(
    database: Database, tenant: ProjectScope, queue: tuple[Client, str]
) -> None:
    clock_id = await make_clock(database, tenant)
    (only,) = await make_subscriptions(database, tenant, clock_id, 1)
    await _start(queue, tenant, "IdleSubscription", only)
    await advance(database, tenant, clock_id, FEBRUARY)
    watch = ClockWatch(queue[0], database, quiet=timedelta(0))

    async def calls() -> int:
        await watch.look()
        async with database.transaction(tenant) as connection:
            rows = (await connection.execute(outbox.select())).all()
        return sum(row.payload["signal"] == "clock_advanced" for row in rows)

    await eventually(calls, seconds=30, until=lambda count: count >= 2)
    assert (await read(database, tenant, clock_id)).status == "advancing"
    await queue[0].get_workflow_handle(subscription_workflow_id(tenant.project_id, only)).terminate()
    await watch.look()
    clock = await read(database, tenant, clock_id)
    assert (clock.status, "its workflow is terminated" in clock.failure) == ("failed", True)
    async with database.transaction(tenant) as connection:
        await connection.execute(subscriptions.update().values(clock_reached_at=FEBRUARY))
    assert await arrive(database, tenant, only, FEBRUARY)
