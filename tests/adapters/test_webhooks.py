"""Webhooks from the outbox to a receiver on a real socket: signed, in order, tried again, nobody delayed (C9)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from standardwebhooks import WebhookVerificationError

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.outbox_store import WEBHOOK, WORKFLOW_START, enqueue
from adapters.postgres.journal.transaction import begin
from adapters.postgres.subscriptions import parking_store
from adapters.postgres.webhooks import webhook_delivery_store, webhook_fanout_store, webhook_store
from adapters.webhooks.deliver import Webhooks
from adapters.webhooks.retries import pause_after, pauses
from adapters.webhooks.send import Sender
from adapters.webhooks.sign import new_secret
from models.identifiers import new_id
from models.messages.webhooks import RetryWebhook
from models.tables import notifications, outbox, webhook_attempts, webhook_deliveries, webhook_messages
from settings import Settings
from tests.support.receiver import Receiver, receiving
from tests.waiting import eventually


def settings_with(**changes: Any) -> Settings:
    quick = {"webhook_first_retry_seconds": 0.01, "relay_poll_ms": 20, "webhook_timeout_seconds": 5}
    return Settings.model_validate({"webhook_allow_private": True, **quick, **changes})


@asynccontextmanager
async def delivering(database: Database, **changes: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(Webhooks(database, settings_with(**changes)).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def endpoint(database: Database, scope: ProjectScope, url: str, *events: str) -> tuple[UUID, str]:
    secret = new_secret()
    values = {"url": url, "events": list(events), "secrets": [secret]}
    async with begin(database, scope, SYSTEM_ACTOR) as tx:
        return (await webhook_store.create(tx, values)).id, secret


async def say(
    database: Database, scope: ProjectScope, kind: str = "invoice.created", about: str = "", **more: Any
) -> None:
    payload = {"type": kind, "data": {"invoiceId": about, "amount": 120, "exact": Decimal("0.10"), **more}}
    async with database.transaction(scope) as connection:
        await enqueue(
            connection, project_id=scope.project_id, topic=WEBHOOK, ordering_key=f"invoice/{about}", payload=payload
        )


async def rows(database: Database, table: Any) -> list[Any]:
    async with database.transaction(SYSTEM) as connection:
        return list((await connection.execute(select(table).order_by(table.c.id))).all())


async def settled(database: Database, status: str = "succeeded") -> list[Any]:
    """Wait until every delivery has this status."""

    async def deliveries() -> list[Any]:
        return await rows(database, webhook_deliveries)

    return await eventually(deliveries, until=lambda all_: all_ and all(one.status == status for one in all_))


async def test_b162_b166_an_event_arrives_signed_and_is_sent_once(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as receiver:
        _, secret = await endpoint(database, tenant, receiver.url)
        await say(database, tenant, about="inv_1")
        async with delivering(database):
            await settled(database)
    (one,) = receiver.received
    document = one.verified(secret)
    assert {"id", "type", "created_at", "sequence", "data"} == set(document)
    assert b'"amount":120,' in one.body.replace(b" ", b"")
    assert b"0.10" in one.body
    assert one.headers["webhook-id"] == document["id"] == (await rows(database, webhook_messages))[0].id
    assert one.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert [row.delivered_at is not None for row in await rows(database, outbox)] == [True]


async def test_b166_a_changed_body_a_changed_id_and_another_secret_are_found_out(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        _, secret = await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database):
            await settled(database)
    (one,) = receiver.received
    changed = [
        type(one)(one.path, one.headers, one.body.replace(b"120", b"121")),
        type(one)(one.path, {**one.headers, "webhook-id": "msg_other"}, one.body),
        type(one)(one.path, {**one.headers, "webhook-timestamp": "1700000000"}, one.body),
    ]
    for forged in changed:
        with pytest.raises(WebhookVerificationError):
            forged.verified(secret)
    with pytest.raises(WebhookVerificationError):
        one.verified(new_secret())


async def test_while_a_secret_is_rotated_both_verify(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as receiver:
        identity, old = await endpoint(database, tenant, receiver.url)

        async def rotate(overlap: timedelta) -> str:
            secret = new_secret()
            async with begin(database, tenant, SYSTEM_ACTOR) as tx:
                row = await webhook_store.rotate_secret(tx, str(identity), secret, overlap=overlap)
            assert len(row.secrets) == 2
            return secret

        new = await rotate(timedelta(hours=24))
        await say(database, tenant)
        async with delivering(database):
            await settled(database)
            newest = await rotate(timedelta(0))
            await say(database, tenant)
            await eventually(lambda: _count(receiver), until=lambda count: count == 2)
    first, second = receiver.received
    assert first.verified(old) == first.verified(new)
    assert second.verified(newest)
    # The overlap is over: the old one signs nothing any more.
    with pytest.raises(WebhookVerificationError):
        second.verified(new)


async def test_b165_what_failed_is_handed_to_a_workflow_in_the_same_transaction(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(answers=[302], extra_headers="location: http://127.0.0.1:1/\r\n") as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database, webhook_first_retry_seconds=3600):
            (delivery,) = await settled(database, "failed")
    assert (delivery.attempts, delivery.scheduled_attempts, delivery.last_http_status) == (1, 1, 302)
    assert "redirects are not followed" in delivery.last_error
    (start,) = [row for row in await rows(database, outbox) if row.topic == WORKFLOW_START]
    assert start.ordering_key == start.payload["workflow_id"] == f"webhook/{delivery.id}"
    told = RetryWebhook.model_validate(start.payload["message"])
    assert told.standing.next_attempt_at == delivery.next_attempt_at
    assert (told.organization_id, told.project_id) == (tenant.organization_id, tenant.project_id)
    # The relay leaves it to the workflow, and looks after it when the workflow is lost.
    async with database.transaction(SYSTEM) as connection:
        assert await webhook_delivery_store.due(connection, busy=[], endpoints=9, failing=9, each=9) == []
        assert await webhook_delivery_store.requeue_lost(connection) == 0
        overdue = func.clock_timestamp() - timedelta(hours=2)
        await connection.execute(update(webhook_deliveries).values(next_attempt_at=overdue))
        assert await webhook_delivery_store.requeue_lost(connection) == 1
        assert len(await webhook_delivery_store.due(connection, busy=[], endpoints=9, failing=9, each=9)) == 1


async def test_a_hanging_endpoint_delays_no_other(database: Database, tenant: ProjectScope) -> None:
    async with receiving(hangs=True) as hanging, receiving() as quick:
        await endpoint(database, tenant, hanging.url)
        await endpoint(database, tenant, quick.url)
        for number in range(40):
            await say(database, tenant, about=str(number))
        async with delivering(database, webhook_timeout_seconds=60):
            await eventually(lambda: _count(quick), until=lambda count: count == 40, seconds=20)
            # The hanging one still holds its first requests: none of them has ended, by a time limit or otherwise.
            assert await rows(database, webhook_attempts) != []
            assert all(one.http_status == 200 for one in await rows(database, webhook_attempts))
    assert 1 <= len(hanging.received) <= 4


async def _count(receiver: Receiver) -> int:
    return len(receiver.received)


async def test_an_endpoint_that_does_not_answer_in_time_fails_and_will_be_tried_again(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(hangs=True) as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database, webhook_timeout_seconds=1):
            (delivery,) = await settled(database, "failed")
    assert [one.error for one in await rows(database, webhook_attempts)] == ["no answer in time"]
    assert delivery.next_attempt_at is not None


async def test_messages_about_one_object_arrive_in_order(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, receiver.url)
        for step in range(8):
            for about in ("inv_1", "inv_2", "inv_3"):
                await say(database, tenant, about=about, step=step)
        async with delivering(database):
            await eventually(lambda: _count(receiver), until=lambda count: count == 24)
    for about in ("inv_1", "inv_2", "inv_3"):
        found = [one.document for one in receiver.received if one.document["data"]["invoiceId"] == about]
        assert [document["data"]["step"] for document in found] == list(range(8))
        assert [document["sequence"] for document in found] == list(range(1, 9))


async def test_messages_of_one_resource_are_numbered_without_gaps_in_the_order_of_their_commits(
    database: Database, tenant: ProjectScope
) -> None:
    """Rows become visible in the order of their commits, not of their ids: what commits later is numbered later."""
    await endpoint(database, tenant, "http://127.0.0.1:9/")

    async def fan_out() -> None:
        async with database.transaction(SYSTEM) as connection:
            await webhook_fanout_store.fan_out(connection, limit=100)

    early = database.transaction(tenant)
    connection = await early.__aenter__()
    said = {"type": "invoice.created", "data": {"step": "its row is the first, its commit the last"}}
    await enqueue(connection, project_id=tenant.project_id, topic=WEBHOOK, ordering_key="invoice/inv_1", payload=said)
    await asyncio.gather(*(say(database, tenant, about="inv_1", step=number) for number in range(4)))
    await say(database, tenant, about="inv_2", step="another resource")
    await fan_out()
    await early.__aexit__(None, None, None)
    await fan_out()
    messages = sorted(await rows(database, webhook_messages), key=lambda row: (row.ordering_key, row.sequence))
    assert [(row.ordering_key, row.sequence) for row in messages] == [
        *(("invoice/inv_1", number) for number in range(1, 6)),
        ("invoice/inv_2", 1),
    ]
    assert all(row.payload["sequence"] == row.sequence for row in messages)
    assert "last" in messages[4].payload["data"]["step"]
    # Its row has the smallest id all the same.
    assert messages[4].outbox_id == min(row.outbox_id for row in messages)


async def test_a_row_that_is_no_message_is_set_aside_and_the_others_go_on(
    database: Database, tenant: ProjectScope
) -> None:
    await endpoint(database, tenant, "http://127.0.0.1:9/")
    async with database.transaction(tenant) as connection:
        for payload in ({"no": "type"}, {"type": "invoice.created"}, {"type": 7, "data": {}}):
            await enqueue(
                connection, project_id=tenant.project_id, topic=WEBHOOK, ordering_key="invoice/x", payload=payload
            )
    await say(database, tenant)
    async with database.transaction(SYSTEM) as connection:
        assert await webhook_fanout_store.fan_out(connection, limit=10) == webhook_fanout_store.FanOutResult(4, 1)
        assert await webhook_fanout_store.fan_out(connection, limit=10) == webhook_fanout_store.FanOutResult(0, 0)
        parked = await parking_store.parked(connection)
        assert [row.last_error.partition(":")[0] for row in parked] == ["KeyError", "KeyError", "TypeError"]
        assert await parking_store.release_parked(connection, parked[0].id)
        assert not await parking_store.release_parked(connection, parked[0].id + 1000)
        # Still no message: set aside again.
        await webhook_fanout_store.fan_out(connection, limit=10)
        assert len(await parking_store.parked(connection)) == 3
    (told, *_) = await rows(database, notifications)
    assert (told.category, "set aside" in told.title) == ("outbox", True)


async def test_b161_an_endpoint_gets_the_types_and_the_project_that_it_asked_for(
    database: Database, tenant: ProjectScope
) -> None:
    other = ProjectScope(tenant.organization_id, new_id())
    async with receiving() as receiver:
        await endpoint(database, tenant, receiver.url, "invoice.paid")
        await say(database, other, "invoice.paid", "of another project")
        await say(database, tenant, "invoice.created")
        await say(database, tenant, "invoice.paid", "inv_1")
        async with delivering(database):
            await settled(database)
    assert [(one.document["type"], one.document["data"]["invoiceId"]) for one in receiver.received] == [
        ("invoice.paid", "inv_1")
    ]
    # What nobody wants is not kept.
    assert len(await rows(database, webhook_messages)) == 1
    assert all(row.delivered_at is not None for row in await rows(database, outbox))


async def test_b161_a_star_stands_for_every_type_about_one_kind_of_resource(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, receiver.url, "coupon.*", "wallet.created")
        for kind in ("coupon.created", "coupon.updated", "applied_coupon.created", "wallet.created", "wallet.updated"):
            await say(database, tenant, kind, about=kind)
        async with delivering(database):
            await settled(database)
    assert sorted(receiver.types()) == ["coupon.created", "coupon.updated", "wallet.created"]
    assert len(await rows(database, webhook_messages)) == 3


async def test_what_happened_before_an_endpoint_was_registered_is_not_told(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        await say(database, tenant, about="before")
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant, about="after")
        async with delivering(database):
            await settled(database)
    assert [one.document["data"]["invoiceId"] for one in receiver.received] == ["after"]
    assert len(await rows(database, webhook_messages)) == 1


async def test_rows_are_fanned_out_once_by_however_many(database: Database, tenant: ProjectScope) -> None:
    await endpoint(database, tenant, "http://127.0.0.1:9/")
    for number in range(30):
        await say(database, tenant, about=str(number))

    async def fan_out() -> int:
        async with database.transaction(SYSTEM) as connection:
            return (await webhook_fanout_store.fan_out(connection, limit=20)).rows

    # Whoever comes while another is at it takes nothing.
    counts = [*await asyncio.gather(fan_out(), fan_out(), fan_out()), await fan_out(), await fan_out()]
    assert sum(counts) == 30
    # As after a restore: the row waits again, its message is there.
    async with database.transaction(SYSTEM) as connection:
        await connection.execute(update(outbox).values(delivered_at=None))
    await fan_out()
    assert len(await rows(database, webhook_messages)) == 30
    assert len(await rows(database, webhook_deliveries)) == 30


async def test_a_new_leader_sends_what_the_last_one_had_not_finished(database: Database, tenant: ProjectScope) -> None:
    async with receiving(hangs=True) as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database):
            await eventually(lambda: _count(receiver))
        receiver.hangs = False
        async with delivering(database):
            await settled(database)
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert len(receiver.received) == 2


async def test_b168_a_name_that_turned_private_is_refused_when_connecting(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, f"http://localhost:{receiver.port}/")
        await say(database, tenant)
        async with delivering(database, webhook_allow_private=False, webhook_first_retry_seconds=3600):
            (delivery,) = await settled(database, "failed")
    assert receiver.received == []
    assert "not a public one" in delivery.last_error


async def test_a_name_with_several_addresses_is_reached_at_the_one_that_answers(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, f"http://localhost:{receiver.port}/with?query=1")
        await say(database, tenant)
        async with delivering(database):
            await settled(database)
    (one,) = receiver.received
    assert one.path == "/with?query=1"
    assert one.headers["host"] == f"localhost:{receiver.port}"


async def test_every_failure_is_an_outcome(database: Database, tenant: ProjectScope) -> None:
    async with Sender(settings_with()) as sender:
        for url in ("http://127.0.0.1:9/", "https://hooks.example.invalid/", "https://127.0.0.1:9/", "http://[::1]:9/"):
            identity, _ = await endpoint(database, tenant, url)
            delivery = webhook_delivery_store.DueDelivery(
                id=identity,
                organization_id=tenant.organization_id,
                project_id=tenant.project_id,
                endpoint_id=identity,
                url=url,
                secrets=(new_secret(),),
                scheduled_attempts=0,
                message_id="msg_1",
                message_type="a.b",
                ordering_key="",
                payload={"id": "msg_1", "type": "a.b", "created_at": "", "sequence": 1, "data": {}},
            )
            attempt = await sender.attempt(delivery)
            assert not attempt.success
            assert attempt.error


def test_b165_retries_grow_for_about_three_days() -> None:
    schedule = pauses(5)
    assert schedule[:4] == (5, 15, 45, 135)
    assert 66 * 3600 < sum(schedule) <= 72 * 3600
    assert max(schedule) == 6 * 3600
    first, last = pause_after(1, schedule), pause_after(len(schedule), schedule)
    assert first is not None
    assert 4.5 <= first.total_seconds() <= 5.5
    assert last is not None
    assert pause_after(len(schedule) + 1, schedule) is None
