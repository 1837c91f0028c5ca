"""Correcting one event: its value and properties are replaced, or it no longer counts; its key stays taken (C3).

Event, rollup, usage mark and audit entry change in one transaction, together with a row of `usage_corrections`. An
open period simply has other usage then. A closed one is looked at again by the subscription's next close, as long as
the row is not settled, and the difference becomes an adjustment line (C5, B108).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events import event_store, rollup_store, unique_value_store
from adapters.postgres.events.ingest_events import IngestEvent, Submission
from adapters.postgres.events.ingest_lookup import Metric, look_up, wall_clock_now
from adapters.postgres.events.ingest_targets import unpriced, value_of
from adapters.postgres.events.records import StoredEvent
from adapters.postgres.events.rollup_store import EventContent, RollupKey
from adapters.postgres.journal.audit_store import Actor, changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, paged, total_of
from adapters.postgres.rows import records
from billing.numbers import plain
from models.identifiers import new_id, shown_id
from models.problems import Problem, conflict
from models.tables import events, invoices, usage_corrections

VOIDED: Final = "voided"


@dataclass(frozen=True)
class Replacement:
    """What an event is to say; None leaves a part as it is."""

    value: str | None = None
    properties: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Correction:
    """One event that was changed: what it counted for and what it counts for now."""

    kind: str
    event: Mapping[Any, Any]
    new_value: Decimal | None
    new_properties: Mapping[str, Any] | None
    reason: str | None
    actor: Actor
    backfill_id: UUID | None = None
    id: UUID = field(default_factory=new_id)

    def row(self, *, settled_at: datetime | None) -> dict[str, Any]:
        """Return the columns; what never counted leaves nothing to be looked at again."""
        event = self.event
        return {
            "id": self.id,
            "project_id": event["project_id"],
            "kind": self.kind,
            "backfill_id": self.backfill_id,
            "event_id": event["id"],
            "idempotency_key": event["idempotency_key"],
            "subscription_id": event["subscription_id"],
            "metric_id": event["metric_id"],
            "occurred_at": event["occurred_at"],
            "old_value": None if self.kind == "added" else event["value"],
            "new_value": self.new_value,
            "old_properties": None if self.kind == "added" else event["properties"],
            "new_properties": self.new_properties,
            "reason": self.reason,
            "actor_type": self.actor.type,
            "actor_id": self.actor.id,
            "settled_at": settled_at,
        }


async def amend(
    tx: Transaction,
    ref: str,
    *,
    replacement: Replacement,
    reason: str | None,
) -> StoredEvent:
    """Replace an event's value or properties; the same content again changes nothing.

    Raises `Problem` 404 `event_not_found`, 409 `event_voided`, 422 when the metric cannot count the new content.
    """
    stored = await _locked(tx.connection, tx.scope.project_id, ref)
    if stored.status == VOIDED:
        raise conflict("event_voided", "The event was voided; send a new one instead.", event_id=_shown(stored))
    metric = await metric_of(tx.connection, tx.scope.project_id, stored.metric_ref, stored.metric_id)
    value = replaced_value(metric, stored._mapping, replacement)
    properties = stored.properties if replacement.properties is None else dict(replacement.properties)
    changes = changes_between(
        {"value": stored.value, "properties": stored.properties}, {"value": value, "properties": properties}
    )
    if changes:
        await _require_price(tx, stored, metric, value, properties)
        await _set(tx.connection, stored, value=value, properties=properties)
        change = Correction("amended", stored._mapping, value, properties, reason, tx.actor)
        await _note(tx, stored, change, new=EventContent(value, properties))
        await _audit(tx, stored, action="amended", changes=changes, reason=reason)
    return await event_store.find(tx.connection, tx.scope.project_id, str(stored.id))


async def void(tx: Transaction, ref: str, *, reason: str | None) -> StoredEvent:
    """Take an event out of the usage; its row and its key stay.

    Raises `Problem` 404 `event_not_found`, 409 `event_voided` for one that is voided already.
    """
    stored = await _locked(tx.connection, tx.scope.project_id, ref)
    if stored.status == VOIDED:
        raise conflict("event_voided", "The event is voided already.", event_id=_shown(stored))
    await _set(tx.connection, stored, status=VOIDED)
    change = Correction("voided", stored._mapping, None, stored.properties, reason, tx.actor)
    await _note(tx, stored, change, new=None)
    changes = {"status": {"old": stored.status, "new": VOIDED}}
    await _audit(tx, stored, action="voided", changes=changes, reason=reason)
    return await event_store.find(tx.connection, tx.scope.project_id, str(stored.id))


async def _locked(connection: AsyncConnection, project_id: UUID, ref: str) -> Row[Any]:
    found = await event_store.find(connection, project_id, ref)
    statement = select(events).where(_same(project_id, found.id, found.occurred_at)).with_for_update()
    return (await connection.execute(statement)).one()


def _same(project_id: UUID, event_id: UUID, occurred_at: datetime) -> ColumnElement[bool]:
    """Name one event so that only the month of its time is looked at."""
    return and_(events.c.project_id == project_id, events.c.id == event_id, events.c.occurred_at == occurred_at)


async def _set(connection: AsyncConnection, stored: Row[Any], **values: Any) -> None:
    same = _same(stored.project_id, stored.id, stored.occurred_at)
    await connection.execute(update(events).where(same).values(**values))


async def metric_of(
    connection: AsyncConnection, project_id: UUID, metric_ref: str, metric_id: UUID | None
) -> Metric | None:
    """Find the metric of a stored event; None if it refers to none."""
    ref = metric_ref if metric_id is None else str(metric_id)
    found = await look_up(connection, project_id, [Submission([IngestEvent(ref)], "correction")])
    return found.metrics.get(ref)


async def _require_price(
    tx: Transaction,
    stored: Row[Any],
    metric: Metric | None,
    value: Decimal | None,
    properties: Mapping[str, Any] | None,
) -> None:
    """Refuse content of a counted event that a charge could not price. Raises `Problem` 422."""
    if metric is None or stored.status != event_store.COUNTED:
        return
    ref = str(stored.subscription_id)
    sent = Submission([IngestEvent(stored.metric_ref, subscription_ref=ref)], "correction")
    held = (await look_up(tx.connection, tx.scope.project_id, [sent])).subscriptions.get(ref)
    problem = unpriced(held, metric, None if value is None else plain(value), properties)
    if problem is not None:
        detail = f"A charge on the metric {metric.key!r} takes its price from the event, and could not: {problem}."
        raise Problem(422, problem, f"{detail} Send all properties as the event should have had them.")


def replaced_value(metric: Metric | None, stored: Mapping[Any, Any], replacement: Replacement) -> Decimal | None:
    """Return what a stored event counts for with its new content, read as ingestion reads it.

    A value that is given wins. New properties give it where the metric reads a property; otherwise it stays. Raises
    `Problem` 422 if a counted event would have no number.
    """
    if replacement.value is None and replacement.properties is None:
        value: Decimal | None = stored["value"]
        return value
    if metric is None or (metric.aggregation.computes_value and stored["status"] == event_store.SKIPPED):
        return stored["value"] if replacement.value is None else Decimal(replacement.value)
    properties = dict((stored["properties"] if replacement.properties is None else replacement.properties) or {})
    field_name = metric.aggregation.field
    stays = replacement.value is None and (field_name is None or field_name not in properties)
    kept = plain(stored["value"]) if stays and stored["value"] is not None and metric.takes_value_as_sent else None
    sent = IngestEvent(stored["metric_ref"], value=replacement.value or kept, properties=properties)
    text, problem = value_of(metric, sent)
    if problem is not None and stored["status"] == event_store.COUNTED:
        detail = f"The metric {metric.key!r} could not count the event with this content: {problem}."
        raise Problem(422, problem, f"{detail} Send value and properties as the event should have had them.")
    return None if text is None else Decimal(text)


async def _note(
    tx: Transaction,
    stored: Row[Any],
    change: Correction,
    *,
    new: EventContent | None,
) -> None:
    """Write the correction, and bring rollups, mark and values up to date if the event counted; None if it is gone."""
    counted = stored.status == event_store.COUNTED
    if counted:
        place = RollupKey(tx.scope.project_id, stored.subscription_id, stored.metric_id, stored.occurred_at)
        await rollup_store.shift(tx.connection, place, old=EventContent(stored.value, stored.properties), new=new)
        await rollup_store.mark(tx.connection, tx.scope.project_id, [stored.subscription_id])
        content = {"value": change.new_value, "properties": change.new_properties}
        versions = [stored._mapping, {**stored._mapping, **content}]
        await unique_value_store.refresh(tx.connection, tx.scope.project_id, stored.metric_id, versions)
    await tx.connection.execute(
        insert(usage_corrections).values(change.row(settled_at=None if counted else wall_clock_now()))
    )


async def _audit(
    tx: Transaction,
    stored: Row[Any],
    *,
    action: str,
    changes: Mapping[str, Any],
    reason: str | None,
) -> None:
    await tx.audit(
        resource_type="event",
        resource_id=stored.id,
        action=action,
        title=f"Event {action}",
        changes=changes,
        data={"idempotency_key": stored.idempotency_key, "value": stored.value, "reason": reason},
    )


def _shown(stored: Row[Any]) -> str:
    return shown_id("event", stored.id)


class PendingCorrection(NamedTuple):
    """A correction that no close has looked at, with the time of its event."""

    id: UUID
    occurred_at: datetime


async def pending(connection: AsyncConnection, subscription_id: UUID) -> list[PendingCorrection]:
    """List the corrections of a subscription that no close has looked at; to be read before the usage is."""
    columns = usage_corrections.c
    statement = select(columns.id, columns.occurred_at).where(
        columns.subscription_id == subscription_id, columns.settled_at.is_(None)
    )
    return [PendingCorrection(*row) for row in await connection.execute(statement)]


async def mark_billed(connection: AsyncConnection, ids: Sequence[UUID], invoice_id: UUID | None) -> None:
    """Note that a close has looked at corrections, and which invoice it wrote."""
    if ids:
        statement = update(usage_corrections).where(usage_corrections.c.id.in_(ids))
        await connection.execute(statement.values(settled_at=func.clock_timestamp(), settled_by=invoice_id))


async def reopen(connection: AsyncConnection, invoice_id: UUID) -> None:
    """Let the corrections of an invoice that bills nothing any more be looked at again."""
    statement = update(usage_corrections).where(usage_corrections.c.settled_by == invoice_id)
    await connection.execute(statement.values(settled_at=None, settled_by=None))


@dataclass(frozen=True, slots=True)
class CorrectionEntry:
    """One event that was changed, and the invoice that took it up; `settled_at` is None while no close has."""

    id: UUID
    kind: str
    backfill_id: UUID | None
    event_id: UUID
    idempotency_key: str
    subscription_id: UUID | None
    metric_id: UUID | None
    occurred_at: datetime
    old_value: Decimal | None
    new_value: Decimal | None
    old_properties: dict[str, object] | None
    new_properties: dict[str, object] | None
    reason: str | None
    actor_type: str
    actor_id: str | None
    settled_at: datetime | None
    settled_by: UUID | None
    invoice_number: str | None
    created_at: datetime


@dataclass(frozen=True)
class CorrectionFilter:
    """Which corrections are wanted; None leaves a field open."""

    event_id: UUID | None = None
    subscription_id: UUID | None = None
    backfill_id: UUID | None = None
    pending: bool | None = None


async def listed(
    connection: AsyncConnection, project_id: UUID, wanted: CorrectionFilter, page: Page
) -> tuple[Sequence[CorrectionEntry], int]:
    """Return one part of the matching corrections, the newest first, and their number."""
    columns = usage_corrections.c
    conditions = [columns.project_id == project_id]
    for column, value in (
        (columns.event_id, wanted.event_id),
        (columns.subscription_id, wanted.subscription_id),
        (columns.backfill_id, wanted.backfill_id),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.pending is not None:
        conditions.append(columns.settled_at.is_(None) if wanted.pending else columns.settled_at.is_not(None))
    total = await total_of(connection, usage_corrections, *conditions)
    read = select(usage_corrections, invoices.c.number.label("invoice_number")).outerjoin(
        invoices, invoices.c.id == columns.settled_by
    )
    statement = paged(read.where(*conditions), page, columns.id, {"occurred_at": columns.occurred_at})
    return records(CorrectionEntry, await connection.execute(statement)), total
