"""Backfill: all events of a metric in a window of event time are replaced by others, in one transaction.

Events whose key is among the new ones are amended in place, the others are voided, and new keys are stored as ingestion
stores them. Every event that changed gets its row of `usage_corrections`, so closed periods are looked at again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg.rows import dict_row
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres import resources
from adapters.postgres.database import ProjectScope, driver
from adapters.postgres.events import correction_store, rollup_store, unique_value_store
from adapters.postgres.events.correction_store import Correction, Replacement
from adapters.postgres.events.ingest_events import IngestEvent, Outcome, Submission
from adapters.postgres.events.ingest_lookup import Metric, wall_clock_now
from adapters.postgres.events.ingest_store import ingest_within
from adapters.postgres.events.rollup_store import Days
from adapters.postgres.journal.audit_store import Actor
from adapters.postgres.journal.transaction import Transaction
from models.identifiers import new_id, shown_id
from models.problems import Problem, conflict
from models.tables import usage_corrections

MOST_REPLACED: Final = 100_000
"""Most stored events that one backfill replaces."""

_INSERTED_AT_ONCE: Final = 1000
_MOST_LISTED: Final = 100
_JSON: Final = msgspec.json.Encoder(decimal_format="number")

# Counted events are found through their subscriptions' rollups, skipped ones by their own index. What was sent for a
# customer or a subscription before there was one belongs to the window too: reprocessing would count it beside.
_REPLACED: Final = """
    SELECT * FROM events e
    WHERE e.project_id = %(project)s AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s
      AND (%(customer)s::uuid IS NULL OR e.customer_id = %(customer)s OR (e.customer_id IS NULL AND (
        e.customer_ref = ANY(%(customer_names)s)
        OR e.customer_ref = (SELECT c.code FROM customers c WHERE c.id = %(customer)s))))
      AND (%(subscription)s::uuid IS NULL OR e.subscription_id = %(subscription)s OR (e.subscription_id IS NULL AND (
        e.subscription_ref = ANY(%(subscription_names)s)
        OR e.subscription_ref = (SELECT s.external_id FROM subscriptions s WHERE s.id = %(subscription)s))))
      AND (
        (e.status = 'counted' AND e.metric_id = %(metric)s AND e.subscription_id = ANY(ARRAY(
            SELECT DISTINCT r.subscription_id FROM usage_rollups r
            WHERE r.project_id = %(project)s AND r.metric_id = %(metric)s
              AND (%(subscription)s::uuid IS NULL OR r.subscription_id = %(subscription)s)
              AND r.day >= (%(start)s AT TIME ZONE 'UTC')::date AND r.day <= (%(end)s AT TIME ZONE 'UTC')::date)))
        OR (e.status = 'skipped' AND (e.metric_id = %(metric)s OR e.metric_ref = %(key)s))
      )
    ORDER BY e.idempotency_key COLLATE "C" LIMIT %(most)s FOR UPDATE
"""

_VOID: Final = """
    UPDATE events SET status = 'voided'
    WHERE project_id = %(project)s AND occurred_at >= %(start)s AND occurred_at < %(end)s AND id = ANY(%(ids)s)
"""

_AMEND: Final = """
    UPDATE events e SET value = n.value, properties = n.properties
    FROM unnest(%(ids)s::uuid[], %(values)s::numeric[], %(properties)s::jsonb[]) AS n (id, value, properties)
    WHERE e.project_id = %(project)s AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s AND e.id = n.id
"""


@dataclass(frozen=True)
class Window:
    """What is replaced: a metric's events in ``[start, end)``, of everybody, one customer or one subscription."""

    metric: resources.Metric
    start: datetime
    end: datetime
    customer_id: UUID | None = None
    subscription_id: UUID | None = None


@dataclass(frozen=True)
class Backfilled:
    """What a backfill did, in numbers of events; `skipped` gives reasons by the position in what was sent."""

    id: UUID
    voided: int
    amended: int
    unchanged: int
    added: int
    skipped: Mapping[int, str]
    subscription_ids: frozenset[UUID]


async def backfill(
    tx: Transaction,
    window: Window,
    *,
    sent: Sequence[IngestEvent],
    reason: str,
) -> Backfilled:
    """Replace the window's events by those that were sent, all or nothing.

    Raises `Problem` 422 `backfill_too_large`, 409 `idempotency_conflict` for keys of events outside the window or at
    another time, and what ingestion and amending raise.
    """
    identity = new_id()
    stored = await _replaced(tx, window)
    kept = _kept(stored, sent)
    metric = await correction_store.metric_of(tx.connection, tx.scope.project_id, window.metric.key, window.metric.id)
    amended = _amended(metric, stored, kept)
    voided = [row for key, row in stored.items() if key not in kept]
    touched = {row["subscription_id"] for row in stored.values() if row["status"] == "counted"}
    days = Days(tx.scope.project_id, window.metric.id, sorted(touched), window.start, window.end)
    await rollup_store.lock(tx.connection, days)
    await _change(tx, window, amended, voided)
    await rollup_store.recompute(tx.connection, days)
    fresh = [place for place, event in enumerate(sent) if event.key is None or event.key not in kept]
    outcome = await _stored(tx, [sent[place] for place in fresh])
    note = _Note(identity, reason, tx.actor)
    added = [] if outcome is None else note.added(tx.scope, window, [sent[place] for place in fresh], outcome)
    changes = [*note.amended(amended), *note.voided(voided), *added]
    await _write(tx.connection, changes)
    subscriptions = frozenset(touched | {each.event["subscription_id"] for each in added} - {None})
    await rollup_store.mark(tx.connection, tx.scope.project_id, list(subscriptions))
    await unique_value_store.refresh(
        tx.connection, tx.scope.project_id, window.metric.id, [*_counted(voided), *_versions(amended)]
    )
    done = Backfilled(
        id=identity,
        voided=len(voided),
        amended=len(amended),
        unchanged=len(kept) - len(amended),
        added=len(fresh),
        skipped={} if outcome is None else {fresh[place]: why for place, why in outcome.skipped.items()},
        subscription_ids=subscriptions,
    )
    await _audit(tx, window, done=done, reason=reason)
    return done


async def _replaced(tx: Transaction, window: Window) -> dict[str, dict[str, Any]]:
    """Lock the window's events, by their keys."""
    raw = await driver(tx.connection)
    names = {
        "project": tx.scope.project_id,
        "metric": window.metric.id,
        "key": window.metric.key,
        "start": window.start,
        "end": window.end,
        "customer": window.customer_id,
        "customer_names": _names("customer", window.customer_id),
        "subscription": window.subscription_id,
        "subscription_names": _names("subscription", window.subscription_id),
        "most": MOST_REPLACED + 1,
    }
    async with raw.cursor(row_factory=dict_row) as reading:
        await reading.execute(_REPLACED, names)
        rows = await reading.fetchall()
    if len(rows) > MOST_REPLACED:
        detail = f"The window holds more than {MOST_REPLACED} events; split it."
        raise Problem(422, "backfill_too_large", detail)
    return {row["idempotency_key"]: row for row in rows}


def _names(kind: str, identity: UUID | None) -> list[str]:
    """Return the names by which an event may mean it, beside the one that its owner chose."""
    return [] if identity is None else [str(identity), shown_id(kind, identity)]


def _kept(stored: Mapping[str, Mapping[str, Any]], sent: Sequence[IngestEvent]) -> dict[str, IngestEvent]:
    """Return the events that were sent under the key of one in the window. Raises `Problem` 409 for another time."""
    kept: dict[str, IngestEvent] = {}
    for event in sent:
        row = None if event.key is None else stored.get(event.key)
        if row is None or event.key is None:
            continue
        if event.key in kept or event.occurred_at not in (None, row["occurred_at"]):
            raise _conflict([event.key])
        kept[event.key] = event
    return kept


def _conflict(keys: Sequence[str]) -> Problem:
    return conflict(
        "idempotency_conflict",
        f"{len(keys)} keys belong to events outside the window, or at another time; nothing was changed.",
        idempotency_keys=list(keys[:_MOST_LISTED]),
    )


@dataclass(frozen=True)
class _Amended:
    """A stored event and what it says from now on."""

    row: Mapping[str, Any]
    value: Decimal | None
    properties: Mapping[str, Any] | None


def _amended(
    metric: Metric | None, stored: Mapping[str, Mapping[str, Any]], kept: Mapping[str, IngestEvent]
) -> list[_Amended]:
    """Return what changes of the events that keep their key; an event without a value is read from its properties."""
    found = []
    for key, event in kept.items():
        row = stored[key]
        replacement = Replacement(value=event.value, properties=event.properties)
        value = correction_store.replaced_value(metric, row, replacement)
        properties = row["properties"] if event.properties is None else event.properties
        if (value, properties) != (row["value"], row["properties"]):
            found.append(_Amended(row, value, properties))
    return found


def _counted(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["status"] == "counted"]


def _versions(amended: Sequence[_Amended]) -> list[Mapping[str, Any]]:
    """Return amended events that count as they were and as they are."""
    own = [one for one in amended if one.row["status"] == "counted"]
    after = [{**one.row, "value": one.value, "properties": one.properties} for one in own]
    return [*(one.row for one in own), *after]


async def _change(
    tx: Transaction,
    window: Window,
    amended: Sequence[_Amended],
    voided: Sequence[Mapping[str, Any]],
) -> None:
    raw = await driver(tx.connection)
    where = {"project": tx.scope.project_id, "start": window.start, "end": window.end}
    await raw.execute(_VOID, {**where, "ids": [row["id"] for row in voided]})
    properties = [None if one.properties is None else _JSON.encode(one.properties).decode() for one in amended]
    await raw.execute(
        _AMEND,
        {
            **where,
            "ids": [one.row["id"] for one in amended],
            "values": [one.value for one in amended],
            "properties": properties,
        },
    )


async def _stored(tx: Transaction, fresh: Sequence[IngestEvent]) -> Outcome | None:
    """Store events with new keys. Raises `Problem` 409 if a key is taken."""
    if not fresh:
        return None
    (outcome,) = await ingest_within(tx.connection, tx.scope, [Submission(fresh, "backfill")])
    if outcome.problem is not None:
        raise outcome.problem
    if outcome.already:
        raise _conflict([outcome.key_at(place) for place in outcome.already])
    return outcome


@dataclass(frozen=True)
class _Note:
    """Makes the rows that say what a backfill changed."""

    backfill_id: UUID
    reason: str
    actor: Actor

    def amended(self, changes: Sequence[_Amended]) -> list[Correction]:
        return [self._of("amended", one.row, one.value, one.properties) for one in changes]

    def voided(self, rows: Sequence[Mapping[str, Any]]) -> list[Correction]:
        return [self._of("voided", row, None, row["properties"]) for row in rows]

    def added(
        self, scope: ProjectScope, window: Window, fresh: Sequence[IngestEvent], outcome: Outcome
    ) -> list[Correction]:
        """Leave out what is kept as skipped: it counts nowhere yet."""
        found = []
        for place, event in enumerate(fresh):
            if place in outcome.skipped:
                continue
            row = {
                "project_id": scope.project_id,
                "id": outcome.id_at(place),
                "idempotency_key": outcome.key_at(place),
                "subscription_id": outcome.subscription_at(place),
                "metric_id": window.metric.id,
                "occurred_at": outcome.time_at(place),
                "status": "counted",
            }
            text = outcome.value_at(place)
            found.append(self._of("added", row, None if text is None else Decimal(text), event.properties))
        return found

    def _of(
        self, kind: str, row: Mapping[str, Any], value: Decimal | None, properties: Mapping[str, Any] | None
    ) -> Correction:
        return Correction(kind, row, value, properties, self.reason, self.actor, self.backfill_id)


async def _write(connection: AsyncConnection, changes: Sequence[Correction]) -> None:
    rows = [
        change.row(settled_at=None if change.event["status"] == "counted" else wall_clock_now()) for change in changes
    ]
    for start in range(0, len(rows), _INSERTED_AT_ONCE):
        await connection.execute(insert(usage_corrections), rows[start : start + _INSERTED_AT_ONCE])


async def _audit(tx: Transaction, window: Window, *, done: Backfilled, reason: str) -> None:
    await tx.audit(
        resource_type="event_backfill",
        resource_id=done.id,
        action="backfilled",
        title="Events of a window replaced",
        data={
            "backfill_id": shown_id("backfill", done.id),
            "metric_key": window.metric.key,
            "from_timestamp": window.start.isoformat(),
            "to_timestamp": window.end.isoformat(),
            "reason": reason,
            "voided": done.voided,
            "amended": done.amended,
            "unchanged": done.unchanged,
            "added": done.added,
        },
    )
