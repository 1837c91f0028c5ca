"""Reading stored events, and counting a skipped one once what it refers to exists."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.events import unique_value_store
from adapters.postgres.events.event_count_store import EventKinds, event_counts
from adapters.postgres.events.ingest_events import IngestEvent, Submission
from adapters.postgres.events.ingest_lookup import look_up, wall_clock_now
from adapters.postgres.events.ingest_store import FOLD
from adapters.postgres.events.ingest_targets import customer_of, target_of, unpriced, value_of
from adapters.postgres.events.records import StoredEvent
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, paged, total_of
from adapters.postgres.resolver import CUSTOMER, METRIC, SUBSCRIPTION, Kind, resolve_many
from adapters.postgres.rows import record, records
from billing.numbers import plain
from models.identifiers import parse_id
from models.problems import not_found
from models.tables import customers, event_keys, events, metrics, subscriptions

COUNTED: Final = "counted"
SKIPPED: Final = "skipped"

_FOLD_ONE: Final = f"""
WITH inserted AS (
    SELECT subscription_id, metric_id, occurred_at, value, properties, status FROM events
    WHERE project_id = %(project)s AND id = %(id)s
), {FOLD}
SELECT count(*) FROM inserted
"""  # noqa: S608


@dataclass(frozen=True)
class EventFilter:
    """Which events are wanted; None leaves a field open. ``start`` is inclusive, ``end`` exclusive, of event time."""

    customer: str | None = None
    metric: str | None = None
    subscription: str | None = None
    status: str | None = None
    key: str | None = None
    start: datetime | None = None
    end: datetime | None = None


def _read() -> Select[Any]:
    """Read events with the names of what they resolved to."""
    return (
        select(
            events,
            customers.c.code.label("customer_code"),
            metrics.c.key.label("metric_key"),
        )
        .outerjoin(customers, customers.c.id == events.c.customer_id)
        .outerjoin(metrics, metrics.c.id == events.c.metric_id)
    )


async def _conditions(connection: AsyncConnection, project_id: UUID, wanted: EventFilter) -> list[ColumnElement[bool]]:
    """Return conditions that indexes answer: what counts is found by what it resolved to, the rest by what was sent."""
    found: list[ColumnElement[bool]] = [events.c.project_id == project_id]
    named: tuple[tuple[str | None, Kind[Any], ColumnElement[Any], ColumnElement[Any]], ...] = (
        (wanted.customer, CUSTOMER, events.c.customer_id, events.c.customer_ref),
        (wanted.metric, METRIC, events.c.metric_id, events.c.metric_ref),
        (wanted.subscription, SUBSCRIPTION, events.c.subscription_id, events.c.subscription_ref),
    )
    for ref, kind, column, sent in named:
        if ref is None:
            continue
        row = (await resolve_many(connection, project_id, kind, (ref,))).get(ref)
        if row is None:
            found.append(sent == ref)
            continue
        counts = and_(events.c.status == COUNTED, column == row.id)
        if kind == CUSTOMER:
            held = await _subscriptions_of(connection, project_id, row.id)
            counts = and_(counts, events.c.subscription_id.in_(held))
        found.append(or_(counts, and_(events.c.status != COUNTED, or_(column == row.id, sent == ref))))
    if wanted.status is not None:
        found.append(events.c.status == wanted.status)
    if wanted.key is not None:
        found.append(events.c.id == _keyed(project_id, wanted.key))
    if wanted.start is not None:
        found.append(events.c.occurred_at >= wanted.start)
    if wanted.end is not None:
        found.append(events.c.occurred_at < wanted.end)
    return found


def _keyed(project_id: UUID, key: str) -> ScalarSelect[UUID]:
    """Select the id of the event that has an idempotency key."""
    same = event_keys.c.project_id == project_id, event_keys.c.idempotency_key == key
    return select(event_keys.c.event_id).where(*same).scalar_subquery()


async def _subscriptions_of(connection: AsyncConnection, project_id: UUID, customer_id: UUID) -> list[UUID]:
    """Return the subscriptions that may hold a customer's events: its own and the organization's (C9)."""
    organizations = select(customers.c.id).where(customers.c.project_id == project_id, customers.c.is_organization)
    owners = or_(subscriptions.c.customer_id == customer_id, subscriptions.c.customer_id.in_(organizations))
    statement = select(subscriptions.c.id).where(subscriptions.c.project_id == project_id, owners)
    return list((await connection.execute(statement)).scalars())


async def listed(
    connection: AsyncConnection, project_id: UUID, wanted: EventFilter, page: Page
) -> tuple[Sequence[StoredEvent], int]:
    """Return one part of the matching events, the last received first, and their number."""
    condition = and_(*await _conditions(connection, project_id, wanted))
    orderable = {
        "timestamp": events.c.occurred_at,
        "received_at": events.c.received_at,
        "value": events.c.value,
        "code": events.c.metric_ref,
        "transaction_id": events.c.idempotency_key,
    }
    statement = paged(_read().where(condition), page, events.c.id, orderable)
    if wanted != EventFilter(status=wanted.status):
        total = await total_of(connection, events, condition)
    else:
        total = await event_counts(connection, project_id, EventKinds(wanted.status))
    return records(StoredEvent, await connection.execute(statement)), total


async def find(connection: AsyncConnection, project_id: UUID, ref: str) -> StoredEvent:
    """Find an event by its shown id, uuid or idempotency key. Raises ``Problem`` 404 ``event_not_found``."""
    own = parse_id(ref)
    same_key = events.c.id == _keyed(project_id, ref)
    condition = same_key if own is None else or_(events.c.id == own, same_key)
    statement = _read().where(events.c.project_id == project_id, condition)
    if own is not None:
        statement = statement.order_by((events.c.id == own).desc())
    row = (await connection.execute(statement.limit(1))).first()
    if row is None:
        raise not_found("event", ref)
    return record(StoredEvent, row)


class HourVolume(NamedTuple):
    """The number of events of one UTC hour."""

    timestamp: datetime
    count: int  # type: ignore[assignment]


async def volume(connection: AsyncConnection, project_id: UUID, start: datetime, end: datetime) -> list[HourVolume]:
    """Count the events of each UTC hour of ``[start, end)`` by event time; empty hours are absent (B74)."""
    hour = func.date_trunc("hour", events.c.occurred_at, "UTC").label("hour")
    statement = (
        select(hour, func.count())
        .where(events.c.project_id == project_id, events.c.occurred_at >= start, events.c.occurred_at < end)
        .group_by(text("1"))
        .order_by(text("1"))
    )
    return [HourVolume(*row) for row in (await connection.execute(statement)).all()]


@dataclass(frozen=True)
class Reprocessed:
    """The event after reprocessing, and the number of subscriptions that were considered for it."""

    event: StoredEvent
    subscriptions_checked: int


async def reprocess(tx: Transaction, ref: str) -> Reprocessed:
    """Count a skipped event if what it refers to exists now; one that is counted stays counted once (B55, B76).

    Raises ``Problem`` 404 ``event_not_found``.
    """
    found = await find(tx.connection, tx.scope.project_id, ref)
    same = and_(events.c.project_id == tx.scope.project_id, events.c.id == found.id)
    stored = (await tx.connection.execute(select(events).where(same).with_for_update())).one()
    if stored.status != SKIPPED:
        return Reprocessed(found, 1 if stored.subscription_id is not None else 0)
    event = IngestEvent(
        stored.metric_ref,
        stored.customer_ref,
        stored.subscription_ref,
        stored.product_item_ref,
        stored.idempotency_key,
        None if stored.value is None else plain(stored.value),
        stored.properties,
        stored.occurred_at,
    )
    looked_up = await look_up(tx.connection, tx.scope.project_id, [Submission([event], stored.source)])
    target = target_of(event, stored.source, looked_up, wall_clock_now())
    held, reason = target.choose(stored.occurred_at)
    value: str | None = event.value
    if target.metric is not None:
        value, unreadable = value_of(target.metric, event)
        reason = reason or unreadable or unpriced(held, target.metric, value, event.properties)
    changed = {
        "metric_id": None if target.metric is None else target.metric.id,
        "customer_id": customer_of(target, held),
        "subscription_id": None if held is None else held.id,
        "status": COUNTED if reason is None else SKIPPED,
        "skip_reason": reason,
        "value": value,
    }
    await tx.connection.execute(update(events).where(same).values(changed))
    if reason is None:
        raw = await driver(tx.connection)
        names = {"project": tx.scope.project_id, "id": stored.id, "metric_ids": [changed["metric_id"]]}
        await raw.execute(_FOLD_ONE, names)
        counted = {**stored._mapping, **changed}
        await unique_value_store.refresh(tx.connection, tx.scope.project_id, counted["metric_id"], [counted])
        await tx.audit(
            resource_type="event",
            resource_id=stored.id,
            action="reprocessed",
            changes={"status": {"old": SKIPPED, "new": COUNTED}},
            data={"idempotency_key": stored.idempotency_key, "skip_reason": stored.skip_reason},
        )
    event_now = await find(tx.connection, tx.scope.project_id, str(stored.id))
    return Reprocessed(event_now, len(target.candidates))
