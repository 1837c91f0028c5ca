"""Webhooks from the outbox to a receiver on a real socket: signed, in order, tried again, nobody delayed (C9)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from standardwebhooks import WebhookVerificationError

from adapters.postgres import webhook_delivery_store, webhook_store
from adapters.postgres.audit_store import SYSTEM_ACTOR
from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.outbox_store import WEBHOOK, enqueue
from adapters.webhooks.deliver import Sender, Webhooks
from adapters.webhooks.retries import pause_after, pauses
from adapters.webhooks.sign import new_secret
from models.identifiers import new_id
from models.tables import outbox, webhook_attempts, webhook_deliveries, webhook_messages
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
    async with database.transaction(scope) as connection:
        return (await webhook_store.create(connection, scope, SYSTEM_ACTOR, values)).id, secret


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


async def test_while_a_secret_is_replaced_both_verify(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as receiver:
        identity, old = await endpoint(database, tenant, receiver.url)
        new = new_secret()
        async with database.transaction(tenant) as connection:
            await webhook_store.change(connection, tenant, SYSTEM_ACTOR, str(identity), {"secrets": [new, old]})
        await say(database, tenant)
        async with delivering(database):
            await settled(database)
    (one,) = receiver.received
    assert one.verified(old) == one.verified(new)


async def test_b165_it_is_tried_again_until_200_under_one_id(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[500, 302], extra_headers="location: http://127.0.0.1:1/\r\n") as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database):
            (delivery,) = await settled(database)
    assert len(receiver.received) == 3
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert len({one.body for one in receiver.received}) == 1
    attempts = await rows(database, webhook_attempts)
    assert [(one.number, one.http_status, one.success) for one in attempts] == [
        (1, 500, False),
        (2, 302, False),
        (3, 200, True),
    ]
    assert attempts[0].response_body == "noted"
    assert "redirects" in attempts[1].error
    assert (delivery.attempts, delivery.next_attempt_at, delivery.last_error) == (3, None, None)


async def test_after_the_last_retry_it_is_left_failed(database: Database, tenant: ProjectScope) -> None:
    # One hour, then the pauses grow: the second failure waits much longer than a test.
    async with receiving(answers=[500] * 9) as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database, webhook_first_retry_seconds=3600):
            (delivery,) = await settled(database, "failed")
        assert delivery.next_attempt_at is not None
        # As if every pause were over, as often as there are retries.
        schedule = pauses(3600)
        async with database.transaction(SYSTEM) as connection:
            await connection.execute(
                update(webhook_deliveries).values(attempts=len(schedule), next_attempt_at=func.clock_timestamp())
            )
        async with delivering(database, webhook_first_retry_seconds=3600):

            async def next_attempts() -> list[Any]:
                return [one.next_attempt_at for one in await rows(database, webhook_deliveries)]

            assert await eventually(next_attempts, until=lambda found: found == [None]) == [None]
    assert len(receiver.received) == 2


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


async def test_an_endpoint_that_does_not_answer_in_time_fails_and_is_tried_again(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(hangs=True) as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database, webhook_timeout_seconds=1):
            await eventually(lambda: _count(receiver))
            receiver.hangs = False
            await settled(database)
    assert [one.error for one in await rows(database, webhook_attempts)] == ["no answer in time", None]


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
        assert sorted(document["sequence"] for document in found) == [document["sequence"] for document in found]


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


async def test_rows_are_fanned_out_once_by_however_many(database: Database, tenant: ProjectScope) -> None:
    await endpoint(database, tenant, "http://127.0.0.1:9/")
    for number in range(30):
        await say(database, tenant, about=str(number))

    async def fan_out() -> int:
        async with database.transaction(SYSTEM) as connection:
            return await webhook_delivery_store.fan_out(connection, limit=20)

    counts = [*await asyncio.gather(fan_out(), fan_out(), fan_out()), await fan_out()]
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
                project_id=tenant.project_id,
                endpoint_id=identity,
                url=url,
                secrets=(new_secret(),),
                attempts=0,
                message_id="msg_1",
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
