"""Old webhooks are cleaned up; what is newer, and every resource's number, stays (docs/webhooks.md)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, update

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.webhooks import webhook_prune_store
from models.tables import webhook_attempts, webhook_deliveries, webhook_messages, webhook_sequences
from tests.adapters.test_webhooks import delivering, endpoint, rows, say, settled
from tests.support.receiver import Receiver, receiving
from tests.waiting import eventually

KEPT = timedelta(days=90)
SOON_OLD = timedelta(days=91)


async def prune(database: Database, most: int = 100) -> int:
    async with database.transaction(SYSTEM) as connection:
        return await webhook_prune_store.prune(connection, kept=KEPT, most=most)


def _older(identity: UUID, by: timedelta) -> UUID:
    """Return an id as it would have been made earlier: its first 48 bits are milliseconds."""
    return UUID(int=identity.int - (int(by.total_seconds() * 1000) << 80))


async def has_aged(database: Database, *about: str) -> None:
    """Let messages about these, their deliveries and attempts be 91 days old."""
    async with database.transaction(SYSTEM) as connection:
        aged = update(webhook_messages).where(webhook_messages.c.ordering_key.in_([f"invoice/{one}" for one in about]))
        past = func.clock_timestamp() - SOON_OLD
        messages = (await connection.execute(aged.values(created_at=past).returning(webhook_messages.c.id))).scalars()
        wanted = webhook_deliveries.c.message_id.in_(list(messages))
        found = (await connection.execute(webhook_deliveries.select().where(wanted))).all()
        for row in found:
            await connection.execute(webhook_attempts.delete().where(webhook_attempts.c.delivery_id == row.id))
            one = update(webhook_deliveries).where(webhook_deliveries.c.id == row.id)
            await connection.execute(one.values(id=_older(row.id, SOON_OLD), updated_at=past))
            attempt = {
                "id": _older(row.id, SOON_OLD + timedelta(days=1)),
                "project_id": row.project_id,
                "delivery_id": _older(row.id, SOON_OLD),
                "number": 1,
                "success": True,
                "duration_ms": 1,
                "attempted_at": datetime.now(UTC) - SOON_OLD,
            }
            await connection.execute(webhook_attempts.insert().values(attempt))


async def told(database: Database, scope: ProjectScope, receiver: Receiver, *about: str) -> None:
    expected = len(receiver.received) + len(about)

    async def come() -> int:
        return len(receiver.received)

    for one in about:
        await say(database, scope, about=one)
    async with delivering(database):
        await eventually(come, until=lambda number: number == expected)
        await settled(database)


async def test_old_webhooks_go_with_their_attempts_and_numbers_go_on(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, receiver.url)
        await told(database, tenant, receiver, "old", "old", "new")
        assert await prune(database) == 0
        await has_aged(database, "old")
        assert await prune(database) == 4
        assert await prune(database) == 0
        (message,) = await rows(database, webhook_messages)
        assert message.ordering_key == "invoice/new"
        assert [row.message_id for row in await rows(database, webhook_deliveries)] == [message.id]
        assert len(await rows(database, webhook_attempts)) == 1
        await told(database, tenant, receiver, "old", "new")
    came = [(one.document["data"]["invoiceId"], one.document["sequence"]) for one in receiver.received]
    assert sorted(came) == [("new", 1), ("new", 2), ("old", 1), ("old", 2), ("old", 3)]


async def test_what_was_sent_again_lately_stays_and_numbers_stay_above_it(
    database: Database, tenant: ProjectScope
) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, receiver.url)
        await told(database, tenant, receiver, "one", "one")
        await has_aged(database, "one")
        first = min(await rows(database, webhook_messages), key=lambda row: int(row.sequence))
        async with database.transaction(SYSTEM) as connection:
            again = update(webhook_deliveries).where(webhook_deliveries.c.message_id == first.id)
            await connection.execute(again.values(updated_at=func.clock_timestamp()))
        assert await prune(database) == 2
        assert [row.id for row in await rows(database, webhook_messages)] == [first.id]
        await told(database, tenant, receiver, "one")
    assert [one.document["sequence"] for one in receiver.received] == [1, 2, 3]


async def test_one_transaction_deletes_a_bounded_part(database: Database, tenant: ProjectScope) -> None:
    async with receiving() as receiver:
        await endpoint(database, tenant, receiver.url)
        await told(database, tenant, receiver, "a", "b", "c")
        await has_aged(database, "a", "b", "c")
    assert [await prune(database, most=2) for _ in range(3)] == [4, 2, 0]
    async with database.transaction(SYSTEM) as connection:
        numbers = (await connection.execute(webhook_sequences.select())).all()
    assert {(row.ordering_key, row.sequence) for row in numbers} == {
        ("invoice/a", 1),
        ("invoice/b", 1),
        ("invoice/c", 1),
    }
