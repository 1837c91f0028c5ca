"""A webhook that fails is tried again by a workflow of its own, across restarts, until it is over (B165)."""

from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError

from adapters.postgres.webhooks import webhook_delivery_store as store
from adapters.webhooks.send import Sender
from models.identifiers import webhook_workflow_id
from models.tables import webhook_attempts, webhook_deliveries
from tests.adapters.test_webhooks import endpoint, rows, say
from tests.support.receiver import Receiver, receiving
from tests.waiting import eventually
from tests.workflows.conftest import Office
from workflows.webhook_delivery import backoff_delay


async def first_fails(office: Office, receiver: Receiver) -> Any:
    """Let a message fail once; returns its delivery when its workflow has been started."""
    await endpoint(office.database, office.catalogue.scope, receiver.url)
    await say(office.database, office.catalogue.scope, about="inv_1")

    async def started() -> Any:
        deliveries = await rows(office.database, webhook_deliveries)
        return deliveries and deliveries[-1].status == "failed" and await _status(office, deliveries[-1]) and deliveries

    return (await eventually(started))[-1]


async def _status(office: Office, delivery: Any) -> WorkflowExecutionStatus | None:
    try:
        return (await office.client.get_workflow_handle(webhook_workflow_id(delivery.id)).describe()).status
    except RPCError:
        return None


async def is_over(office: Office, delivery: Any) -> bool:
    return await _status(office, delivery) == WorkflowExecutionStatus.COMPLETED


async def send_by_hand(office: Office, delivery: Any) -> None:
    """Send a delivery as somebody who asks for it does."""
    async with office.database.transaction(office.catalogue.scope) as connection:
        found = await store.find(connection, delivery.id)
    assert found is not None
    async with Sender(office.configuration) as sender:
        ended = store.FinishedAttempt(found.delivery, await sender.attempt(found.delivery), asked=True)
    async with office.database.transaction(office.catalogue.scope) as connection:
        await store.record_requested(connection, ended, disable_after=timedelta(days=5))


async def webhook_retried(office: Office) -> str:
    """A webhook fails twice, then somebody sends it by hand."""
    async with receiving(answers=[500, 503]) as receiver:
        delivery = await first_fails(office, receiver)
        await eventually(lambda: _attempts(office), until=lambda made: made == 2)
        await send_by_hand(office, delivery)
        await eventually(lambda: is_over(office, delivery))
    return webhook_workflow_id(delivery.id)


async def _attempts(office: Office) -> int:
    return len(await rows(office.database, webhook_attempts))


async def test_b165_retries_survive_the_worker_and_tell_their_story(office: Office) -> None:
    async with receiving(answers=[500, 503]) as receiver:
        async with office.working():
            delivery = await first_fails(office, receiver)
        # Nobody works while the first pause passes.
        handle = office.client.get_workflow_handle(webhook_workflow_id(delivery.id))
        async with office.working(webhook_first_retry_seconds=0.1):
            await eventually(lambda: is_over(office, delivery))
        (delivery,) = await rows(office.database, webhook_deliveries)
        assert (delivery.status, delivery.attempts, delivery.next_attempt_at) == ("succeeded", 3, None)
        assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    told = (await handle.describe()).search_attributes
    assert list(told["DurabillProject"]) == [str(office.catalogue.scope.project_id)]
    history = await handle.fetch_history()
    summaries = [event.user_metadata.summary.data.decode() for event in history.events]
    assert '"invoice.created to ' in summaries[0]
    assert '"attempt 2"' in summaries
    assert [summary for summary in summaries if "send" in summary] == [
        f'"send invoice.created, attempt {number}"' for number in (2, 3)
    ]


def test_who_finds_others_on_their_way_again_and_again_stands_back_longer() -> None:
    assert [backoff_delay(times, 0.0).total_seconds() for times in (1, 2, 3, 4, 5, 400)] == [3, 6, 12, 24, 24, 24]
    assert backoff_delay(1, 0.5).total_seconds() == 7.5
    assert backoff_delay(9, 0.5).total_seconds() == 60
