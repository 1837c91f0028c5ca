"""What the people of a project should look at (BoxBilling: Notifications; behaviour B175)."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import Path, Query, Request, Response
from pydantic import Field

from adapters.postgres.journal import notification_store
from adapters.postgres.journal.notification_store import Notification, NotificationFilter
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import reply
from api.http.routing import resource_router

router = resource_router("Notifications")

_NotificationId = Annotated[str, Path(max_length=100)]


class NotificationResponse(Answer):
    """Something to look at."""

    id: UUID
    organization_id: UUID
    category: str = Field(
        examples=["payment"],
        description="usage_alert, usage_threshold, payment, billing, webhook or outbox; more may come.",
    )
    title: str = Field(examples=["Payment failed for invoice INV-20260501-0001"])
    message: str = Field(examples=["The card was declined; the next attempt follows on 2026-05-04."])
    resource_type: str | None = Field(examples=["invoice"])
    resource_id: UUID | None
    is_read: bool
    read_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: Notification, organization_id: UUID) -> Self:
        """Return the answer that shows a notification."""
        return cls.showing(row, organization_id=organization_id, is_read=row.read_at is not None)


class NotificationCountResponse(Answer):
    """How many notifications are unread."""

    unread_count: int = Field(ge=0, examples=[3])


@router.get(
    "/notifications",
    operation_id="list_notifications",
    summary="List notifications",
    response_model=list[NotificationResponse],
    responses=LISTED,
)
async def list_notifications(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    category: Annotated[str | None, Query(max_length=100)] = None,
    is_read: bool | None = None,
) -> Response:
    """Return the project's notifications, newest first."""
    wanted = NotificationFilter(category=category, is_read=is_read)
    async with database.transaction(caller.scope) as connection:
        rows, total = await notification_store.listing(connection, wanted, page)
    return listed_as(lambda row: NotificationResponse.of(row, caller.organization_id), page, rows, total, request)


@router.get(
    "/notifications/unread_count",
    operation_id="get_unread_notification_count",
    summary="Get unread notification count",
    response_model=NotificationCountResponse,
)
async def get_unread_notification_count(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count what nobody has read."""
    async with database.transaction(caller.scope) as connection:
        return reply(NotificationCountResponse(unread_count=await notification_store.unread_count(connection)))


@router.post(
    "/notifications/read_all",
    operation_id="read_all_notifications",
    summary="Mark all notifications as read",
    response_model=NotificationCountResponse,
)
async def read_all_notifications(caller: CallerDep, database: DatabaseDep) -> Response:
    """Mark everything as read; `unread_count` is what is left: 0, or what came in this moment."""
    async with database.transaction(caller.scope) as connection:
        await notification_store.mark_all_read(connection)
        return reply(NotificationCountResponse(unread_count=await notification_store.unread_count(connection)))


@router.post(
    "/notifications/{notification_id}/read",
    operation_id="read_notification",
    summary="Mark a notification as read",
    response_model=NotificationResponse,
)
async def read_notification(caller: CallerDep, database: DatabaseDep, notification_id: _NotificationId) -> Response:
    """Mark one as read; again is harmless."""
    async with database.transaction(caller.scope) as connection:
        row = await notification_store.mark_read(connection, notification_id)
    return reply(NotificationResponse.of(row, caller.organization_id))
