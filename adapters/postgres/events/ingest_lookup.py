"""What events refer to, looked up in the transaction that stores them: one statement for a whole flush.

Indexed names (codes, keys, external ids, ids) are asked in one statement; what it does not find goes through the
resolver, which knows every other name (conflicts C4).
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.arrays import texts, uuids
from adapters.postgres.database import Asked, Database, ProjectScope, driver
from adapters.postgres.events.ingest_events import FUTURE_SECONDS, TRACK, IngestEvent, PresentedKey, Submission
from adapters.postgres.metric_aggregation import configured
from adapters.postgres.resolver import CUSTOMER, METRIC, SUBSCRIPTION, Kind, resolve_many
from billing.aggregations import Aggregation
from billing.charges.dynamic import Dynamic
from billing.subscriptions.pauses import Pause, pauses_of
from models.identifiers import parse_id

#: The value of a project's setting `event_outside_window` by which its events are kept as skipped, not refused.
SKIP: Final = "skip"

# Branches of one statement, told apart by their first column, so that a flush pays for one round trip.
_LOOK_UP: Final = """
WITH named AS (
    SELECT c.id, c.code, c.test_clock_id, c.is_organization FROM customers c
    WHERE c.project_id = %(project)s AND c.deleted_at IS NULL AND c.code = ANY(%(customers)s)
    UNION
    SELECT c.id, c.code, c.test_clock_id, c.is_organization FROM customers c
    WHERE c.project_id = %(project)s AND c.deleted_at IS NULL AND c.id = ANY(%(customer_ids)s)
    UNION
    SELECT c.id, c.code, c.test_clock_id, c.is_organization FROM customers c
    WHERE %(organization)s AND c.project_id = %(project)s AND c.is_organization AND c.deleted_at IS NULL
), held AS (
    SELECT s.id FROM subscriptions s JOIN named n ON n.id = s.customer_id
    UNION
    SELECT s.id FROM subscriptions s WHERE s.project_id = %(project)s AND s.external_id = ANY(%(subscriptions)s)
    UNION
    SELECT s.id FROM subscriptions s WHERE s.project_id = %(project)s AND s.id = ANY(%(subscription_ids)s)
)
SELECT 'metric', m.id, m.key, m.aggregation, m.field_name, m.expression,
       NULL::timestamptz, NULL::timestamptz, NULL::timestamptz, NULL::uuid, NULL::uuid, m.values_kept,
       NULL::timestamptz, NULL::jsonb
FROM metrics m WHERE m.project_id = %(project)s AND m.deleted_at IS NULL AND m.key = ANY(%(metrics)s)
UNION ALL
SELECT 'metric', m.id, m.key, m.aggregation, m.field_name, m.expression,
       NULL, NULL, NULL, NULL, NULL, m.values_kept, NULL, NULL
FROM metrics m WHERE m.project_id = %(project)s AND m.deleted_at IS NULL AND m.id = ANY(%(metric_ids)s)
UNION ALL
SELECT 'customer', n.id, n.code, NULL, NULL, NULL, t.frozen_time, NULL, NULL, NULL, NULL, n.is_organization, NULL,
       NULL
FROM named n LEFT JOIN test_clocks t ON t.id = n.test_clock_id
UNION ALL
SELECT 'subscription', s.id, s.external_id, s.status, s.interval, s.alignment || ' ' || s.timezone, s.starts_at,
       CASE WHEN s.status IN ('canceled', 'terminated') THEN coalesce(s.ended_at, s.canceled_at, s.starts_at) END,
       t.frozen_time, s.customer_id, s.plan_version_id, NULL, greatest(s.anchor, s.starts_at, s.trial_ends_at), s.pauses
FROM held h JOIN subscriptions s ON s.id = h.id LEFT JOIN test_clocks t ON t.id = s.test_clock_id
UNION ALL
SELECT 'key', k.id, encode(k.key_hash, 'hex'), k.kind, k.role, array_to_string(k.project_ids, ','),
       NULL, NULL, NULL, k.active_project_id, k.organization_id,
       (k.revoked_at IS NULL OR k.revoked_at > clock_timestamp())
       AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp()) AND o.deleted_at IS NULL, NULL, NULL
FROM api_keys k JOIN organizations o ON o.id = k.organization_id WHERE k.key_hash = ANY(%(keys)s)
UNION ALL
SELECT 'project', p.id, p.settings ->> 'event_future_seconds', p.settings ->> 'event_past_seconds',
       p.settings ->> 'event_outside_window', NULL, events_closed_until(), NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM projects p WHERE p.id = %(project)s
"""

_CHARGED: Final = """
    SELECT v.id, coalesce(array_agg(c.metric_id) FILTER (WHERE c.metric_id IS NOT NULL), '{}'),
           jsonb_agg(jsonb_build_array(c.metric_id, c.model))
               FILTER (WHERE c.model ->> 'kind' = 'dynamic' AND c.filters = '[]')
    FROM plan_versions v LEFT JOIN plan_charges c ON c.plan_version_id = v.id
    WHERE v.id = ANY(%(versions)s) GROUP BY v.id
"""

_MOST_REMEMBERED: Final = 50_000
# A plan version never changes, so what it charges may be remembered for ever.
_charged_metrics: dict[UUID, frozenset[UUID]] = {}
#: By plan version and metric, the charges whose price each event brings along; most versions have none.
_dynamic_charges: dict[tuple[UUID, UUID], tuple[Dynamic, ...]] = {}


@dataclass(frozen=True)
class Metric:
    """A metric, and how an event's value is read for it."""

    id: UUID
    key: str
    aggregation: Aggregation
    #: Whether a value in the event is stored as it is.
    takes_value_as_sent: bool
    #: Whether its different values are kept (unique_value_store.py).
    keeps_values: bool


@dataclass(frozen=True)
class SubscriptionTerms:
    """A subscription: its life ``[starts_at, ends_at)``, its plan version, and what its billing cycle is made of."""

    id: UUID
    customer_id: UUID
    status: str
    starts_at: datetime
    ends_at: datetime | None
    frozen_time: datetime | None
    plan_version_id: UUID
    interval: str
    #: The alignment and the time zone, a blank between them
    aligned: str
    #: Where billing periods begin: a trial comes before
    anchor: datetime
    pauses: tuple[Pause, ...] = ()

    @property
    def preference(self) -> tuple[int, UUID]:
        """Order candidates: live before ended before pending, then the oldest (ids sort by creation)."""
        return {"pending": 2, "canceled": 1, "terminated": 1}.get(self.status, 0), self.id


@dataclass
class CustomerSubscriptions:
    """A customer with its subscriptions."""

    id: UUID
    code: str
    frozen_time: datetime | None
    subscriptions: list[SubscriptionTerms] = field(default_factory=list)


@dataclass
class Lookup:
    """Everything that the events of one flush refer to."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    customers: dict[str, CustomerSubscriptions] = field(default_factory=dict)
    subscriptions: dict[str, SubscriptionTerms] = field(default_factory=dict)
    organization: CustomerSubscriptions | None = None
    keys: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    future: timedelta = timedelta(seconds=FUTURE_SECONDS)
    past: timedelta | None = None
    #: Whether events outside these limits are kept as skipped, instead of refused.
    skips_outside: bool = False
    #: What is older was archived, together with the periods that it lay in.
    closed_until: datetime | None = None

    def charges(self, held: SubscriptionTerms, metric: Metric) -> bool:
        """Return whether the subscription's plan version charges the metric."""
        return metric.id in _charged_metrics.get(held.plan_version_id, frozenset())

    def accepts(self, presented: PresentedKey | None, scope: ProjectScope) -> bool:
        """Check a key as authentication does, on the row that this transaction sees; None was checked a moment ago."""
        if presented is None:
            return True
        row = self.keys.get(presented.key_hash.hex())
        if row is None:
            return False
        _, _, _, _, role, projects, _, _, _, active, organization, usable, _, _ = row
        wanted = presented.requested_project or active
        allowed = not projects or str(scope.project_id) in projects.split(",")
        return bool(
            usable
            and role != "VIEWER"
            and organization == scope.organization_id
            and wanted == scope.project_id
            and allowed
        )


@dataclass
class _References:
    """The references of a flush, and the ids behind those that are ids."""

    metrics: dict[str, UUID | None]
    customers: dict[str, UUID | None]
    subscriptions: dict[str, UUID | None]
    organization: bool
    keys: list[bytes]

    @classmethod
    def of(cls, submissions: Sequence[Submission]) -> "_References":
        events: Iterable[IngestEvent] = [event for submission in submissions for event in submission.events]
        presented: list[PresentedKey] = [each.presented for each in submissions if each.presented is not None]
        return cls(
            metrics={ref: parse_id(ref) for ref in {event.metric_ref for event in events}},
            customers={ref: parse_id(ref) for ref in {event.customer_ref for event in events} if ref is not None},
            subscriptions={
                ref: parse_id(ref) for ref in {event.subscription_ref for event in events} if ref is not None
            },
            organization=any(submission.source == TRACK for submission in submissions),
            keys=list({each.key_hash for each in presented}),
        )


@asynccontextmanager
async def looked_up(
    database: Database, scope: ProjectScope, submissions: Sequence[Submission], *also: Asked
) -> AsyncIterator[tuple[AsyncConnection, Lookup, list[list[tuple[Any, ...]]]]]:
    """Open a transaction of the project in which ``look_up`` has been asked: one round trip for both.

    ``also`` are statements that are asked after it, in the same round trip; it gives the rows of each.
    """
    refs = _References.of(submissions)
    asked = database.transaction_asking(scope, (_LOOK_UP, _parameters(scope.project_id, refs)), *also)
    async with asked as (connection, (rows, *others)):
        yield connection, await _found(connection, scope.project_id, refs, rows), others


async def look_up(connection: AsyncConnection, project_id: UUID, submissions: Sequence[Submission]) -> Lookup:
    """Find what the events refer to, the keys they came with, and the project's limits on event time."""
    refs = _References.of(submissions)
    rows = await _rows(await driver(connection), project_id, refs)
    return await _found(connection, project_id, refs, rows)


async def _found(
    connection: AsyncConnection, project_id: UUID, refs: _References, rows: Sequence[tuple[Any, ...]]
) -> Lookup:
    raw = await driver(connection)
    found = await _assembled(raw, refs, rows)
    if await _resolve_other_names(connection, project_id, refs, found):
        found = await _assembled(raw, refs, await _rows(raw, project_id, refs))
    return found


async def _rows(raw: "psycopg.AsyncConnection[Any]", project_id: UUID, refs: _References) -> list[tuple[Any, ...]]:
    return await (await raw.execute(_LOOK_UP.encode(), _parameters(project_id, refs), prepare=True)).fetchall()


def _parameters(project_id: UUID, refs: _References) -> dict[str, Any]:
    return {
        "project": project_id,
        "metrics": texts(list(refs.metrics)),
        "metric_ids": uuids(found for found in refs.metrics.values() if found is not None),
        "customers": texts(list(refs.customers)),
        "customer_ids": uuids(found for found in refs.customers.values() if found is not None),
        "subscriptions": texts(list(refs.subscriptions)),
        "subscription_ids": uuids(found for found in refs.subscriptions.values() if found is not None),
        "organization": refs.organization,
        "keys": texts([f"\\x{key.hex()}" for key in refs.keys]),
    }


async def _assembled(raw: "psycopg.AsyncConnection[Any]", refs: _References, rows: Sequence[tuple[Any, ...]]) -> Lookup:
    found = Lookup()
    metrics: dict[UUID, Metric] = {}
    customers: dict[UUID, CustomerSubscriptions] = {}
    held: dict[UUID, SubscriptionTerms] = {}
    for row in rows:
        match row[0]:
            case "metric":
                found.metrics[row[2]] = metrics[row[1]] = _metric(row)
            case "customer":
                found.customers[row[2]] = customers[row[1]] = CustomerSubscriptions(row[1], row[2], row[6])
                if row[11]:
                    found.organization = customers[row[1]]
            case "subscription":
                held[row[1]] = SubscriptionTerms(
                    row[1], row[9], row[3], row[6], row[7], row[8], row[10], row[4], row[5], row[12], pauses_of(row[13])
                )
                known = found.subscriptions.get(row[2])
                # Ended subscriptions may have had the same external id before.
                if row[2] is not None and (known is None or held[row[1]].preference < known.preference):
                    found.subscriptions[row[2]] = held[row[1]]
            case "key":
                found.keys[row[2]] = row
            case "project":
                _set_limits(found, row[2], row[3])
                found.skips_outside = row[4] == SKIP
                found.closed_until = row[6]
    for subscription in sorted(held.values(), key=lambda each: each.preference):
        if subscription.customer_id in customers:
            customers[subscription.customer_id].subscriptions.append(subscription)
    found.metrics |= {ref: metrics[own] for ref, own in refs.metrics.items() if own in metrics}
    found.customers |= {ref: customers[own] for ref, own in refs.customers.items() if own in customers}
    found.subscriptions |= {ref: held[own] for ref, own in refs.subscriptions.items() if own in held}
    await _load_charged_metrics(raw, {each.plan_version_id for each in held.values()})
    return found


def _metric(row: tuple[Any, ...]) -> Metric:
    made = configured(*row[3:6])
    return Metric(row[1], row[2], made, made.takes_value_as_sent, made.keeps_values and row[11])


def _set_limits(found: Lookup, future: str | None, past: str | None) -> None:
    """Take over the project's own limits on event time, in seconds; anything but a whole number is ignored."""
    if future is not None and future.isascii() and future.isdigit():
        found.future = timedelta(seconds=int(future[:9]))
    if past is not None and past.isascii() and past.isdigit():
        found.past = timedelta(seconds=int(past[:10]))


async def _load_charged_metrics(raw: "psycopg.AsyncConnection[Any]", versions: set[UUID]) -> None:
    unknown = versions - _charged_metrics.keys()
    if not unknown:
        return
    if len(_charged_metrics) > _MOST_REMEMBERED:
        _charged_metrics.clear()
        _dynamic_charges.clear()
        unknown = versions
    cursor = await raw.execute(_CHARGED, {"versions": list(unknown)}, prepare=True)
    for version, metrics, dynamic in await cursor.fetchall():
        for metric, model in dynamic or ():
            own = version, UUID(metric)
            _dynamic_charges[own] = (*_dynamic_charges.get(own, ()), Dynamic.model_validate(model))
        _charged_metrics[version] = frozenset(metrics)


async def _resolve_other_names(connection: AsyncConnection, project_id: UUID, refs: _References, found: Lookup) -> bool:
    """Ask the resolver for references that no indexed column knows; True if it knew any of them."""
    asked: tuple[tuple[Kind[Any], dict[str, UUID | None], Iterable[str]], ...] = (
        (METRIC, refs.metrics, found.metrics),
        (CUSTOMER, refs.customers, found.customers),
        (SUBSCRIPTION, refs.subscriptions, found.subscriptions),
    )
    learned = False
    for kind, wanted, known in asked:
        missing = wanted.keys() - set(known)
        if missing:
            rows = await resolve_many(connection, project_id, kind, missing)
            wanted.update({ref: row.id for ref, row in rows.items()})
            learned = learned or bool(rows)
    return learned


def knows_dynamic_charges() -> bool:
    """Return whether any plan seen so far has a charge whose price each event brings along."""
    return bool(_dynamic_charges)


def dynamic_charges(held: SubscriptionTerms | None, metric: Metric) -> Sequence[Dynamic]:
    """Return the charges of the subscription on the metric whose price each event brings along."""
    return () if held is None else _dynamic_charges.get((held.plan_version_id, metric.id), ())


def wall_clock_now() -> datetime:
    """Return the wall clock's now in UTC."""
    return datetime.now(UTC)
