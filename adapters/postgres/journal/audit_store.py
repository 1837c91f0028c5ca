"""The audit log: one append-only row for every change, written in the transaction that makes the change (C31)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import ProjectScope
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import Columns, records
from billing.numbers import plain
from models.identifiers import new_id
from models.tables import audit_log

_SECRETS: Final = frozenset({"hmac_key", "secret", "secrets"})
_HIDDEN: Final = "[hidden]"
_LONGEST_HISTORY: Final = 1000


@dataclass(frozen=True)
class Actor:
    """Who made a change: ``type`` is api_key, bootstrap, workflow, system or user; ``id`` says which one."""

    type: str
    id: str | None = None


SYSTEM_ACTOR = Actor("system")


async def record(
    connection: AsyncConnection,
    scope: ProjectScope,
    actor: Actor,
    *,
    resource_type: str,
    resource_id: UUID,
    action: str,
    title: str = "",
    changes: Columns | None = None,
    data: Columns | None = None,
    occurred_at: datetime | None = None,
) -> None:
    """Write one entry about a resource of a project; `Transaction.audit` is what calls it.

    ``changes`` is ``{"field": {"old": ..., "new": ...}}`` (see ``changes_between``); ``occurred_at`` is in the
    subscription's time and defaults to the wall clock (C11).
    """
    await _write(
        connection,
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        actor=actor,
        about={"resource_type": resource_type, "resource_id": resource_id, "action": action, "title": title},
        changes=changes,
        data=data,
        occurred_at=occurred_at,
    )


async def record_for_organization(
    connection: AsyncConnection,
    organization_id: UUID,
    actor: Actor,
    *,
    resource_type: str,
    resource_id: UUID,
    action: str,
    title: str = "",
    changes: Columns | None = None,
    data: Columns | None = None,
) -> None:
    """Write one entry about what belongs to no single project: organizations, projects, keys.

    Every project of the organization shows it.
    """
    await _write(
        connection,
        organization_id=organization_id,
        project_id=None,
        actor=actor,
        about={"resource_type": resource_type, "resource_id": resource_id, "action": action, "title": title},
        changes=changes,
        data=data,
        occurred_at=None,
    )


async def _write(
    connection: AsyncConnection,
    *,
    organization_id: UUID,
    project_id: UUID | None,
    actor: Actor,
    about: Columns,
    changes: Columns | None,
    data: Columns | None,
    occurred_at: datetime | None,
) -> None:
    await connection.execute(
        insert(audit_log).values(
            id=new_id(),
            organization_id=organization_id,
            project_id=project_id,
            actor_type=actor.type,
            actor_id=actor.id,
            changes=_storable(changes or {}),
            data=_storable(data or {}),
            occurred_at=func.clock_timestamp() if occurred_at is None else occurred_at,
            **about,
        )
    )


def changes_between(before: Columns, after: Columns) -> dict[str, dict[str, object]]:
    """List the fields of ``after`` whose value differs from ``before``, as ``{"field": {"old", "new"}}``.

    That a secret changed is noted, never the secret itself.
    """
    return {
        field: {"old": _noted(field, before.get(field)), "new": _noted(field, value)}
        for field, value in after.items()
        if before.get(field) != value
    }


def _noted(field: str, value: Any) -> Any:
    return _HIDDEN if field in _SECRETS and value is not None else _storable(value)


def _storable(value: Any) -> Any:
    """Turn a value into plain JSON: exact numbers as text, instants in UTC."""
    match value:
        case Mapping():
            return {str(key): _storable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_storable(item) for item in value]
        case Decimal():
            return plain(value)
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case UUID() | date():
            return str(value)
    return value


@dataclass(frozen=True)
class AuditFilter:
    """Which entries are wanted; None leaves a field open. ``start`` is inclusive, ``end`` exclusive (wall clock)."""

    resource_type: str | None = None
    resource_id: UUID | None = None
    action: str | None = None
    actor_type: str | None = None
    actor_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """List what the filter demands of a row."""
        wanted = {
            audit_log.c.resource_type: self.resource_type,
            audit_log.c.resource_id: self.resource_id,
            audit_log.c.action: self.action,
            audit_log.c.actor_type: self.actor_type,
            audit_log.c.actor_id: self.actor_id,
        }
        found: list[ColumnElement[bool]] = [column == value for column, value in wanted.items() if value is not None]
        if self.start is not None:
            found.append(audit_log.c.recorded_at >= self.start)
        if self.end is not None:
            found.append(audit_log.c.recorded_at < self.end)
        return found


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change, as the log has it; `occurred_at` is in the subscription's time."""

    id: UUID
    organization_id: UUID
    project_id: UUID | None
    actor_type: str
    actor_id: str | None
    resource_type: str
    resource_id: UUID
    action: str
    title: str
    changes: dict[str, dict[str, object]]
    data: dict[str, object]
    occurred_at: datetime
    recorded_at: datetime


async def history_of(connection: AsyncConnection, resource_type: str, resource_id: UUID) -> Sequence[AuditEntry]:
    """Read what happened to a resource, oldest first, at most its first thousand changes."""
    statement = (
        select(audit_log)
        .where(audit_log.c.resource_type == resource_type, audit_log.c.resource_id == resource_id)
        .order_by(audit_log.c.sequence)
        .limit(_LONGEST_HISTORY)
    )
    return records(AuditEntry, await connection.execute(statement))


async def entries(connection: AsyncConnection, wanted: AuditFilter, page: Page) -> tuple[tuple[AuditEntry, ...], int]:
    """Return one part of the matching entries that the transaction's scope may see, newest first, and their number."""
    conditions = wanted.conditions()
    orderable = {"resource_type": audit_log.c.resource_type, "action": audit_log.c.action}
    rows, total = await page_of(connection, audit_log, page, *conditions, orderable=orderable)
    return records(AuditEntry, rows), total
