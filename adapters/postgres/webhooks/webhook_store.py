"""Webhook endpoints, and what was delivered to them, as their owners see it (behaviours B161-B168)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal import changing
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of, paged, total_of
from adapters.postgres.rows import Columns, record, records
from adapters.postgres.webhooks.webhook_health_store import stop_retries
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import webhook_attempts, webhook_deliveries, webhook_endpoints, webhook_messages

ORDERABLE: Final = {
    "url": webhook_endpoints.c.url,
    "status": webhook_endpoints.c.status,
    "updated_at": webhook_endpoints.c.updated_at,
}
#: Of one project.
MOST_ENDPOINTS: Final = 100
_now = func.clock_timestamp()
_hooks = webhook_deliveries.join(webhook_messages, webhook_messages.c.id == webhook_deliveries.c.message_id)
_hook = select(
    webhook_deliveries,
    webhook_messages.c.type.label("webhook_type"),
    webhook_messages.c.payload,
    webhook_messages.c.sequence,
).select_from(_hooks)


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where webhooks are sent; no `events` means every type, the first of the `secrets` is the present one."""

    id: UUID
    project_id: UUID
    url: str
    events: list[str]
    secrets: list[str]
    signature_algo: str
    status: str
    disabled_reason: str | None
    failing_since: datetime | None
    old_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """How the deliveries to one endpoint stand."""

    id: UUID
    url: str
    total: int
    succeeded: int
    failed: int
    pending: int
    attempts: int
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to one endpoint."""

    id: UUID
    message_id: str
    endpoint_id: UUID
    webhook_type: str
    payload: dict[str, Any]
    sequence: int
    status: str
    attempts: int
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    last_http_status: int | None
    last_response: str | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt of a delivery; `number` counts from 1."""

    id: UUID
    delivery_id: UUID
    number: int
    success: bool
    http_status: int | None
    response_body: str | None
    error: str | None
    duration_ms: int
    attempted_at: datetime


@dataclass(frozen=True)
class DeliveryFilter:
    """Which deliveries are wanted; None leaves a field open."""

    webhook_type: str | None = None
    status: str | None = None
    endpoint_id: UUID | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """List what the filter demands of a row."""
        wanted = {
            webhook_messages.c.type: self.webhook_type,
            webhook_deliveries.c.status: self.status,
            webhook_deliveries.c.endpoint_id: self.endpoint_id,
        }
        return [column == value for column, value in wanted.items() if value is not None]


RESOURCE: Final = changing.Resource(
    webhook_endpoints, "webhook_endpoint", "Webhook endpoint", WebhookEndpoint, key="url"
)


async def create(tx: Transaction, values: Columns) -> WebhookEndpoint:
    """Register an endpoint; ``values`` are columns of ``webhook_endpoints``.

    Each change is told to every endpoint, so there is an end to them: ``Problem`` 409 ``too_many_webhook_endpoints``.
    """
    turn = func.pg_advisory_xact_lock(func.hashtextextended(f"webhook_endpoints/{tx.scope.project_id}", 0))
    await tx.connection.execute(select(turn))
    alive = webhook_endpoints.c.deleted_at.is_(None)
    known = await tx.connection.scalar(select(func.count()).select_from(webhook_endpoints).where(alive))
    if int(known or 0) >= MOST_ENDPOINTS:
        raise conflict(
            "too_many_webhook_endpoints",
            f"A project has at most {MOST_ENDPOINTS} webhook endpoints; delete one first.",
            limit=MOST_ENDPOINTS,
        )
    statement = insert(webhook_endpoints).values(id=new_id(), project_id=tx.scope.project_id, **values)
    row = record(WebhookEndpoint, (await tx.connection.execute(statement.returning(webhook_endpoints))).one())
    await changing.audit_change(tx, RESOURCE, row=row, action="created")
    return row


async def listing(connection: AsyncConnection, page: Page) -> tuple[tuple[WebhookEndpoint, ...], int]:
    """Return one part of the project's endpoints, newest first, and their number."""
    alive = webhook_endpoints.c.deleted_at.is_(None)
    rows, total = await page_of(connection, webhook_endpoints, page, alive, orderable=ORDERABLE)
    return records(WebhookEndpoint, rows), total


async def get(connection: AsyncConnection, reference: str, *, lock: bool = False) -> WebhookEndpoint:
    """Return an endpoint. Raises ``Problem`` 404."""
    statement = select(webhook_endpoints).where(
        webhook_endpoints.c.id == _id("webhook_endpoint", reference), webhook_endpoints.c.deleted_at.is_(None)
    )
    if lock:
        # The lock that a change of columns needs; deliveries to the endpoint may be written meanwhile.
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("webhook_endpoint", reference)
    return record(WebhookEndpoint, row)


def _id(kind: str, reference: str) -> UUID:
    found = parse_id(reference)
    if found is None:
        raise not_found(kind, reference)
    return found


async def change(tx: Transaction, reference: str, values: Columns) -> WebhookEndpoint:
    """Change columns of an endpoint and return it; what waits for it goes to its new address. Raises 404.

    One that is disabled gets nothing more, and what failed there is not tried again; one that is made active again
    starts with a clean slate.
    """
    before = await get(tx.connection, reference, lock=True)
    changes = changing.changes_of(before, values)
    clean = {"failing_since": None, "disabled_reason": None} if "status" in changes else {}
    after = await changing.change(tx, RESOURCE, row=before, values=values, unnoted=clean)
    if changes and after.status == "disabled":
        await stop_retries(tx.connection, after.id, "the endpoint was disabled")
    return after


async def rotate_secret(tx: Transaction, reference: str, secret: str, *, overlap: timedelta) -> WebhookEndpoint:
    """Sign with a new secret; the one before it signs as well until ``overlap`` is over. Raises ``Problem`` 404.

    Of several rotations within an overlap, the last two secrets sign.
    """
    before = await get(tx.connection, reference, lock=True)
    values = {"secrets": [secret, before.secrets[0]], "old_secret_until": _now + overlap, "updated_at": _now}
    statement = update(webhook_endpoints).where(webhook_endpoints.c.id == before.id).values(values)
    after = record(WebhookEndpoint, (await tx.connection.execute(statement.returning(webhook_endpoints))).one())
    changes = {"secret": {"old": "[hidden]", "new": "[hidden]"}}
    await changing.audit_change(tx, RESOURCE, row=after, action="secret_rotated", changes=changes)
    return after


async def delete(tx: Transaction, reference: str) -> None:
    """Delete an endpoint: nothing more is sent to it, what was sent stays on record. Raises ``Problem`` 404."""
    row = await get(tx.connection, reference, lock=True)
    await tx.connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == row.id)
        .values(deleted_at=_now, updated_at=_now, status="disabled")
    )
    await stop_retries(tx.connection, row.id, "the endpoint was deleted")
    await tx.connection.execute(
        update(webhook_deliveries)
        .where(
            webhook_deliveries.c.endpoint_id == row.id,
            webhook_deliveries.c.status == "pending",
            webhook_deliveries.c.next_attempt_at.is_not(None),
        )
        .values(status="failed", next_attempt_at=None, last_error="the endpoint was deleted", updated_at=_now)
    )
    await changing.audit_change(tx, RESOURCE, row=row, action="deleted")


async def stats(connection: AsyncConnection, page: Page) -> tuple[tuple[DeliveryStats, ...], int]:
    """Return how the deliveries to one part of the project's endpoints stand, newest first, and how many endpoints."""
    alive = webhook_endpoints.c.deleted_at.is_(None)
    total = await connection.scalar(select(func.count()).select_from(webhook_endpoints).where(alive))
    part = paged(select(webhook_endpoints).where(alive), page, webhook_endpoints.c.id, ORDERABLE).subquery()
    d = webhook_deliveries.c

    def standing(status: str) -> ColumnElement[int]:
        return func.count(d.id).filter(d.status == status)

    columns = (part.c.id, part.c.url, part.c.status, part.c.failing_since)
    statement = (
        select(
            *columns,
            func.count(d.id).label("total"),
            *(standing(status).label(status) for status in ("succeeded", "failed", "pending")),
            func.coalesce(func.sum(d.attempts), 0).label("attempts"),
        )
        .select_from(part.outerjoin(webhook_deliveries, d.endpoint_id == part.c.id))
        .group_by(*columns)
        .order_by(part.c.id.desc())
    )
    return records(DeliveryStats, await connection.execute(statement)), int(total or 0)


async def deliveries(
    connection: AsyncConnection, wanted: DeliveryFilter, page: Page
) -> tuple[tuple[Delivery, ...], int]:
    """Return one part of the project's deliveries, newest first, and their number."""
    conditions = wanted.conditions()
    total = await total_of(connection, _hooks, *conditions)
    statement = paged(_hook.where(*conditions), page, webhook_deliveries.c.id)
    return records(Delivery, await connection.execute(statement)), total


async def delivery(connection: AsyncConnection, reference: str) -> Delivery:
    """Return one delivery with its message. Raises ``Problem`` 404."""
    statement: Select[Any] = _hook.where(webhook_deliveries.c.id == _id("webhook", reference))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("webhook", reference)
    return record(Delivery, row)


async def attempts(connection: AsyncConnection, reference: str, page: Page) -> tuple[tuple[DeliveryAttempt, ...], int]:
    """Return one part of a delivery's attempts, newest first, and their number. Raises ``Problem`` 404."""
    found = await delivery(connection, reference)
    of_it = webhook_attempts.c.delivery_id == found.id
    statement = paged(select(webhook_attempts).where(of_it), page, webhook_attempts.c.id)
    return records(DeliveryAttempt, await connection.execute(statement)), found.attempts
