"""How the relay shares itself among endpoints, and what it makes of odd answers (B165; RFC 9110, Standard Webhooks)."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, update

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.webhooks import webhook_delivery_store, webhook_fanout_store, webhook_replay_store, webhook_store
from adapters.postgres.webhooks.webhook_delivery_store import Attempt, FinishedAttempt
from adapters.postgres.webhooks.webhook_replay_store import Replay
from adapters.webhooks import deliver
from adapters.webhooks.retries import pause_after, retry_after_of
from adapters.webhooks.slots import Slots
from models.identifiers import new_id
from models.problems import Problem
from models.tables import notifications, outbox, webhook_deliveries, webhook_endpoints
from tests.adapters.test_webhook_retries import LATER, failed
from tests.adapters.test_webhooks import delivering, endpoint, rows, say, settled
from tests.support.odd_receiver import odd
from tests.support.receiver import receiving
from tests.waiting import eventually

NOW = datetime(2026, 5, 1, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


async def fails_since(database: Database, *identities: UUID, seconds: int = 15) -> None:
    failing = update(webhook_endpoints).where(webhook_endpoints.c.id.in_(identities))
    async with database.transaction(SYSTEM) as connection:
        await connection.execute(failing.values(failing_since=func.clock_timestamp() - timedelta(seconds=seconds)))


async def test_a_deleted_endpoint_gets_nothing_that_was_not_on_its_way(
    database: Database, tenant: ProjectScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_FRESH_SECONDS", 0.2)
    async with odd(OK, waits=True) as slow:
        identity, _ = await endpoint(database, tenant, slow.url)
        for number in range(12):
            await say(database, tenant, about=str(number))
        async with delivering(database):
            began = await eventually(lambda: _true_at(slow.requests == 4))
            async with begin(database, tenant, SYSTEM_ACTOR) as tx:
                await webhook_store.delete(tx, str(identity))
            await eventually(lambda: _true_at(time.monotonic() > began + 0.3))
            slow.gate.set()
            await eventually(lambda: _standing(database), until=lambda found: found.get("succeeded") == 4)
    assert slow.requests == 4
    assert await _standing(database) == {"succeeded": 4, "failed": 8}


async def test_what_is_told_of_a_threshold_is_counted_together(database: Database, tenant: ProjectScope) -> None:
    identity = new_id()
    about: dict[str, Any] = {"resource_type": "usage_threshold", "resource_id": identity, "action": "deleted"}
    async with begin(database, tenant, SYSTEM_ACTOR) as tx:
        await tx.audit(**about)
    # As `usage_threshold.reached` is, where no invoice follows.
    assert [row.ordering_key for row in await rows(database, outbox)] == [f"usage_threshold:{identity}"]


async def test_a_project_has_only_so_many_endpoints(
    database: Database, tenant: ProjectScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_store, "MOST_ENDPOINTS", 2)
    identity, _ = await endpoint(database, tenant, "http://127.0.0.1:9/")
    made = await asyncio.gather(
        *(endpoint(database, tenant, "http://127.0.0.1:9/") for _ in range(3)), return_exceptions=True
    )
    refused = [one for one in made if isinstance(one, Problem)]
    assert [(one.status, one.code, one.extra) for one in refused] == [
        (409, "too_many_webhook_endpoints", {"limit": 2})
    ] * 2
    async with begin(database, tenant, SYSTEM_ACTOR) as tx:
        await webhook_store.delete(tx, str(identity))
    await endpoint(database, tenant, "http://127.0.0.1:9/")


async def test_one_project_takes_a_part_of_the_slots_and_an_endpoint_a_part_of_these(
    database: Database, tenant: ProjectScope
) -> None:
    for number in range(2):
        await endpoint(database, tenant, f"http://127.0.0.1:{8 + number}/")
    await say(database, tenant)
    async with database.transaction(SYSTEM) as connection:
        await webhook_fanout_store.fan_out(connection, limit=9)
        first, second = await webhook_delivery_store.due(connection, busy=[], endpoints=9, failing=9, each=9)
    slots = Slots(of_an_endpoint=2)
    other = replace(first, endpoint_id=new_id(), project_id=new_id())
    with ExitStack() as held:
        assert [held.enter_context(slots.taken(first)) for _ in range(3)] == [True, True, False]
        assert held.enter_context(slots.taken(second))
        many = [held.enter_context(slots.taken(replace(first, endpoint_id=new_id()))) for _ in range(15)]
        assert many == [True] * 13 + [False] * 2
        assert held.enter_context(slots.taken(other))
    with slots.taken(first) as is_free:
        assert is_free


async def _true_at(condition: bool) -> float:
    return time.monotonic() if condition else 0.0


async def _standing(database: Database) -> dict[str, int]:
    found = [row.status for row in await rows(database, webhook_deliveries)]
    return {status: found.count(status) for status in found}


async def test_endpoints_that_fail_have_a_share_of_their_own_and_delay_no_other(
    database: Database, tenant: ProjectScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_LANES", 1)
    monkeypatch.setattr(deliver, "_FAILING_LANES", 2)
    async with receiving(hangs=True) as hanging, receiving() as quick:
        for _ in range(3):
            await fails_since(database, (await endpoint(database, tenant, hanging.url))[0])
        await endpoint(database, tenant, quick.url)
        await say(database, tenant)
        async with delivering(database, webhook_timeout_seconds=60):
            await eventually(lambda: _have_come(quick), until=lambda number: number == 1)
            await eventually(lambda: _have_come(hanging), until=lambda number: number == 2)


async def _have_come(receiver: Any) -> int:
    return len(receiver.received)


async def test_who_has_waited_longest_comes_first_whatever_its_id(database: Database, tenant: ProjectScope) -> None:
    identities = [(await endpoint(database, tenant, f"http://127.0.0.1:{9 + number}/"))[0] for number in range(4)]
    await fails_since(database, identities[0], identities[1])
    await say(database, tenant)
    async with database.transaction(SYSTEM) as connection:
        await webhook_fanout_store.fan_out(connection, limit=9)
        for minutes, identity in enumerate(identities):
            earlier = func.clock_timestamp() - timedelta(minutes=minutes + 1)
            one = update(webhook_deliveries).where(webhook_deliveries.c.endpoint_id == identity)
            await connection.execute(one.values(next_attempt_at=earlier))

        async def chosen(endpoints: int, failing: int) -> set[UUID]:
            due = await webhook_delivery_store.due(connection, busy=[], endpoints=endpoints, failing=failing, each=9)
            return {delivery.endpoint_id for delivery in due}

        assert await chosen(1, 0) == {identities[3]}
        assert await chosen(0, 1) == {identities[1]}
        assert await chosen(-1, -1) == set()
        assert await chosen(9, 9) == set(identities)
    # One that has just begun to fail, and may accept the next message, is with those that do well.
    await fails_since(database, identities[3], seconds=5)
    async with database.transaction(SYSTEM) as connection:
        (first, *_) = await webhook_delivery_store.due(connection, busy=[], endpoints=1, failing=0, each=9)
        assert first.endpoint_id == identities[3]


@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nends early", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnever ends", True),
    ],
)
async def test_the_status_decides_whatever_becomes_of_the_body(
    database: Database, tenant: ProjectScope, answer: bytes, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.webhooks.send._BODY_SECONDS", 0.1)
    async with odd(answer, stays=stays) as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database):
            (delivery,) = await settled(database)
    assert (delivery.last_http_status, delivery.last_response) == (200, answer[-10:].decode())
    assert (delivery.attempts, receiver.requests) == (1, 1)


async def test_a_pause_that_a_receiver_asks_for_is_kept(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[429], extra_headers="Retry-After: 120\r\n") as receiver:
        await endpoint(database, tenant, receiver.url)
        await say(database, tenant)
        async with delivering(database):
            (delivery,) = await settled(database, "failed")
    assert timedelta(seconds=110) < delivery.next_attempt_at - delivery.last_attempt_at < timedelta(seconds=130)


def test_retry_after_is_seconds_or_a_date_and_at_most_six_hours() -> None:
    assert retry_after_of("120", now=NOW) == timedelta(seconds=120)
    assert retry_after_of("Fri, 01 May 2026 00:05:00 GMT", now=NOW) == timedelta(minutes=5)
    for long in ("9" * 400, "Fri, 01 May 2099 00:05:00 GMT"):
        assert retry_after_of(long, now=NOW) == timedelta(hours=6)
    for nothing in (None, "", "0", "-5", "1.5", "\u0664", "soon", "Fri, 01 May 2020 00:05:00 GMT"):
        assert retry_after_of(nothing, now=NOW) is None
    assert pause_after(1, (5,), timedelta(seconds=60)) == timedelta(seconds=60)
    assert pause_after(1, (500,), timedelta(seconds=60)) > timedelta(seconds=60)  # type: ignore[operator]
    assert pause_after(2, (5,), timedelta(seconds=60)) is None


async def test_an_endpoint_that_is_gone_for_good_is_disabled_at_once(database: Database, tenant: ProjectScope) -> None:
    async with receiving(answers=[410]) as receiver:
        await endpoint(database, tenant, receiver.url)
        assert (await failed(database, tenant)).next_attempt_at is None
    (row,) = await rows(database, webhook_endpoints)
    assert (row.status, row.disabled_reason) == ("disabled", "it answered 410: it is gone for good")
    assert [row.title for row in await rows(database, notifications)] == [
        f"Webhook endpoint {receiver.url} was disabled"
    ]


async def test_what_is_to_be_sent_again_stays_so_when_somebody_s_own_attempt_fails_meanwhile(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving(answers=[500]) as receiver:
        identity, _ = await endpoint(database, tenant, receiver.url)
        before = await failed(database, tenant)
        async with database.transaction(tenant) as connection:
            found = await webhook_delivery_store.find(connection, before.id)
            assert found is not None
            assert (await _replay(connection, tenant, identity)).deliveries == 1
        refused = Attempt(False, 500, None, "answered 500", NOW, 3)
        async with database.transaction(tenant) as connection:
            ended = FinishedAttempt(found.delivery, refused, asked=True)
            await webhook_delivery_store.record_requested(connection, ended, disable_after=timedelta(days=5))
        assert await _standing(database) == {"pending": 1}
        async with delivering(database, **LATER):
            await settled(database)
    assert len(receiver.received) == 2


async def _replay(connection: Any, scope: ProjectScope, identity: UUID, **wanted: Any) -> Any:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return await webhook_replay_store.replay(
        Transaction(connection, scope, SYSTEM_ACTOR), str(identity), Replay(since, **wanted)
    )


async def test_a_replay_keeps_the_order_whether_messages_were_sent_here_before_or_not(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as all_types, receiving() as receiver:
        await endpoint(database, tenant, all_types.url)
        identity, _ = await endpoint(database, tenant, receiver.url, "invoice.paid")
        for kind in ("invoice.created", "invoice.paid", "invoice.voided"):
            await say(database, tenant, kind, about="inv_1")
        async with delivering(database):
            await settled(database)
        async with database.transaction(tenant) as connection:
            assert (await _replay(connection, tenant, identity, everything=True, types=("coupon.*",))).deliveries == 0
            assert (await _replay(connection, tenant, identity, everything=True, types=("invoice.*",))).deliveries == 3
        due = sorted(
            (row for row in await rows(database, webhook_deliveries) if row.status == "pending"),
            key=lambda row: (row.next_attempt_at, row.id),
        )
        async with delivering(database):
            await settled(database)
    sent = {one.headers["webhook-id"]: one.document["type"] for one in all_types.received}
    assert [sent[row.message_id] for row in due] == list(_ALL)
    assert _types(receiver) == ["invoice.paid", *_ALL]


_ALL = ("invoice.created", "invoice.paid", "invoice.voided")


def _types(receiver: Any) -> Sequence[str]:
    found: Sequence[str] = receiver.types()
    return found
