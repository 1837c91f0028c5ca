"""What keeps a long life safe: continue-as-new, replay from an empty cache, parked work, a relay that changes hands."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as upsert
from temporalio.client import WorkflowExecutionStatus

from adapters.postgres.events import event_months
from adapters.postgres.journal.relay_store import DueRow
from adapters.temporal.relay import Relay
from billing.subscriptions.subscription import SubscriptionState
from models.identifiers import NEEDS_ATTENTION, PERIOD_END, PLAN, PROJECT, STATE
from models.messages.subscription import Pause, Resume, RetryParked
from models.tables import events, outbox, plan_charges, subscriptions, usage_rollups, usage_watermarks
from tests.support.subscribing import ref_of, workflow_id_of
from tests.waiting import eventually
from tests.workflows.conftest import Office
from tests.workflows.test_life import FEBRUARY, MARCH, START, bills, in_clock

JULY = datetime(2026, 7, 31, tzinfo=UTC)


async def runs(office: Office, state: SubscriptionState) -> list[WorkflowExecutionStatus]:
    """Return the statuses of all runs of a subscription's workflow."""
    query = f'WorkflowId = "{workflow_id_of(state)}"'
    found = [execution.status async for execution in office.client.list_workflows(query)]
    return [status for status in found if status is not None]


async def test_a_lowered_threshold_continues_as_new_twice_and_nothing_is_lost(office: Office) -> None:
    """The state is all that is carried: periods, invoices, remembered commands."""
    # Whoever delivers the start first, the API or the relay, sets the limit.
    delivery = office.commands._delivery
    delivery._limits = delivery._limits.model_copy(update={"history_events": 30})
    async with office.working(continue_as_new_after_events=30):
        clock_id, state = await in_clock(office)
        await office.commands.pause(ref_of(state), Pause(request_id="p1"))
        await office.commands.resume(ref_of(state), Resume(request_id="p2"))
        await office.advance(clock_id, START.replace(year=2027))
        assert await bills(office, state) == [("period", "paid", 4900)] * 12
        again = WorkflowExecutionStatus.CONTINUED_AS_NEW
        await eventually(lambda: runs(office, state), until=lambda found: found.count(again) >= 2)
        # Repeated in another run, the command finds itself done: it does not pause again.
        assert (await office.commands.pause(ref_of(state), Pause(request_id="p1"))).status == "active"


async def test_without_a_cache_every_task_replays_the_whole_history(office: Office) -> None:
    async with office.working(max_cached_workflows=0):
        clock_id, state = await in_clock(office, card="card_decline_once")
        await office.commands.pause(ref_of(state), Pause(request_id="p1"))
        await office.commands.resume(ref_of(state), Resume(request_id="p2"))
        await office.advance(clock_id, JULY)
        assert await bills(office, state) == [("period", "paid", 4900)] * 6


async def use(office: Office, state: SubscriptionState, quantity: int, at: datetime, *, number: int) -> None:
    """Record usage as the ingestion does: event, rollup and mark in one transaction."""
    project, metric = {"project_id": state.project_id}, office.catalogue.metric_id
    key = {"subscription_id": state.subscription_id, "metric_id": metric}
    async with office.database.transaction(office.catalogue.scope) as connection:
        await event_months.ensure(connection, [at])
        await connection.execute(
            events.insert().values(
                idempotency_key=f"{state.subscription_id}:{number}",
                id=UUID(int=state.subscription_id.int + number),
                metric_ref="calls",
                value=Decimal(quantity),
                occurred_at=at,
                source="test",
                status="counted",
                **key,
                **project,
            )
        )
        rollup = upsert(usage_rollups).values(
            day=at.date(),
            value_sum=Decimal(quantity),
            event_count=1,
            value_max=Decimal(quantity),
            value_min=Decimal(quantity),
            **key,
            **project,
        )
        await connection.execute(
            rollup.on_conflict_do_update(
                constraint=usage_rollups.primary_key,
                set_={
                    "value_sum": usage_rollups.c.value_sum + rollup.excluded.value_sum,
                    "event_count": usage_rollups.c.event_count + 1,
                },
            )
        )
        mark = upsert(usage_watermarks).values(subscription_id=state.subscription_id, **project)
        await connection.execute(
            mark.on_conflict_do_update(
                index_elements=["subscription_id"], set_={"version": usage_watermarks.c.version + 1}
            )
        )


async def test_usage_reaches_the_workflow_as_cumulative_totals_and_is_billed(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office)
        for number in range(1, 6):
            await use(office, state, 100, START + timedelta(days=number), number=number)
        live = await eventually(
            lambda: office.live(state), until=lambda found: found.usage and found.usage[0].quantity == 500
        )
        assert (live.usage[0].events, live.usage_period_start) == (5, START)
        await office.advance(clock_id, FEBRUARY)
        assert await bills(office, state) == [("period", "paid", 4900 + 500)]
        mark = (await office.catalogue.marks())[0]
        assert mark.signalled_version == mark.version


async def test_what_people_search_by_follows_the_state(office: Office) -> None:
    async with office.working():
        clock_id, state = await in_clock(office)
        await office.advance(clock_id, FEBRUARY)
        attributes = (await office.handle(state).describe()).typed_search_attributes
        assert attributes[PROJECT] == str(state.project_id)
        assert (attributes[PLAN], attributes[STATE], attributes[NEEDS_ATTENTION]) == ("growth:1", "active", False)
        assert attributes[PERIOD_END] == MARCH


async def test_a_bill_that_cannot_be_made_is_set_aside_and_everything_else_goes_on(office: Office) -> None:
    """The broken period waits for an operator, the next ones are billed; when the cause is gone, it is billed too."""
    async with office.working():
        clock_id, state = await in_clock(office)
        await break_plan(office, broken=True)
        await office.advance(clock_id, FEBRUARY)
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert row.needs_attention
        assert row.current_period_start == FEBRUARY
        attributes = (await office.handle(state).describe()).typed_search_attributes
        assert attributes[NEEDS_ATTENTION] is True
        await break_plan(office, broken=False)
        await office.advance(clock_id, MARCH)
        assert await bills(office, state) == [("period", "paid", 4900)]
        await office.commands.retry_parked(ref_of(state), RetryParked(request_id="r1"))
        await eventually(lambda: bills(office, state), until=lambda rows: rows == [("period", "paid", 4900)] * 2)
        row = await office.catalogue.row(subscriptions, state.subscription_id)
        assert row.needs_attention is None
        told = await office.catalogue.rows(outbox, outbox.c.ordering_key == f"subscription:{state.subscription_id}")
        assert [message.payload["type"].partition(".")[2] for message in told] == [
            "needs_attention",
            "attention_resolved",
        ]


async def break_plan(office: Office, *, broken: bool) -> None:
    """Make the stored fee unreadable, as a bad manual edit of the database would, or mend it."""
    model = {"kind": "flat", "amount": "forty-nine"} if broken else {"kind": "flat", "amount": "49.00"}
    async with office.database.transaction(office.catalogue.scope) as connection:
        await connection.execute(plan_charges.update().where(plan_charges.c.metric_id.is_(None)).values(model=model))


async def test_another_relay_takes_over_when_the_leader_goes(office: Office) -> None:
    first, second = (Relay(office.client, office.database, office.configuration) for _ in range(2))
    async with office.working(relay=False):
        leading = asyncio.create_task(first.run())
        clock_id, state = await in_clock(office)
        standing_by = asyncio.create_task(second.run())
        await office.advance(clock_id, FEBRUARY)
        await cancelled(leading)
        await office.advance(clock_id, MARCH)
        await cancelled(standing_by)
    assert await bills(office, state) == [("period", "paid", 4900)] * 2


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_start_that_is_delivered_twice_finds_the_running_workflow(office: Office) -> None:
    async with office.working():
        _, state = await in_clock(office)
        (row,) = await office.catalogue.rows(outbox, outbox.c.ordering_key == workflow_id_of(state))
        again = DueRow(row.id, row.project_id, row.topic, row.ordering_key, row.payload, row.attempts)
        await office.commands._delivery.deliver([again])
        assert await runs(office, state) == [WorkflowExecutionStatus.RUNNING]
