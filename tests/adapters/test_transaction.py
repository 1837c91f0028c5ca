"""One transaction object: what is written beside a change is there with it, or not at all."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Table, select

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.outbox_store import WEBHOOK, shown_instant
from adapters.postgres.journal.transaction import Transaction, begin
from models.identifiers import new_id, shown_id
from models.tables import audit_log, notifications, outbox
from models.webhook_types import WebhookType

_ACTOR = Actor("workflow", "subscription/1")
_NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


async def _rows(database: Database, scope: ProjectScope, table: Table) -> list[Any]:
    async with database.transaction(scope) as connection:
        statement = select(table).where(table.c.project_id == scope.project_id).order_by(table.c.id)
        return list((await connection.execute(statement)).all())


async def _write_all(tx: Transaction) -> None:
    customer = new_id()
    await tx.audit(resource_type="customer", resource_id=customer, action="created", title="Customer created")
    await tx.webhook(WebhookType.WALLET_CREDITED, {"wallet_id": "w"}, ordering_key="webhook/wallet/w")
    await tx.notify(
        kind="billing", title="Told", body="Once.", resource_type="customer", resource_id=customer, key=f"t/{customer}"
    )
    await tx.enqueue(topic="workflow.signal", ordering_key="workflow/1", payload={"signal": "s"})


async def test_audit_webhook_notification_and_outbox_row_are_written_together(
    database: Database, tenant: ProjectScope
) -> None:
    async with begin(database, tenant, _ACTOR, now=_NOON) as tx:
        await _write_all(tx)
    (entry,) = await _rows(database, tenant, audit_log)
    assert (entry.actor_type, entry.actor_id, entry.occurred_at) == ("workflow", "subscription/1", _NOON)
    assert len(await _rows(database, tenant, notifications)) == 1
    changed, credited, signal = await _rows(database, tenant, outbox)
    assert changed.payload["type"] == "customer.created"
    assert changed.payload["data"]["customer_id"] == shown_id("customer", entry.resource_id)
    assert credited.ordering_key == "webhook/wallet/w"
    assert (signal.topic, signal.payload) == ("workflow.signal", {"signal": "s"})


async def test_nothing_is_written_when_the_transaction_fails(database: Database, tenant: ProjectScope) -> None:
    async def write_and_fail() -> None:
        async with begin(database, tenant, _ACTOR) as tx:
            await _write_all(tx)
            raise RuntimeError("late")

    with pytest.raises(RuntimeError, match="late"):
        await write_and_fail()
    for table in (audit_log, notifications, outbox):
        assert await _rows(database, tenant, table) == []


async def test_every_webhook_has_the_one_envelope_and_precision(database: Database, tenant: ProjectScope) -> None:
    async with begin(database, tenant, _ACTOR, now=_NOON) as tx:
        await _write_all(tx)
    async with begin(database, tenant, _ACTOR) as tx:
        await _write_all(tx)
    payloads = [row.payload for row in await _rows(database, tenant, outbox) if row.topic == WEBHOOK]
    assert all(list(sorted(payload)) == ["created_at", "data", "id", "type"] for payload in payloads)
    assert len({payload["id"] for payload in payloads}) == 4
    assert [payload["created_at"] for payload in payloads[:2]] == ["2026-04-01T12:00:00Z"] * 2
    for payload in payloads[2:]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", payload["created_at"])


def test_an_instant_is_shown_in_utc() -> None:
    two_hours_east = timezone(timedelta(hours=2))
    assert shown_instant(datetime(2026, 4, 1, 14, tzinfo=two_hours_east)) == "2026-04-01T12:00:00Z"
    assert shown_instant(_NOON.replace(microsecond=120)) == "2026-04-01T12:00:00.000120Z"


async def test_another_time_and_another_actor_leave_the_transaction_as_it_is(
    database: Database, tenant: ProjectScope
) -> None:
    async with begin(database, tenant, _ACTOR) as tx:
        later = tx.at(_NOON).by(Actor("system"))
        assert (later.now, later.actor, later.connection) == (_NOON, Actor("system"), tx.connection)
        assert (tx.now, tx.actor) == (None, _ACTOR)
