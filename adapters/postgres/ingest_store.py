"""THE ingest function: events of any shape are stored, deduplicated, folded into rollups and marked in one transaction.

An acknowledged event is durable: the answer follows the commit, and the commit waits for the disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customer_store import lazily_created
from adapters.postgres.database import Database, ProjectScope, driver
from adapters.postgres.ingest_events import IngestEvent, Outcome, Presented, Stored, Submission
from adapters.postgres.ingest_lookup import Held, Lookup, look_up, wall_now
from adapters.postgres.ingest_rows import Rows, Shared
from adapters.postgres.ingest_targets import Target, customer_of, target_of, value_of
from models.identifiers import new_id
from models.problems import FieldError, Problem, unavailable

# The order of locks is the same in every ingest transaction (customers by code, events by key, rollups by key, marks by
# subscription), so that two of them cannot wait for each other.
_STORE: Final = """
WITH inserted AS (
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, subscription_ref, product_item_ref,
                        value, properties, occurred_at, occurred_at_given, source, metric_id, customer_id,
                        subscription_id, status, skip_reason, received_at)
    SELECT %(project)s, e.key, e.id, s.metric_ref, s.customer_ref, s.subscription_ref, s.item_ref,
           e.value, e.properties, e.occurred_at, coalesce(e.given, true), s.source, s.metric_id, s.customer_id,
           s.subscription_id, CASE WHEN s.reason IS NULL THEN 'counted' ELSE 'skipped' END, s.reason, %(received_at)s
    FROM unnest(%(keys)s::text[], %(ids)s::uuid[], %(values)s::numeric[], %(times)s::timestamptz[],
                %(given)s::bool[], %(shared_of)s::int[], %(properties)s::jsonb[])
         WITH ORDINALITY AS e (key, id, value, occurred_at, given, shared, properties, place)
    JOIN unnest(%(metric_refs)s::text[], %(customer_refs)s::text[], %(subscription_refs)s::text[],
                %(item_refs)s::text[], %(sources)s::text[], %(metric_ids)s::uuid[], %(customer_ids)s::uuid[],
                %(subscription_ids)s::uuid[], %(reasons)s::text[])
         WITH ORDINALITY AS s (metric_ref, customer_ref, subscription_ref, item_ref, source, metric_id, customer_id,
                               subscription_id, reason, number)
         ON s.number = e.shared + 1
    ORDER BY e.key COLLATE "C", e.place
    ON CONFLICT (project_id, idempotency_key) DO NOTHING
    RETURNING subscription_id, metric_id, occurred_at, value, status
), {fold}
SELECT count(*) FROM inserted
"""

FOLD: Final = """
rolled AS (
    INSERT INTO usage_rollups AS r
        (subscription_id, metric_id, day, project_id, value_sum, event_count, value_max, value_min)
    SELECT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date, %(project)s,
           coalesce(sum(value), 0), count(*), max(value), min(value)
    FROM inserted WHERE status = 'counted' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (subscription_id, metric_id, day) DO UPDATE SET
        value_sum = r.value_sum + excluded.value_sum, event_count = r.event_count + excluded.event_count,
        value_max = greatest(r.value_max, excluded.value_max), value_min = least(r.value_min, excluded.value_min)
    RETURNING subscription_id
), marked AS (
    INSERT INTO usage_marks AS m (subscription_id, project_id)
    SELECT DISTINCT subscription_id, %(project)s::uuid FROM rolled ORDER BY 1
    ON CONFLICT (subscription_id) DO UPDATE SET version = m.version + 1, marked_at = clock_timestamp()
)"""

_ALREADY: Final = """
    SELECT q.place, e.* FROM unnest(%(keys)s::text[], %(ids)s::uuid[]) WITH ORDINALITY AS q (key, id, place)
    JOIN events e ON e.project_id = %(project)s AND e.idempotency_key = q.key
    WHERE e.id <> q.id
"""

_STATEMENT: Final = _STORE.format(fold=FOLD)
_MOST_TRIES: Final = 4
_RETRIED: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
#: The low bits of the first id of a flush are cleared, so that counting up cannot leave its millisecond.
_ROOM: Final = (1 << 20) - 1
_MOST_LISTED: Final = 100


async def ingest(database: Database, scope: ProjectScope, submissions: Sequence[Submission]) -> list[Outcome]:
    """Store the events of several requests of one project in one transaction; one outcome for each request.

    A request whose key changed, or with an event too far ahead of its customer's clock, is refused by its outcome and
    does not touch the others. Raises ``Problem`` 503 if Postgres cannot be reached: then nothing was acknowledged.
    """
    for _ in range(_MOST_TRIES):
        try:
            async with database.transaction(scope) as connection:
                return await _tried(connection, scope, submissions)
        except _TryAgain:
            continue
    raise unavailable("ingestion_contended", "Several requests stored the same keys at once; try again.")


class _TryAgain(Exception):
    """Postgres chose this transaction to give way."""


async def _tried(connection: AsyncConnection, scope: ProjectScope, submissions: Sequence[Submission]) -> list[Outcome]:
    try:
        return await _ingest(connection, scope, submissions)
    except _RETRIED as error:
        raise _TryAgain from error


async def _ingest(connection: AsyncConnection, scope: ProjectScope, submissions: Sequence[Submission]) -> list[Outcome]:
    found = await look_up(connection, scope.project_id, submissions)
    flush = _Flush(scope, found)
    parts = [flush.take(submission) for submission in submissions]
    if flush.new_customers:
        await _create_customers(connection, scope.project_id, flush)
    if not len(flush.rows):
        return [part.outcome for part in parts]
    return await _stored(connection, flush, parts)


@dataclass
class _Part:
    """One submission's share of a flush: its rows are ``[first, first + size)``."""

    outcome: Outcome
    first: int = 0
    size: int = 0
    events: Sequence[IngestEvent] = ()
    skipped: dict[int, str] = field(default_factory=dict)


class _Flush:
    """What one transaction stores."""

    def __init__(self, scope: ProjectScope, found: Lookup) -> None:
        self.scope = scope
        self.found = found
        self.rows = Rows()
        self.new_customers: set[str] = set()
        self.wall = wall_now()
        self._targets: dict[tuple[Any, ...], Target] = {}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._first_id = new_id().int & ~_ROOM

    def take(self, submission: Submission) -> _Part:
        """Add the events of a request, or refuse them all."""
        if submission.presented is not None and not self._is_good(submission.presented):
            return _Part(Outcome(key_changed=True))
        placed = [(event, self._target(event, submission.source)) for event in submission.events]
        problem = _time_problem(placed)
        if problem is not None:
            return _Part(Outcome(problem=problem))
        part = _Part(Outcome(source=submission.source), len(self.rows), len(placed), submission.events)
        for position, (event, target) in enumerate(placed):
            reason = self._add(event, target, submission.source)
            if reason is not None:
                part.skipped[position] = reason
        return part

    def _is_good(self, presented: Presented) -> bool:
        """Check a key as authentication does, on the row that this transaction sees."""
        row = self.found.keys.get(presented.key_hash.hex())
        if row is None:
            return False
        _, _, _, _, role, projects, _, _, _, active, organization, usable = row
        wanted = presented.requested_project or active
        own = self.scope.project_id
        allowed = not projects or str(own) in projects.split(",")
        return bool(
            usable and role != "VIEWER" and organization == self.scope.organization_id and wanted == own and allowed
        )

    def _target(self, event: IngestEvent, source: str) -> Target:
        name = (event.metric_ref, event.customer_ref, event.subscription_ref, source)
        target = self._targets.get(name)
        if target is None:
            target = self._targets[name] = target_of(event, source, self.found, self.wall)
        return target

    def _add(self, event: IngestEvent, target: Target, source: str) -> str | None:
        """Add one event as a row; answers why it does not count, if so."""
        at = event.occurred_at or target.now
        held, reason = target.choose(at)
        value = event.value
        if target.metric is not None:
            value, unreadable = value_of(target.metric, event)
            reason = reason or unreadable
        row_id = f"{self._first_id + len(self.rows):032x}"
        if target.creates_customer:
            assert event.customer_ref is not None
            self.new_customers.add(event.customer_ref)
        # Targets and subscriptions live as long as the flush, so that their identity names them.
        name = (id(target), id(held), reason, event.item_ref)
        shared = self._numbers.get(name)
        if shared is None:
            shared = self._numbers[name] = self.rows.share(_shared(event, source, target, held, reason))
        self.rows.add(event, key=event.key or f"auto-{row_id}", row_id=row_id, value=value, at=at, shared=shared)
        return reason


def _shared(event: IngestEvent, source: str, target: Target, held: Held | None, reason: str | None) -> Shared:
    return (
        event.metric_ref,
        event.customer_ref,
        event.subscription_ref,
        event.item_ref,
        source,
        None if target.metric is None else target.metric.id,
        customer_of(target, held),
        None if held is None else held.id,
        reason,
    )


def _time_problem(placed: Sequence[tuple[IngestEvent, Target]]) -> Problem | None:
    """Refuse events that lie too far ahead of their clock, or behind it where the project has such a limit (C4)."""
    errors = [
        FieldError(f"events.{position}.timestamp", message, code)
        for position, (event, target) in enumerate(placed)
        if event.occurred_at is not None
        for code, message in _outside(event.occurred_at, target)
    ]
    if not errors:
        return None
    many = f"{len(errors)} of {len(placed)} events lie" if len(placed) > 1 else "The event lies"
    detail = f"{many} outside the accepted time: {errors[0].message}. Nothing was stored."
    extra = {"invalid_indexes": [int(error.field.split(".")[1]) for error in errors]}
    return Problem(422, errors[0].code, detail, errors=errors[:_MOST_LISTED], extra=extra)


def _outside(at: datetime, target: Target) -> list[tuple[str, str]]:
    if at > target.latest:
        return [("timestamp_in_future", f"{at.isoformat()} is after {target.latest.isoformat()}")]
    if target.earliest is not None and at < target.earliest:
        return [("timestamp_too_old", f"{at.isoformat()} is before {target.earliest.isoformat()}")]
    return []


async def _create_customers(connection: AsyncConnection, project_id: UUID, flush: _Flush) -> None:
    """Create the customers that track requests named, and let their events belong to them (seed 003)."""
    made = {code: (await lazily_created(connection, project_id, code)).id for code in sorted(flush.new_customers)}
    flush.rows.shared = {
        (*shared[:6], made.get(shared[1] or "", shared[6]), *shared[7:]): number
        for shared, number in flush.rows.shared.items()
    }


async def _stored(connection: AsyncConnection, flush: _Flush, parts: Sequence[_Part]) -> list[Outcome]:
    raw = await driver(connection)
    project_id, received_at = flush.scope.project_id, flush.wall
    parameters = {"project": project_id, "received_at": received_at, **flush.rows.parameters()}
    cursor = await raw.execute(_STATEMENT, parameters, prepare=True)
    row = await cursor.fetchone()
    assert row is not None, "an aggregate without GROUP BY gives one row"
    already: Mapping[int, Mapping[str, Any]] = {}
    if row[0] < len(flush.rows):
        async with raw.cursor(row_factory=dict_row) as reading:
            await reading.execute(_ALREADY, parameters)
            already = {int(each["place"]) - 1: each for each in await reading.fetchall()}
    return [_outcome(flush, part, already) for part in parts]


def _outcome(flush: _Flush, part: _Part, already: Mapping[int, Mapping[str, Any]]) -> Outcome:
    if not part.size:
        return part.outcome
    rows, span = flush.rows, slice(part.first, part.first + part.size)
    found = {
        place - part.first: Stored(row["id"], row, _is_same(part.events[place - part.first], rows.values[place], row))
        for place, row in already.items()
        if part.first <= place < part.first + part.size
    }
    return replace(
        part.outcome,
        ids=[found[place].id if place in found else UUID(hex=text) for place, text in enumerate(rows.ids[span])],
        keys=rows.keys[span],
        times=rows.times[span],
        values=rows.values[span],
        subscriptions=[rows.subscription_of(place) for place in range(part.first, part.first + part.size)],
        received_at=flush.wall,
        already=found,
        skipped={place: reason for place, reason in part.skipped.items() if place not in found},
    )


def _is_same(event: IngestEvent, value: str | None, row: Mapping[str, Any]) -> bool:
    """Tell whether an event says what the stored one of its key said (C3); a time that was left out is equal."""
    return (
        event.metric_ref == row["metric_ref"]
        and event.customer_ref == row["customer_ref"]
        and event.subscription_ref == row["subscription_ref"]
        and event.item_ref == row["product_item_ref"]
        and (event.occurred_at is None or not row["occurred_at_given"] or event.occurred_at == row["occurred_at"])
        and row["value"] in {None if text is None else Decimal(text) for text in (event.value, value)}
        and (event.properties or {}) == (row["properties"] or {})
    )
