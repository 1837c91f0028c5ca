"""Changing rollups when stored events change: by the difference where that is enough, else from the day's events.

The locks are taken in the order of ingestion (events, rollups by key, marks by subscription), so that neither waits for
the other in a circle. Events that are being ingested meanwhile add themselves after the lock is let go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from billing.numbers import exact

_LOCK: Final = """
    SELECT value_max, value_min FROM usage_rollups
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s AND day = %(day)s FOR UPDATE
"""

_SHIFT: Final = """
    UPDATE usage_rollups SET value_sum = value_sum + %(sum)s, event_count = event_count + %(count)s,
        value_max = greatest(value_max, %(new)s::numeric), value_min = least(value_min, %(new)s::numeric)
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s AND day = %(day)s
"""

_EXTREMES: Final = """
    UPDATE usage_rollups r SET value_max = e.largest, value_min = e.smallest
    FROM (
        SELECT max(value) AS largest, min(value) AS smallest FROM events
        WHERE status = 'counted' AND subscription_id = %(subscription)s AND metric_id = %(metric)s
          AND occurred_at >= %(start)s AND occurred_at < %(end)s
    ) e
    WHERE r.subscription_id = %(subscription)s AND r.metric_id = %(metric)s AND r.day = %(day)s
"""

_FORGET_EMPTY: Final = """
    DELETE FROM usage_rollups
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s AND day = %(day)s AND event_count = 0
"""

_LOCK_DAYS: Final = """
    SELECT 1 FROM usage_rollups
    WHERE metric_id = %(metric)s AND subscription_id = ANY(%(subscriptions)s) AND day >= %(first)s AND day <= %(last)s
    ORDER BY subscription_id, metric_id, day FOR UPDATE
"""

_RECOMPUTE: Final = """
    WITH fresh AS (
        SELECT subscription_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, coalesce(sum(value), 0) AS total,
               count(*) AS events, max(value) AS largest, min(value) AS smallest
        FROM events
        WHERE status = 'counted' AND metric_id = %(metric)s AND subscription_id = ANY(%(subscriptions)s)
          AND occurred_at >= %(start)s AND occurred_at < %(end)s
        GROUP BY 1, 2
    ), gone AS (
        DELETE FROM usage_rollups r
        WHERE r.metric_id = %(metric)s AND r.subscription_id = ANY(%(subscriptions)s)
          AND r.day >= %(first)s AND r.day <= %(last)s
          AND NOT EXISTS (SELECT FROM fresh f WHERE f.subscription_id = r.subscription_id AND f.day = r.day)
    )
    INSERT INTO usage_rollups AS r
        (subscription_id, metric_id, day, project_id, value_sum, event_count, value_max, value_min)
    SELECT subscription_id, %(metric)s, day, %(project)s, total, events, largest, smallest FROM fresh ORDER BY 1, 3
    ON CONFLICT (subscription_id, metric_id, day) DO UPDATE SET
        value_sum = excluded.value_sum, event_count = excluded.event_count,
        value_max = excluded.value_max, value_min = excluded.value_min
"""

_MARK: Final = """
    INSERT INTO usage_marks AS m (subscription_id, project_id)
    SELECT own, %(project)s FROM unnest(%(subscriptions)s::uuid[]) own ORDER BY own
    ON CONFLICT (subscription_id) DO UPDATE SET version = m.version + 1, marked_at = clock_timestamp()
"""


@dataclass(frozen=True)
class Place:
    """Where a counted event is rolled up."""

    project_id: UUID
    subscription_id: UUID
    metric_id: UUID
    occurred_at: datetime

    @property
    def day(self) -> date:
        """The UTC day of the event."""
        return self.occurred_at.astimezone(UTC).date()


async def shift(
    connection: AsyncConnection, place: Place, *, old: Decimal | None, new: Decimal | None, count: int
) -> None:
    """Replace one event's value in its rollup, after the event's row was changed; `count` is -1 for one that is gone.

    Sum and count move by the difference. A largest or smallest value that went away is looked up among the day's
    events.
    """
    raw = await driver(connection)
    start = datetime.combine(place.day, datetime.min.time(), tzinfo=UTC)
    with exact():
        added = (new or Decimal(0)) - (old or Decimal(0))
    names = {
        "subscription": place.subscription_id,
        "metric": place.metric_id,
        "day": place.day,
        "start": start,
        "end": start + timedelta(days=1),
        "sum": added,
        "count": count,
        "new": new,
    }
    extremes = await (await raw.execute(_LOCK, names)).fetchone()
    await raw.execute(_SHIFT, names)
    if extremes is None or old is None or old in extremes:
        await raw.execute(_EXTREMES, names)
    if count < 0:
        await raw.execute(_FORGET_EMPTY, names)


@dataclass(frozen=True)
class Days:
    """The rollups of one metric of some subscriptions that a half-open window touches."""

    project_id: UUID
    metric_id: UUID
    subscription_ids: Sequence[UUID]
    start: datetime
    end: datetime

    def names(self) -> dict[str, object]:
        """Give the bind values: the window widened to whole UTC days."""
        first = self.start.astimezone(UTC).date()
        last = (self.end - timedelta(microseconds=1)).astimezone(UTC).date()
        midnight = datetime.min.time()
        return {
            "project": self.project_id,
            "metric": self.metric_id,
            "subscriptions": sorted(self.subscription_ids),
            "first": first,
            "last": last,
            "start": datetime.combine(first, midnight, tzinfo=UTC),
            "end": datetime.combine(last, midnight, tzinfo=UTC) + timedelta(days=1),
        }


async def lock(connection: AsyncConnection, days: Days) -> None:
    """Keep ingestion from changing these rollups until the transaction ends."""
    await (await driver(connection)).execute(_LOCK_DAYS, days.names())


async def recompute(connection: AsyncConnection, days: Days) -> None:
    """Make locked rollups say what the events say."""
    await (await driver(connection)).execute(_RECOMPUTE, days.names())


async def mark(connection: AsyncConnection, project_id: UUID, subscription_ids: Sequence[UUID]) -> None:
    """Have the relay tell these subscriptions their usage anew."""
    raw = await driver(connection)
    await raw.execute(_MARK, {"project": project_id, "subscriptions": sorted(set(subscription_ids))})
