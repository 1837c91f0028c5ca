"""What follows a webhook that failed: more attempts, the end of the schedule, an endpoint that is given up (B165)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update

from activities.webhooks import WebhookActivities
from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.webhooks import webhook_delivery_store, webhook_replay_store, webhook_store
from adapters.postgres.webhooks.webhook_replay_store import Replay
from adapters.webhooks.retries import pauses
from models.messages.webhooks import AttemptWebhook, WebhookDeliveryState
from models.tables import (
    audit_log,
    notifications,
    outbox,
    webhook_attempts,
    webhook_deliveries,
    webhook_endpoints,
    webhook_messages,
)
from tests.adapters.test_webhooks import delivering, endpoint, rows, say, settings_with, settled
from tests.support.receiver import receiving
from tests.waiting import eventually

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
LATER = {"webhook_first_retry_seconds": 3600}


async def failed(database: Database, scope: ProjectScope) -> Any:
    """Make a first attempt fail; returns the delivery's row."""
    await say(database, scope)
    async with delivering(database, **LATER):
        return (await settled(database, "failed"))[-1]


async def is_due(database: Database, **values: Any) -> None:
    """Let the pause be over."""
    async with database.transaction(SYSTEM) as connection:
        await connection.execute(update(webhook_deliveries).values(next_attempt_at=func.clock_timestamp(), **values))


class Retrying:
    """The activity of one process, and one delivery."""

    def __init__(self, database: Database, scope: ProjectScope, delivery: Any, **changes: Any) -> None:
        self.activities = WebhookActivities(database, settings_with(**{**LATER, **changes}))
        self.scope, self.delivery = scope, delivery

    async def attempt(self, number: int) -> WebhookDeliveryState:
        """Ask for one attempt of the schedule."""
        return await self.activities.attempt_webhook(
            AttemptWebhook(
                organization_id=self.scope.organization_id,
                project_id=self.scope.project_id,
                delivery_id=self.delivery.id,
                attempt_no=number,
            )
        )


async def test_b165_an_attempt_is_made_once_when_it_is_due(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[500, 503]) as receiver:
        await endpoint(database, tenant, receiver.url)
        retrying = Retrying(database, tenant, await failed(database, tenant))
        early = await retrying.attempt(2)
        assert (early.attempts, len(receiver.received)) == (1, 1)
        await is_due(database)
        second = await retrying.attempt(2)
        assert (second.status, second.attempts, second.said) == ("failed", 2, "answered 503")
        # The same task once more, after its answer got lost: the record knows that it was made.
        await is_due(database)
        assert (await retrying.attempt(2)).attempts == len(receiver.received) == 2
        third = await retrying.attempt(3)
        assert (third.status, third.attempts, third.next_attempt_at) == ("succeeded", 3, None)
        assert await retrying.attempt(4) == third.model_copy(update={"said": None})
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1


async def test_after_the_last_retry_it_is_left_failed(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[500] * 9) as receiver:
        await endpoint(database, tenant, receiver.url)
        retrying = Retrying(database, tenant, await failed(database, tenant))
        last = len(pauses(3600))
        await is_due(database, scheduled_attempts=last)
        ended = await retrying.attempt(last + 1)
    assert (ended.status, ended.next_attempt_at, len(receiver.received)) == ("failed", None, 2)


async def test_as_many_go_to_an_endpoint_at_once_as_are_allowed(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[500]) as receiver:
        await endpoint(database, tenant, receiver.url)
        delivery = await failed(database, tenant)
        retrying = Retrying(database, tenant, delivery, webhook_concurrency=1)
        await is_due(database)
        async with database.transaction(tenant) as connection:
            found = await webhook_delivery_store.find(connection, delivery.id)
        assert found is not None
        with retrying.activities.slots.taken(found.delivery):
            assert (await retrying.attempt(2)).busy
        assert not (await retrying.attempt(2)).busy
    assert len(receiver.received) == 2


async def test_a_disabled_endpoint_gets_nothing_more_and_its_retries_end(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(answers=[500]) as receiver:
        identity, _ = await endpoint(database, tenant, receiver.url)
        retrying = Retrying(database, tenant, await failed(database, tenant))
        async with begin(database, tenant, SYSTEM_ACTOR) as tx:
            await webhook_store.change(tx, str(identity), {"status": "disabled"})
        (delivery,) = await rows(database, webhook_deliveries)
        assert (delivery.next_attempt_at, delivery.last_error) == (None, "answered 500; the endpoint was disabled")
        # As if an attempt had been recorded at the same moment.
        await is_due(database)
        assert (await retrying.attempt(2)).next_attempt_at is None
        assert (await rows(database, webhook_deliveries))[0].next_attempt_at is None
    assert len(receiver.received) == 1


async def test_an_endpoint_that_accepts_nothing_for_days_is_disabled_with_notice(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(answers=[500, 500]) as receiver, receiving() as other:
        identity, _ = await endpoint(database, tenant, receiver.url, "invoice.created")
        await endpoint(database, tenant, other.url, "webhook_endpoint.disabled")
        retrying = Retrying(database, tenant, await failed(database, tenant))
        assert [row.title for row in await rows(database, notifications)] == [f"A webhook to {receiver.url} failed"]
        async with database.transaction(SYSTEM) as connection:
            since = webhook_endpoints.update().where(webhook_endpoints.c.id == identity)
            await connection.execute(since.values(failing_since=func.clock_timestamp() - timedelta(hours=121)))
        await is_due(database)
        assert (await retrying.attempt(2)).next_attempt_at is None
        (row,) = [row for row in await rows(database, webhook_endpoints) if row.id == identity]
        assert row.status == "disabled"
        assert "accepted nothing since" in row.disabled_reason
        async with delivering(database):
            await eventually(lambda: _received(other))
    assert other.received[0].document["data"]["webhook_endpoint_id"] == str(identity)
    assert [row.title for row in await rows(database, notifications)][1:] == [
        f"Webhook endpoint {receiver.url} was disabled"
    ]
    async with database.transaction(SYSTEM) as connection:
        noted = select(audit_log.c.action).where(audit_log.c.resource_id == identity)
        assert "status_changed" in (await connection.execute(noted)).scalars().all()


async def _received(receiver: Any) -> Sequence[Any]:
    found: Sequence[Any] = receiver.received
    return found


async def test_what_an_endpoint_accepts_ends_its_failing(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[500]) as receiver:
        await endpoint(database, tenant, receiver.url)
        retrying = Retrying(database, tenant, await failed(database, tenant))
        assert (await rows(database, webhook_endpoints))[0].failing_since is not None
        await is_due(database)
        await retrying.attempt(2)
    assert (await rows(database, webhook_endpoints))[0].failing_since is None


async def test_b164_what_was_missed_is_sent_again_from_a_time(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as first, receiving(answers=[500, 500]) as receiver:
        await endpoint(database, tenant, first.url)
        await say(database, tenant, about="inv_0")
        async with delivering(database):
            await settled(database)
        identity, _ = await endpoint(database, tenant, receiver.url)
        for about in ("inv_1", "inv_2", "inv_3"):
            await say(database, tenant, about=about)
        async with delivering(database, **LATER):
            await eventually(lambda: _received(receiver), until=lambda all_: len(all_) == 3)
            await eventually(lambda: _attempts(database), until=lambda made: len(made) == 7)

            async def replay(**wanted: Any) -> int:
                async with begin(database, tenant, SYSTEM_ACTOR) as tx:
                    found = await webhook_replay_store.replay(tx, str(identity), Replay(LONG_AGO, **wanted))
                assert found.next_since is None
                return found.deliveries

            assert await replay(types=("invoice.voided",)) == 0
            assert await replay() == 2
            await eventually(lambda: _received(receiver), until=lambda all_: len(all_) == 5)
            await settled(database)
            assert await replay() == 0
            # The message from before the endpoint was there, too.
            assert await replay(everything=True) == 4
            await eventually(lambda: _received(receiver), until=lambda all_: len(all_) == 9)
            await settled(database)
    ids = {one.headers["webhook-id"]: one.document["data"]["invoiceId"] for one in receiver.received}
    assert sorted(ids.values()) == ["inv_0", "inv_1", "inv_2", "inv_3"]
    starts = [row for row in await rows(database, outbox) if row.topic == "workflow.start"]
    assert len(starts) == 2


async def test_b164_what_came_while_an_endpoint_was_disabled_is_kept_for_a_replay(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        identity, _ = await endpoint(database, tenant, receiver.url, "invoice.*")

        async def becomes(status: str) -> None:
            async with begin(database, tenant, SYSTEM_ACTOR) as tx:
                await webhook_store.change(tx, str(identity), {"status": status})

        await becomes("disabled")
        for kind in ("invoice.created", "coupon.created", "invoice.paid"):
            await say(database, tenant, kind, about="inv_1")
        async with delivering(database):
            await eventually(lambda: rows(database, webhook_messages), until=lambda kept: len(kept) == 2)
            await becomes("active")
            for expected in (2, 0):
                async with begin(database, tenant, SYSTEM_ACTOR) as tx:
                    wanted = Replay(LONG_AGO)
                    found = await webhook_replay_store.replay(tx, str(identity), wanted)
                assert found.deliveries == expected
            await settled(database)
    assert receiver.types() == ["invoice.created", "invoice.paid"]
    assert [one.document["sequence"] for one in receiver.received] == [1, 2]


async def _attempts(database: Database) -> Sequence[Any]:
    return await rows(database, webhook_attempts)


async def test_somebody_s_own_attempt_that_fails_leaves_the_schedule_as_it_was(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(answers=[500, 500]) as receiver:
        await endpoint(database, tenant, receiver.url)
        before = await failed(database, tenant)
        retrying = Retrying(database, tenant, before)
        for expected in ("failed", "succeeded"):
            async with database.transaction(tenant) as connection:
                found = await webhook_delivery_store.find(connection, before.id)
            assert found is not None
            attempt = await retrying.activities.sender.attempt(found.delivery)
            ended = webhook_delivery_store.FinishedAttempt(found.delivery, attempt, asked=True)
            async with database.transaction(tenant) as connection:
                await webhook_delivery_store.record_requested(connection, ended, disable_after=timedelta(days=5))
            (after,) = await rows(database, webhook_deliveries)
            assert after.status == expected
            assert after.next_attempt_at == (before.next_attempt_at if expected == "failed" else None)
    assert (after.attempts, after.scheduled_attempts) == (3, 1)
    signals = [row for row in await rows(database, outbox) if row.topic == "workflow.signal"]
    assert [row.payload["signal"] for row in signals] == ["delivery_state_changed"]
