"""What is billed after a subscription's end, the check of all rollups, and reprocessing, on real workflows."""

import asyncio
import contextlib
from datetime import timedelta

from temporalio.service import RPCError

from adapters.postgres.events import reprocessing_store
from adapters.postgres.events.reprocessing_store import Window
from adapters.postgres.invoices import billing_store
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.temporal.after_end import bill_late_usage
from adapters.temporal.schedules import check_usage_schedule, ensure_schedules
from models.identifiers import CHECK_USAGE_WORKFLOW, after_end_workflow_id, new_id
from models.messages.after_end import AfterEnd, LateUsage
from models.messages.subscription import Cancel, InvoiceNow
from models.messages.upkeep import CheckUsage, UsageChecked
from models.tables import event_reprocessings, usage_checks
from tests.support.subscribing import ref_of
from tests.waiting import eventually
from tests.workflows.conftest import Office
from tests.workflows.test_durability import use
from tests.workflows.test_life import FEBRUARY, START, bills, in_clock, is_over


async def late_after_the_end(office: Office) -> str:
    """A subscription ends; usage that comes then is billed and collected by itself."""
    clock_id, state = await in_clock(office)
    await office.advance(clock_id, FEBRUARY - timedelta(days=1))
    await office.commands.cancel(ref_of(state), Cancel(request_id="end", immediately=True))
    await eventually(lambda: is_over(office, state))
    await use(office, state, 100, START + timedelta(days=1), number=1)
    final, late = ("final", "paid", 4725), ("adjustment", "paid", 100)
    await eventually(lambda: bills(office, state), until=lambda found: sorted(found) == [late, final])
    workflow_id = after_end_workflow_id(state.project_id, state.subscription_id)
    await office.client.get_workflow_handle(workflow_id).result()
    return workflow_id


async def test_a_bill_is_asked_for_again_when_late_usage_comes_as_the_workflow_ends(office: Office) -> None:
    """The server drops an update with the task that would end the workflow without having seen the late usage."""
    async with office.working():
        clock_id, state = await in_clock(office)
        await office.advance(clock_id, FEBRUARY - timedelta(days=1))
        ref = ref_of(state)
        await office.commands.cancel(ref, Cancel(request_id="end", immediately=True))
        await eventually(lambda: is_over(office, state))
    queue = office.configuration.temporal_task_queue
    handle = office.client.get_workflow_handle(after_end_workflow_id(state.project_id, state.subscription_id))

    async def is_billing() -> bool:
        with contextlib.suppress(RPCError):
            history = await handle.fetch_history()
            return any(event.HasField("workflow_task_started_event_attributes") for event in history.events)
        return False

    async with office.working(relay=False):
        await use(office, state, 100, START + timedelta(days=1), number=1)
        async with office.database.transaction(office.catalogue.scope) as connection:
            await billing_store.terms_of(connection, state.subscription_id, lock=True)
            request = InvoiceNow(request_id="late", cutoff_end=FEBRUARY)
            asked = asyncio.create_task(office.commands.invoice_now(ref, request))
            await eventually(is_billing)
            await bill_late_usage(office.client, queue, AfterEnd(subscription=ref), LateUsage(version=1))
        answer = await asked
        assert answer.total_minor == 100
        await handle.result()
    assert [kind for kind, _, _ in await bills(office, state)].count("adjustment") == 1


async def rollups_checked(office: Office) -> str:
    """Every project's rollups are checked; one has a subscription."""
    _, state = await in_clock(office)
    await use(office, state, 100, START + timedelta(days=1), number=1)
    workflow_id = f"verify/{new_id().hex}"
    start = CheckUsage(project_id=state.project_id)
    queue = office.configuration.temporal_task_queue
    found = await office.client.execute_workflow(
        CHECK_USAGE_WORKFLOW, start, id=workflow_id, task_queue=queue, result_type=UsageChecked
    )
    assert found == UsageChecked(projects=1, checked=1, differences=0)
    (row,) = await office.catalogue.rows(usage_checks)
    assert (row.status, row.checked, row.started_by) == ("clean", 1, "schedule")
    return workflow_id


async def window_reprocessed(office: Office) -> str:
    """A window without skipped events is looked at."""
    scope = office.catalogue.scope
    async with begin(office.database, scope, SYSTEM_ACTOR) as tx:
        window = Window(START, FEBRUARY)
        _, workflow_id = await reprocessing_store.begin(tx, window)

    async def status() -> str:
        return str((await office.catalogue.rows(event_reprocessings))[-1].status)

    await eventually(status, until=lambda found: found == "done")
    await office.client.get_workflow_handle(workflow_id).result()
    return workflow_id


async def test_the_nightly_check_is_scheduled_once(office: Office) -> None:
    queue = office.configuration.temporal_task_queue
    for _ in range(2):
        await ensure_schedules(office.client, queue)
    handle = office.client.get_schedule_handle(check_usage_schedule(queue))
    described = await handle.describe()
    assert len(described.info.next_action_times) > 0
    await handle.delete()
