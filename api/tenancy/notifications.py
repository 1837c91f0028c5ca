"""What the people of a project should look at (BoxBilling: Notifications; behaviour B175)."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response
from pydantic import BaseModel, Field

from adapters.postgres.journal import notification_store
from adapters.postgres.journal.notification_store import NotificationFilter
from adapters.postgres.rows import Row
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import reply
from api.http.routing import resource_router

router = resource_router("Notifications")

_NotificationId = Annotated[str, Path(max_length=100)]


class NotificationResponse(BaseModel):
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


class NotificationCountResponse(BaseModel):
    """How many notifications are unread."""

    unread_count: int = Field(ge=0, examples=[3])


def _document(caller: Caller, row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "organization_id": caller.scope.organization_id,
        "category": row.category,
        "title": row.title,
        "message": row.message,
        "resource_type": row.resource_type,
        "resource_id": row.resource_id,
        "is_read": row.read_at is not None,
        "read_at": row.read_at,
        "created_at": row.created_at,
    }


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
    return listed(page, [_document(caller, row) for row in rows], total, request)


@router.get(
    "/notifications/unread_count",
    operation_id="get_unread_notification_count",
    summary="Get unread notification count",
    response_model=NotificationCountResponse,
)
async def get_unread_notification_count(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count what nobody has read."""
    async with database.transaction(caller.scope) as connection:
        return reply({"unread_count": await notification_store.unread_count(connection)})


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
        return reply({"unread_count": await notification_store.unread_count(connection)})


@router.post(
    "/notifications/{notification_id}/read",
    operation_id="read_notification",
    summary="Mark a notification as read",
    response_model=NotificationResponse,
)
async def read_notification(caller: CallerDep, database: DatabaseDep, notification_id: _NotificationId) -> Response:
    """Mark one as read; again is harmless."""
    async with database.transaction(caller.scope) as connection:
        return reply(_document(caller, await notification_store.mark_read(connection, notification_id)))
