"""Notifications: what the people of a project should look at (behaviour B175)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from models.identifiers import new_id, parse_id
from models.problems import not_found
from models.tables import notifications

_LONGEST_TITLE: Final = 255
_LONGEST_BODY: Final = 2000
_ORDERABLE: Final = {"category": notifications.c.category}

_NOTIFY: Final = text("""
INSERT INTO notifications (id, project_id, key, category, title, message, resource_type, resource_id)
VALUES (:id, :project_id, :key, :kind, :title, :body, :resource_type, :resource_id)
ON CONFLICT (project_id, key) DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class Notification:
    """What the people of a project should look at; `read_at` is None until somebody did."""

    id: UUID
    key: str
    category: str
    title: str
    message: str
    resource_type: str | None
    resource_id: UUID | None
    read_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class NotificationFilter:
    """Which notifications are wanted; None leaves a field open."""

    category: str | None = None
    is_read: bool | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """List what the filter demands of a row."""
        found: list[ColumnElement[bool]] = []
        if self.category is not None:
            found.append(notifications.c.category == self.category)
        if self.is_read is not None:
            unread = notifications.c.read_at.is_(None)
            found.append(~unread if self.is_read else unread)
        return found


async def notify(
    connection: AsyncConnection,
    scope: ProjectScope,
    *,
    kind: str,
    title: str,
    body: str,
    resource_type: str | None,
    resource_id: UUID | None,
    key: str,
) -> bool:
    """Write a notification in the transaction of what it tells; returns whether it is new.

    ``kind`` is its category (``usage_alert``, ``usage_threshold``, ``payment``, ``billing``, ``webhook``, ``outbox``).
    ``key`` names the fact, unique in the project: telling it again, read or not, changes nothing. Titles are cut at 255
    characters, bodies at 2,000.
    """
    written = await connection.execute(
        _NOTIFY,
        {
            "id": new_id(),
            "project_id": scope.project_id,
            "key": key,
            "kind": kind,
            "title": title[:_LONGEST_TITLE],
            "body": body[:_LONGEST_BODY],
            "resource_type": resource_type,
            "resource_id": resource_id,
        },
    )
    return written.rowcount == 1


async def listing(
    connection: AsyncConnection, wanted: NotificationFilter, page: Page
) -> tuple[tuple[Notification, ...], int]:
    """Return one part of the project's notifications, newest first, and their number."""
    conditions = wanted.conditions()
    rows, total = await page_of(connection, notifications, page, *conditions, orderable=_ORDERABLE)
    return records(Notification, rows), total


async def unread_count(connection: AsyncConnection) -> int:
    """Count the project's unread notifications."""
    unread = select(func.count()).select_from(notifications).where(notifications.c.read_at.is_(None))
    return int(await connection.scalar(unread) or 0)


async def mark_read(connection: AsyncConnection, reference: str) -> Notification:
    """Mark one notification as read and return it; a read one keeps its instant. Raises ``Problem`` 404."""
    found = parse_id(reference)
    statement = (
        update(notifications)
        .where(notifications.c.id == found)
        .values(read_at=func.coalesce(notifications.c.read_at, func.clock_timestamp()))
    )
    row = None
    if found is not None:
        row = (await connection.execute(statement.returning(notifications))).one_or_none()
    if row is None:
        raise not_found("notification", reference)
    return record(Notification, row)


async def mark_all_read(connection: AsyncConnection) -> int:
    """Mark every notification of the project as read; returns how many were unread."""
    unread = update(notifications).where(notifications.c.read_at.is_(None))
    return (await connection.execute(unread.values(read_at=func.clock_timestamp()))).rowcount
