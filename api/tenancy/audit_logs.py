"""The audit log (BoxBilling: Audit Logs)."""

from datetime import datetime
from typing import Annotated, Any, Final, Self, cast
from uuid import UUID

from fastapi import Path, Query, Request, Response
from pydantic import Field

from adapters.postgres import resolver
from adapters.postgres.events import event_store
from adapters.postgres.invoices.add_on_store import ADD_ON
from adapters.postgres.invoices.coupon_store import COUPON
from adapters.postgres.journal import audit_store
from adapters.postgres.journal.audit_store import AuditEntry, AuditFilter
from adapters.postgres.resolver import Kind
from adapters.postgres.rows import AsyncConnection
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep
from api.http.moments import InstantField
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.routing import resource_router
from models.identifiers import parse_id
from models.problems import invalid

router = resource_router("Audit Logs")


class AuditLogResponse(Answer):
    """One change: what changed, who changed it, when."""

    id: UUID
    organization_id: UUID
    project_id: UUID | None = Field(description="Null for what belongs to the organization as a whole.")
    resource_type: str = Field(examples=["invoice"])
    resource_id: UUID
    action: str = Field(examples=["created", "updated", "deleted", "status_changed"])
    title: str
    changes: dict[str, Any] = Field(examples=[{"name": {"old": "Acme", "new": "Acme Corp"}}])
    actor_type: str = Field(examples=["api_key", "bootstrap", "workflow", "system"])
    actor_id: str | None
    metadata_: dict[str, Any] | None = Field(description="What else is known about the change.")
    occurred_at: datetime = Field(description="In the subscription's time: a test clock's, if it has one.")
    created_at: datetime = Field(description="Wall-clock time at which it was recorded.")

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Return the answer that shows one entry of the log."""
        return cls.showing(entry, metadata_=entry.data or None, created_at=entry.recorded_at)


#: The kinds of resources whose ids the client chooses.
_KINDS: Final[dict[str, Kind[Any]]] = {kind.name: kind for kind in (*resolver.KINDS, COUPON, ADD_ON)}

_Text = Annotated[str | None, Query(max_length=100)]
_Instant = Annotated[InstantField | None, Query(description="RFC 3339; a date alone means its first instant, UTC.")]


@router.get(
    "/audit_logs",
    operation_id="list_audit_logs",
    summary="List audit logs",
    response_model=list[AuditLogResponse],
    responses=LISTED,
)
async def list_audit_logs(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    resource_type: _Text = None,
    resource_id: Annotated[str | None, Query(max_length=255)] = None,
    action: _Text = None,
    actor_type: _Text = None,
    actor_id: _Text = None,
    start_date: _Instant = None,
    end_date: _Instant = None,
) -> Response:
    """Return the changes of the project and of its organization, newest first; `end_date` is exclusive."""
    async with database.transaction(caller.scope) as connection:
        own = None
        if resource_id is not None:
            own = await _resource_id(connection, caller.project_id, resource_type, resource_id)
        wanted = AuditFilter(
            resource_type=resource_type,
            resource_id=own,
            action=action,
            actor_type=actor_type,
            actor_id=actor_id,
            start=start_date,
            end=end_date,
        )
        rows, total = await audit_store.entries(connection, wanted, page)
    return listed_as(AuditLogResponse.of, page, rows, total, request)


@router.get(
    "/audit_logs/{resource_type}/{resource_id}",
    operation_id="get_audit_trail",
    summary="Get audit trail for a resource",
    response_model=list[AuditLogResponse],
    responses=LISTED,
)
async def get_audit_trail(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    resource_type: Annotated[str, Path(max_length=100)],
    resource_id: Annotated[str, Path(max_length=255)],
) -> Response:
    """Return every change of one resource, newest first; `resource_id` is its uuid or the id that the API shows."""
    async with database.transaction(caller.scope) as connection:
        own = await _resource_id(connection, caller.project_id, resource_type, resource_id)
        wanted = AuditFilter(resource_type=resource_type, resource_id=own)
        rows, total = await audit_store.entries(connection, wanted, page)
    return listed_as(AuditLogResponse.of, page, rows, total, request)


async def _resource_id(connection: AsyncConnection, project_id: UUID, resource_type: str | None, text: str) -> UUID:
    """Return the uuid of a resource by whatever the API shows as its id. Raises `Problem` 404 and 422."""
    found = parse_id(text)
    if found is not None:
        return found
    kind = _KINDS.get(resource_type or "")
    if kind is not None:
        named = await resolver.required(connection, project_id, kind, text)
        return cast(UUID, named.id)
    if resource_type == "event":
        return (await event_store.find(connection, project_id, text)).id
    raise invalid("resource_id", "is neither a uuid nor an id that this API shows")
