"""The activity log: usage events with what they cost, and what was rated and charged (B53, B71).

An event's amount is what it added to its period's bill: amount(usage with it) - amount(usage before it), in order of
arrival, by the plan version that the period is billed under. It is computed when it is read, from the rollups and the
charges, and rounded nowhere; only the invoice rounds (R2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from psycopg.rows import class_row
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.events.event_count_store import EventKinds, event_counts
from adapters.postgres.invoices.billing_store import Terms, terms_of, version_of_period
from adapters.postgres.usage.usage_bucket_store import is_split
from adapters.postgres.usage.usage_store import metric_usages
from billing.aggregations import ADDITIVE, AGGREGATIONS
from billing.charges import Charge
from billing.numbers import exact
from billing.period import BeforeAnchor, Period
from billing.usage import NO_USAGE, Usage

MOST_SKIPPED: Final = 100_000
#: An event's amount needs the later events of its period; with more of them than this it is left open.
_MOST_LATER: Final = 20_000

_TYPE: Final = "CASE WHEN a.action LIKE 'charge%%' OR a.action = 'paid' THEN 'charge' ELSE 'rating' END"
_WANTED_ENTRIES: Final = f"""
      (%(type)s::text IS NULL OR %(type)s = {_TYPE})
      AND (%(subscription)s::uuid IS NULL OR EXISTS (
          SELECT FROM invoices i WHERE i.id = a.resource_id AND i.subscription_id = %(subscription)s))
"""

_PAGE: Final = f"""
WITH event_page AS (
    SELECT e.id, 'event' AS type, e.received_at AS at FROM events e
    LEFT JOIN metrics m ON m.id = e.metric_id
    WHERE e.project_id = %(project)s AND %(with_events)s
      AND (%(status)s::text IS NULL OR e.status = %(status)s)
      AND (%(subscription)s::uuid IS NULL OR e.subscription_id = %(subscription)s)
      AND (%(metric)s::text IS NULL OR e.metric_ref = %(metric)s OR m.key = %(metric)s OR m.id = %(metric_id)s)
    ORDER BY e.id DESC LIMIT %(most)s
), entry_page AS (
    SELECT a.id, {_TYPE} AS type, a.recorded_at AS at FROM audit_log a
    WHERE a.project_id = %(project)s AND a.resource_type = 'invoice' AND %(with_entries)s AND {_WANTED_ENTRIES}
    ORDER BY a.sequence DESC LIMIT %(most)s
)
SELECT id, type FROM (SELECT * FROM event_page UNION ALL SELECT * FROM entry_page) both_pages
ORDER BY at DESC, id DESC OFFSET %(skip)s LIMIT %(limit)s
"""  # noqa: S608

_EVENTS: Final = """
    SELECT e.id, e.status, e.subscription_ref, e.subscription_id, e.customer_ref, e.metric_id, e.metric_ref,
           m.key AS metric_key, m.aggregation, e.value, e.skip_reason, e.occurred_at, e.received_at
    FROM events e LEFT JOIN metrics m ON m.id = e.metric_id
    WHERE e.project_id = %(project)s AND e.id = ANY(%(ids)s)
"""

_ENTRIES: Final = f"""
    SELECT a.id, {_TYPE} AS type, a.action, a.title, a.resource_id, i.subscription_id, i.total_minor, i.currency,
           c.code AS customer_code, a.occurred_at, a.recorded_at
    FROM audit_log a LEFT JOIN invoices i ON i.id = a.resource_id LEFT JOIN customers c ON c.id = i.customer_id
    WHERE a.project_id = %(project)s AND a.id = ANY(%(ids)s)
"""  # noqa: S608 - put together from constants

_LATER: Final = """
    SELECT id, subscription_id, metric_id, value, occurred_at FROM events
    WHERE project_id = %(project)s AND id >= %(oldest)s AND status = 'counted'
      AND subscription_id = ANY(%(subscriptions)s)
    ORDER BY id DESC LIMIT %(most)s
"""


@dataclass(frozen=True)
class ActivityFilter:
    """Which entries are wanted; None leaves a field open. ``type`` is event, rating or charge."""

    type: str | None = None
    status: str | None = None
    subscription_id: UUID | None = None
    metric: str | None = None
    metric_id: UUID | None = None

    @property
    def only_events(self) -> bool:
        """Return whether something is asked for that only events have."""
        return self.status is not None or self.metric is not None


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event: ``amount`` in major units is what it added to its bill, None if that belongs to no single event."""

    id: UUID
    status: str
    subscription_ref: str | None
    subscription_id: UUID | None
    customer_ref: str | None
    metric_id: UUID | None
    metric_ref: str
    metric_key: str | None
    aggregation: str | None
    value: Decimal | None
    skip_reason: str | None
    occurred_at: datetime
    received_at: datetime
    amount: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceEntry:
    """What was rated or charged: an entry of the audit log, and its invoice if that is still there."""

    id: UUID
    type: str
    action: str
    title: str | None
    resource_id: UUID
    subscription_id: UUID | None
    total_minor: int | None
    currency: str | None
    customer_code: str | None
    occurred_at: datetime
    recorded_at: datetime


async def recent(
    connection: AsyncConnection, project_id: UUID, wanted: ActivityFilter, *, skip: int, limit: int
) -> list[EventEntry | InvoiceEntry]:
    """Return a part of the log, the newest entry first."""
    raw = await driver(connection)
    cursor = await raw.execute(
        _PAGE,
        {
            "project": project_id,
            "with_events": wanted.type in (None, "event"),
            "with_entries": wanted.type in (None, "rating", "charge") and not wanted.only_events,
            "type": wanted.type,
            "status": wanted.status,
            "subscription": wanted.subscription_id,
            "metric": wanted.metric,
            "metric_id": wanted.metric_id,
            "most": skip + limit,
            "skip": skip,
            "limit": limit,
        },
    )
    page = await cursor.fetchall()
    ids = {"project": project_id, "ids": [row[0] for row in page]}
    async with raw.cursor(row_factory=class_row(EventEntry)) as reading:
        await reading.execute(_EVENTS, ids)
        events = {entry.id: entry for entry in await reading.fetchall()}
    async with raw.cursor(row_factory=class_row(InvoiceEntry)) as others:
        await others.execute(_ENTRIES, ids)
        entries = {entry.id: entry for entry in await others.fetchall()}
    for own, (amount, currency) in (await _amounts(connection, project_id, list(events.values()))).items():
        events[own] = replace(events[own], amount=amount, currency=currency)
    return [events[own] if kind == "event" else entries[own] for own, kind in page]


_COUNT_ENTRIES: Final = f"""
    SELECT count(*) FROM audit_log a
    WHERE a.project_id = %(project)s AND a.resource_type = 'invoice' AND {_WANTED_ENTRIES}
"""  # noqa: S608


async def counted(connection: AsyncConnection, project_id: UUID, wanted: ActivityFilter) -> int:
    """Count the entries that a filter matches."""
    total = 0
    if wanted.type in (None, "event"):
        total += await event_counts(
            connection,
            project_id,
            EventKinds(wanted.status, wanted.subscription_id, metric=wanted.metric, metric_id=wanted.metric_id),
        )
    if wanted.type in (None, "rating", "charge") and not wanted.only_events:
        raw = await driver(connection)
        names = {"project": project_id, "type": wanted.type, "subscription": wanted.subscription_id}
        row = await (await raw.execute(_COUNT_ENTRIES, names)).fetchone()
        total += 0 if row is None else int(row[0])
    return total


@dataclass(frozen=True)
class _PriceBucket:
    """What the events of one metric of a subscription in one period are priced by."""

    charges: tuple[Charge, ...]
    period: Period
    currency: str

    def amount_between(self, before: Usage, after: Usage) -> Decimal:
        """Return what all charges ask for the usage in (before, after], in major units, unrounded."""
        with exact():
            return sum((each.model.amount_between(before, after) for each in self.charges), Decimal(0))


async def _amounts(
    connection: AsyncConnection, project_id: UUID, shown: Sequence[EventEntry]
) -> dict[UUID, tuple[Decimal | None, str | None]]:
    """Return what each counted event added to the bill of its period, and the currency."""
    counted = [row for row in shown if row.status == "counted" and row.aggregation in ADDITIVE]
    if not counted:
        return {}
    oldest = min(row.id for row in counted)
    subscriptions = list({row.subscription_id for row in counted})
    raw = await driver(connection)
    cursor = await raw.execute(
        _LATER,
        {"project": project_id, "oldest": oldest, "subscriptions": subscriptions, "most": _MOST_LATER + 1},
    )
    later = await cursor.fetchall()
    if len(later) > _MOST_LATER:
        return {}
    kinds = {(row.subscription_id, row.metric_id): row.aggregation for row in counted}
    asked = {row.id for row in counted}
    pots = _PriceBuckets(connection)
    found: dict[UUID, tuple[Decimal | None, str | None]] = {}
    for event, subscription, metric, value, occurred_at in later:
        kind = kinds.get((subscription, metric))
        if kind is None:
            continue
        pot = await pots.of(subscription, metric, occurred_at)
        if pot is None:
            continue
        after, before = await pots.without(pot, subscription, metric, value, kind)
        if event in asked:
            found[event] = (pot.amount_between(before, after), pot.currency)
    return found


class _PriceBuckets:
    """Walks back from the present usage of each period, one event at a time."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._usage: dict[tuple[UUID, UUID, datetime], Usage] = {}
        self._terms: dict[UUID, Terms] = {}
        self._found: dict[tuple[UUID, UUID, datetime], _PriceBucket | None] = {}

    async def of(self, subscription: UUID, metric: UUID, at: datetime) -> _PriceBucket | None:
        """Find the charges that price the metric in the period of the instant; None if nothing does.

        None also for charges that look at single events: with filters or groups, with a price in the event, or with
        allowances. What one of their events costs is not told by the sum of all.
        """
        if subscription not in self._terms:
            self._terms[subscription] = await terms_of(self._connection, subscription, lock=False)
        terms = self._terms[subscription]
        try:
            period = terms.cycle.period_containing(at.astimezone(UTC))
        except BeforeAnchor:
            return None
        name = (subscription, metric, period.start)
        if name not in self._found:
            self._found[name] = await self._priced(terms, metric, period)
        return self._found[name]

    async def _priced(self, terms: Terms, metric: UUID, period: Period) -> _PriceBucket | None:
        version = await version_of_period(self._connection, terms, period.start)
        charges = tuple(each for each in version.charges if each.metric_id == metric)
        if not charges or any(is_split(each) for each in charges):
            return None
        return _PriceBucket(charges, period, version.currency)

    async def without(
        self, pot: _PriceBucket, subscription: UUID, metric: UUID, value: Decimal | None, kind: str
    ) -> tuple[Usage, Usage]:
        """Return the usage with an event and all before it, and the usage before it."""
        name = (subscription, metric, pot.period.start)
        if name not in self._usage:
            found = await metric_usages(self._connection, subscription, [metric], pot.period)
            self._usage[name] = found.get(metric, NO_USAGE)
        after = self._usage[name]
        with exact():
            quantity = after.quantity - AGGREGATIONS[kind].worth_of(value)
        self._usage[name] = Usage(quantity=quantity, events=max(after.events - 1, 0), priced=after.priced)
        return after, self._usage[name]
