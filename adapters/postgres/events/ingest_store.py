"""THE ingest function: events of any shape are stored, deduplicated, folded into rollups and marked in one transaction.

An acknowledged event is durable: the answer follows the commit, and the commit waits for the disk.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers.customer_store import lazily_created
from adapters.postgres.database import Database, ProjectScope, driver
from adapters.postgres.events import event_months, unique_value_store
from adapters.postgres.events.event_scope import filter_bucket, filters_of
from adapters.postgres.events.ingest_events import IngestEvent, Outcome, Stored, Submission
from adapters.postgres.events.ingest_fingerprint import canonical, fingerprint_of, references_of, written
from adapters.postgres.events.ingest_lookup import (
    Lookup,
    SubscriptionTerms,
    knows_dynamic_charges,
    look_up,
    looked_up,
    wall_clock_now,
)
from adapters.postgres.events.ingest_rows import Rows, Shared
from adapters.postgres.events.ingest_targets import Target, customer_of, target_of, unpriced, value_of
from adapters.postgres.events.rollup_store import ADDED
from adapters.telemetry.counters import count_events
from models.identifiers import new_id
from models.problems import FieldError, Problem, unavailable
from models.tables import event_keys

# The order of locks is the same in every ingest transaction (customers by code, events by key, rollups by key, marks by
# subscription; values that are kept only under the marks), so that two of them cannot wait for each other.
_STORE: Final = """
WITH sent AS MATERIALIZED (
    SELECT * FROM unnest(%(keys)s::text[], %(ids)s::uuid[], %(fingerprints)s::bigint[], %(values)s::numeric[],
                         %(times)s::timestamptz[], %(given)s::bool[], %(shared_of)s::int[], %(properties)s::jsonb[])
         WITH ORDINALITY AS e (key, id, fingerprint, value, occurred_at, given, shared, properties, place)
), keyed AS (
    INSERT INTO event_keys (project_id, event_id, occurred_at, fingerprint, occurred_at_given, idempotency_key)
    SELECT %(project)s, e.id, e.occurred_at, e.fingerprint, coalesce(e.given, true), e.key FROM sent e
    ORDER BY e.key COLLATE "C", e.place
    ON CONFLICT (project_id, idempotency_key) DO NOTHING
    RETURNING event_id
), inserted AS (
    INSERT INTO events (project_id, idempotency_key, id, metric_ref, customer_ref, subscription_ref, product_item_ref,
                        value, properties, occurred_at, occurred_at_given, source, metric_id, customer_id,
                        subscription_id, status, skip_reason, received_at)
    SELECT %(project)s, e.key, e.id, s.metric_ref, s.customer_ref, s.subscription_ref, s.item_ref,
           e.value, e.properties, e.occurred_at, coalesce(e.given, true), s.source, s.metric_id, s.customer_id,
           s.subscription_id, CASE WHEN s.reason IS NULL THEN 'counted' ELSE 'skipped' END, s.reason, %(received_at)s
    FROM keyed k JOIN sent e ON e.id = k.event_id
    JOIN unnest(%(metric_refs)s::text[], %(customer_refs)s::text[], %(subscription_refs)s::text[],
                %(item_refs)s::text[], %(sources)s::text[], %(metric_ids)s::uuid[], %(customer_ids)s::uuid[],
                %(subscription_ids)s::uuid[], %(reasons)s::text[])
         WITH ORDINALITY AS s (metric_ref, customer_ref, subscription_ref, item_ref, source, metric_id, customer_id,
                               subscription_id, reason, number)
         ON s.number = e.shared + 1
    RETURNING subscription_id, metric_id, occurred_at, value, properties, status
), {fold}
SELECT count(*) FROM inserted
"""

# Version and filters of the metrics are those of the statement's own snapshot: a row always says truly by which filters
# its events were told apart.
FOLD: Final = f"""
filters AS ({filters_of("m.id = ANY(%(metric_ids)s::uuid[])")}), rolled AS (
    INSERT INTO usage_rollups AS r (subscription_id, metric_id, day, filters_version, bucket, project_id,
                                    value_sum, event_count, value_max, value_min)
    SELECT subscription_id, metric_id, day, m.filters_version, bucket, %(project)s, total, number, largest, smallest
    FROM (
        SELECT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date AS day,
               {filter_bucket("i")} AS bucket,
               coalesce(sum(value), 0) AS total, count(*) AS number, max(value) AS largest, min(value) AS smallest
        FROM inserted i WHERE status = 'counted' GROUP BY 1, 2, 3, 4
    ) folded JOIN metrics m ON m.id = metric_id
    ORDER BY 1, 2, 3, 4, 5 {ADDED} RETURNING subscription_id
), marked AS (
    INSERT INTO usage_watermarks AS m (subscription_id, project_id)
    SELECT DISTINCT subscription_id, %(project)s::uuid FROM rolled ORDER BY 1
    ON CONFLICT (subscription_id) DO UPDATE SET version = m.version + 1, marked_at = clock_timestamp()
)"""  # noqa: S608 - put together from constants

_ALREADY: Final = """
    SELECT e.*, q.place, k.event_id AS key_event, k.occurred_at AS key_time, k.occurred_at_given AS key_given,
           k.fingerprint
    FROM unnest(%(keys)s::text[], %(ids)s::uuid[]) WITH ORDINALITY AS q (key, id, place)
    JOIN event_keys k ON k.project_id = %(project)s AND k.idempotency_key = q.key
    LEFT JOIN events e ON e.project_id = k.project_id AND e.id = k.event_id AND e.occurred_at = k.occurred_at
    WHERE k.event_id <> q.id
"""

# The driver remembers only short statements in its converted form.
_STATEMENT: Final = " ".join(_STORE.format(fold=FOLD).split())
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
            async with looked_up(database, scope, submissions) as (connection, found, _):
                outcomes = await _tried(connection, scope, submissions, found)
        except _TryAgain:
            continue
        count_events(
            new=sum(outcome.accepted for outcome in outcomes),
            skipped=sum(len(outcome.skipped) for outcome in outcomes),
            known=sum(len(outcome.already) for outcome in outcomes),
        )
        return outcomes
    raise unavailable("ingestion_contended", "Several requests stored the same keys at once; try again.")


class _TryAgain(Exception):
    """Postgres chose this transaction to give way."""


async def _tried(
    connection: AsyncConnection, scope: ProjectScope, submissions: Sequence[Submission], found: Lookup
) -> list[Outcome]:
    try:
        return await _ingested(connection, scope, submissions, found)
    except _RETRIED as error:
        raise _TryAgain from error
    except psycopg.errors.CheckViolation as error:
        if error.diag.constraint_name is not None:
            raise
        event_months.forget(connection)  # no partition: its month was made by a transaction that was rolled back
        raise _TryAgain from error


async def ingest_within(
    connection: AsyncConnection, scope: ProjectScope, submissions: Sequence[Submission]
) -> list[Outcome]:
    """Store events as ``ingest`` does, in a transaction of the caller's, which commits them with what else it did."""
    return await _ingested(connection, scope, submissions, await look_up(connection, scope.project_id, submissions))


async def _ingested(
    connection: AsyncConnection, scope: ProjectScope, submissions: Sequence[Submission], found: Lookup
) -> list[Outcome]:
    flush = _Flush(scope, found)
    resolved = [flush.resolve(submission) for submission in submissions]
    untimely = [key for each in resolved if each.untimely for key in each.untimely_keys]
    if untimely:
        flush.known_keys = await _stored_keys(connection, scope.project_id, untimely)
    outcomes = [flush.take(each) for each in resolved]
    if flush.new_customers:
        await _create_customers(connection, scope.project_id, flush)
    if len(flush.rows):
        await event_months.ensure(connection, flush.rows.times)
        await _store(connection, flush, submissions, outcomes)
    return outcomes


class _Flush:
    """What one transaction stores."""

    def __init__(self, scope: ProjectScope, found: Lookup) -> None:
        self.scope = scope
        self.found = found
        self.rows = Rows()
        self.new_customers: set[str] = set()
        #: Of the events outside the accepted time, the keys that are stored: these are retries.
        self.known_keys: frozenset[str] = frozenset()
        self.wall = wall_clock_now()
        self._targets: dict[tuple[str, str | None, str | None, str], Target] = {}
        self._numbers: dict[tuple[int, int, str | None, str | None], tuple[int, str]] = {}
        self._first_id = new_id().int & ~_ROOM

    def resolve(self, submission: Submission) -> "_Resolved":
        """Find what each event refers to, looking at the same references once in a flush, and who is not timely."""
        known, source = self._targets, submission.source
        targets: list[Target] = []
        untimely: list[int] = []
        for event in submission.events:
            name = (event.metric_ref, event.customer_ref, event.subscription_ref, source)
            target = known.get(name)
            if target is None:
                target = known[name] = target_of(event, source, self.found, self.wall)
            at = event.occurred_at or target.now
            if target.refuses(at):
                untimely.append(len(targets))
            targets.append(target)
        return _Resolved(submission, targets, untimely)

    def take(self, resolved: "_Resolved") -> Outcome:
        """Add the events of a request, or refuse them all."""
        submission = resolved.submission
        if not self.found.accepts(submission.presented, self.scope):
            return Outcome(key_changed=True)
        problem = _time_problem(resolved, self.known_keys) if resolved.untimely else None
        if problem is not None:
            return Outcome(problem=problem)
        rows, number = self.rows, self._first_id + len(self.rows)
        outcome = Outcome(
            source=submission.source, received_at=self.wall, rows=rows, first=len(rows), size=len(submission.events)
        )
        keys, ids, times, given = rows.keys.append, rows.ids.append, rows.times.append, rows.given.append
        values, properties, fingerprints = rows.values.append, rows.properties.append, rows.fingerprints.append
        shared_of, numbers = rows.shared_of.append, self._numbers
        priced_by_events = knows_dynamic_charges()
        for position, (event, target) in enumerate(zip(submission.events, resolved.targets, strict=True)):
            occurred_at, value, metric = event.occurred_at, event.value, target.metric
            at = occurred_at or target.now
            held, reason = target.choose(at)
            if metric is not None and not (value is not None and metric.takes_value_as_sent):
                value, unreadable = value_of(metric, event)
                reason = reason or unreadable
            if priced_by_events and reason is None and metric is not None:
                reason = unpriced(held, metric, value, event.properties)
            if reason is not None:
                outcome.skipped[position] = reason
                value = event.value or value  # reprocessing reads it anew, so it must be what was sent
            row_id = f"{number + position:032x}"
            keys(event.key or f"auto-{row_id}")
            ids(row_id)
            values(value)
            times(at)
            given(occurred_at is not None)
            # Targets and subscriptions live as long as the flush, so that their identity names them.
            name = (id(target), id(held), reason, event.item_ref)
            found = numbers.get(name)
            if found is None:
                found = numbers[name] = self._share(event, submission.source, target, held, reason)
            shared_of(found[0])
            text, content = None, ""
            if event.properties is not None:
                text = written(event.properties)
                content = canonical(event.properties, text)
            properties(text)
            fingerprints(fingerprint_of(found[1], event.value, content))
        return outcome

    def _share(
        self, event: IngestEvent, source: str, target: Target, held: SubscriptionTerms | None, reason: str | None
    ) -> tuple[int, str]:
        """Note what events share: the number of the combination, and its references as fingerprints have them."""
        if target.creates_customer and event.customer_ref is not None:
            self.new_customers.add(event.customer_ref)
        return self.rows.share(_shared(event, source, target, held, reason)), references_of(event)


@dataclass(frozen=True)
class _Resolved:
    """A request with what its events refer to, and the positions of those outside the accepted time."""

    submission: Submission
    targets: Sequence[Target]
    untimely: Sequence[int]

    @property
    def untimely_keys(self) -> list[str]:
        return [key for place in self.untimely if (key := self.submission.events[place].key) is not None]


def _shared(
    event: IngestEvent, source: str, target: Target, held: SubscriptionTerms | None, reason: str | None
) -> Shared:
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


def _time_problem(resolved: _Resolved, known_keys: Collection[str]) -> Problem | None:
    """Refuse events that lie too far ahead of their clock, or too far behind it (C4); a retry is none of them."""
    events, targets = resolved.submission.events, resolved.targets
    errors = [
        _time_error(position, events[position].occurred_at or targets[position].now, targets[position])
        for position in resolved.untimely
        if events[position].key not in known_keys
    ]
    if not errors:
        return None
    many = f"{len(errors)} of {len(events)} events lie" if len(events) > 1 else "The event lies"
    detail = f"{many} outside the accepted time: {errors[0].message}. Nothing was stored."
    extra = {"invalid_indexes": [int(error.field.split(".")[1]) for error in errors]}
    return Problem(422, errors[0].code, detail, errors=errors[:_MOST_LISTED], extra=extra)


def _time_error(position: int, at: datetime, target: Target) -> FieldError:
    field = f"events.{position}.timestamp"
    if at > target.latest:
        return FieldError(field, f"{at.isoformat()} is after {target.latest.isoformat()}", "timestamp_in_future")
    if target.voids(at):
        return FieldError(field, f"{at.isoformat()} lies in a pause that voids usage", "subscription_paused")
    assert target.earliest is not None, "an event is refused for a limit that there is"
    return FieldError(field, f"{at.isoformat()} is before {target.earliest.isoformat()}", "timestamp_too_old")


async def _stored_keys(connection: AsyncConnection, project_id: UUID, keys: Sequence[str]) -> frozenset[str]:
    same = (event_keys.c.project_id == project_id, event_keys.c.idempotency_key.in_(keys))
    return frozenset((await connection.execute(select(event_keys.c.idempotency_key).where(*same))).scalars().all())


async def _create_customers(connection: AsyncConnection, project_id: UUID, flush: _Flush) -> None:
    """Create the customers that track requests named, and let their events belong to them (seed 003)."""
    made = {code: (await lazily_created(connection, project_id, code)).id for code in sorted(flush.new_customers)}
    flush.rows.shared = {
        (*shared[:6], made.get(shared[1] or "", shared[6]), *shared[7:]): number
        for shared, number in flush.rows.shared.items()
    }


async def _store(
    connection: AsyncConnection, flush: _Flush, submissions: Sequence[Submission], outcomes: Sequence[Outcome]
) -> None:
    """Store the rows, and note in the outcomes which keys were there before."""
    raw = await driver(connection)
    parameters = {"project": flush.scope.project_id, "received_at": flush.wall, **flush.rows.parameters()}
    row = await (await raw.execute(_STATEMENT, parameters, prepare=True)).fetchone()
    assert row is not None, "an aggregate without GROUP BY gives one row"
    already: dict[int, Mapping[str, Any]] = {}
    if row[0] < len(flush.rows):
        already = await _look_up_already(raw, parameters)
        _note_already(flush, submissions, outcomes, already)
    metrics = flush.found.metrics.values()
    await unique_value_store.keep_stored(connection, flush.scope.project_id, metrics, flush.rows, already)


async def _look_up_already(
    raw: "psycopg.AsyncConnection[Any]", parameters: Mapping[str, Any]
) -> dict[int, Mapping[str, Any]]:
    """Return the keys that were there before, and their events, by place."""
    async with raw.cursor(row_factory=dict_row) as reading:
        await reading.execute(_ALREADY, parameters)
        return {int(each["place"]) - 1: each for each in await reading.fetchall()}


def _note_already(
    flush: _Flush,
    submissions: Sequence[Submission],
    outcomes: Sequence[Outcome],
    already: Mapping[int, Mapping[str, Any]],
) -> None:
    for submission, outcome in zip(submissions, outcomes, strict=True):
        for position in range(outcome.size):
            stored = already.get(outcome.first + position)
            if stored is None:
                continue
            place = outcome.first + position
            row = None if stored["id"] is None else stored
            event, value = submission.events[position], outcome.value_at(position)
            same = _is_same(event, flush.rows.fingerprints[place], value, stored)
            outcome.already[position] = Stored(stored["key_event"], row, same)
            outcome.skipped.pop(position, None)


def _is_same(event: IngestEvent, fingerprint: int, value: str | None, row: Mapping[str, Any]) -> bool:
    """Return whether an event says what the first one of its key said (C3); a time that was left out is equal.

    A key from before fingerprints is compared with its event, or, once that is detached, taken for the same.
    """
    if event.occurred_at is not None and row["key_given"] and event.occurred_at != row["key_time"]:
        return False
    if row["fingerprint"] is not None or row["id"] is None:
        return row["fingerprint"] in (fingerprint, None)
    return (
        event.metric_ref == row["metric_ref"]
        and event.customer_ref == row["customer_ref"]
        and event.subscription_ref == row["subscription_ref"]
        and event.item_ref == row["product_item_ref"]
        and row["value"] in {None if text is None else Decimal(text) for text in (event.value, value)}
        and (event.properties or {}) == (row["properties"] or {})
    )
