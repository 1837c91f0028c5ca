"""Notifications: told once for each fact, shown to their own project, read one by one or all at once (B175)."""

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal import notification_store
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.notification_store import NotificationFilter
from adapters.postgres.journal.transaction import begin
from adapters.postgres.paging import Page
from models.identifiers import new_id


async def tell(database: Database, scope: ProjectScope, key: str, kind: str = "payment") -> bool:
    async with begin(database, scope, SYSTEM_ACTOR) as tx:
        return await tx.notify(
            kind=kind,
            title="Payment failed " + "x" * 300,
            body="y" * 3000,
            resource_type="invoice",
            resource_id=new_id(),
            key=key,
        )


async def test_b175_a_fact_is_told_once(database: Database, tenant: ProjectScope) -> None:
    assert [await tell(database, tenant, "invoice.failed/1/1") for _ in range(2)] == [True, False]
    other = ProjectScope(tenant.organization_id, new_id())
    assert await tell(database, other, "invoice.failed/1/1")
    async with database.transaction(tenant) as connection:
        (row,), total = await notification_store.listing(connection, NotificationFilter(), Page())
        assert await notification_store.unread_count(connection) == total == 1
        assert (len(row.title), len(row.message), row.category, row.read_at) == (255, 2000, "payment", None)
        read = await notification_store.mark_read(connection, str(row.id))
        again = await notification_store.mark_read(connection, str(row.id))
        assert read.read_at == again.read_at is not None
    # Read or not, it has been told.
    assert not await tell(database, tenant, "invoice.failed/1/1")


async def test_notifications_are_filtered_by_category_and_by_whether_they_were_read(
    database: Database, tenant: ProjectScope
) -> None:
    for number in range(3):
        await tell(database, tenant, f"a/{number}")
    await tell(database, tenant, "b", kind="webhook")
    async with database.transaction(tenant) as connection:

        async def count(wanted: NotificationFilter) -> int:
            return (await notification_store.listing(connection, wanted, Page()))[1]

        assert await count(NotificationFilter(category="webhook")) == 1
        (newest, *_), _ = await notification_store.listing(connection, NotificationFilter(), Page(limit=1))
        assert newest.key == "b"
        await notification_store.mark_read(connection, str(newest.id))
        assert await count(NotificationFilter(is_read=True)) == 1
        assert await count(NotificationFilter(is_read=False)) == 3
        assert await notification_store.mark_all_read(connection) == 3
        assert await notification_store.unread_count(connection) == 0
