"""Counting the skipped events of a window: a row that says how far it has come, a part of the events at a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events import event_store
from adapters.postgres.events.records import Reprocessing
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.rows import record
from models.identifiers import REPROCESS_WORKFLOW, new_id, parse_id, reprocess_workflow_id
from models.messages.upkeep import Reprocess, Reprocessed
from models.problems import not_found
from models.tables import customers, event_reprocessings, events

AT_ONCE: Final = 100
"""Events that one transaction looks at."""


@dataclass(frozen=True)
class Window:
    """Which skipped events are meant: of event time in ``[start, end)``, by what they named; None means any."""

    start: datetime
    end: datetime
    metric: str | None = None
    customer: str | None = None


async def begin(tx: Transaction, window: Window) -> tuple[Reprocessing, str]:
    """Write the run and the start of its workflow; return the run and the workflow's id."""
    identity = new_id()
    total = await tx.connection.scalar(
        select(func.count()).select_from(events).where(*_wanted(tx.scope.project_id, window), _is_of(window.customer))
    )
    values = {
        "id": identity,
        "project_id": tx.scope.project_id,
        "window_start": window.start,
        "window_end": window.end,
        "metric_ref": window.metric,
        "customer_ref": window.customer,
        "total": total or 0,
        "actor_type": tx.actor.type,
        "actor_id": tx.actor.id,
    }
    await tx.connection.execute(insert(event_reprocessings).values(values))
    workflow_id = reprocess_workflow_id(tx.scope.project_id, identity)
    message = Reprocess(
        organization_id=tx.scope.organization_id, project_id=tx.scope.project_id, reprocessing_id=identity
    )
    await tx.enqueue_start(
        workflow=REPROCESS_WORKFLOW,
        workflow_id=workflow_id,
        message=message,
    )
    await tx.audit(
        resource_type="event_reprocessing",
        resource_id=identity,
        action="started",
        data={"total": total or 0},
    )
    return await find(tx.connection, tx.scope.project_id, str(identity)), workflow_id


def _wanted(project_id: UUID, window: Window) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        events.c.project_id == project_id,
        events.c.status == event_store.SKIPPED,
        events.c.occurred_at >= window.start,
        events.c.occurred_at < window.end,
    ]
    if window.metric is not None:
        found.append(events.c.metric_ref == window.metric)
    return found


def _is_of(customer: str | None) -> ColumnElement[bool]:
    if customer is None:
        return events.c.id.is_not(None)
    named = select(customers.c.id).where(or_(customers.c.code == customer, customers.c.id == parse_id(customer)))
    return or_(events.c.customer_ref == customer, events.c.customer_id.in_(named))


async def part(tx: Transaction, reprocessing_id: UUID) -> Reprocessed:
    """Look at the next events of a run, in the order of their receipt; a run that is done stays done.

    Safe to run again: an event that is counted stays counted once, and the row says how far the run has come.
    """
    own = event_reprocessings.c.id == reprocessing_id
    row = (await tx.connection.execute(select(event_reprocessings).where(own).with_for_update())).one()
    if row.status == "done":
        return Reprocessed(total=row.total, seen=row.seen, counted=row.counted, done=True)
    window = Window(row.window_start, row.window_end, row.metric_ref, row.customer_ref)
    statement = select(events.c.id).where(*_wanted(tx.scope.project_id, window), _is_of(window.customer))
    if row.last_event_id is not None:
        statement = statement.where(events.c.id > row.last_event_id)
    ids = list((await tx.connection.execute(statement.order_by(events.c.id).limit(AT_ONCE))).scalars())
    counted = 0
    for event_id in ids:
        done = await event_store.reprocess(tx.by(Actor(row.actor_type, row.actor_id)), str(event_id))
        counted += done.event.status == event_store.COUNTED
    values: dict[str, Any] = {"seen": row.seen + len(ids), "counted": row.counted + counted}
    if ids:
        values["last_event_id"] = ids[-1]
    if len(ids) < AT_ONCE:
        values |= {"status": "done", "finished_at": func.clock_timestamp()}
    await tx.connection.execute(update(event_reprocessings).where(own).values(values))
    return Reprocessed(
        total=row.total, seen=values["seen"], counted=values["counted"], done=values.get("status") == "done"
    )


async def find(connection: AsyncConnection, project_id: UUID, ref: str) -> Reprocessing:
    """Find a run. Raises `Problem` 404 `reprocessing_not_found`."""
    table = event_reprocessings
    statement = select(table).where(table.c.project_id == project_id, table.c.id == parse_id(ref))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("reprocessing", ref)
    return record(Reprocessing, row)
