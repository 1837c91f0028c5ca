"""Changing rollups when stored events change: by the difference where that is enough, else from the day's events.

The locks are taken in the order of ingestion (events, rollups by key, marks by subscription), so that neither waits for
the other in a circle. Events that are being ingested meanwhile add themselves after the lock is let go. Sums and counts
are only ever changed by differences that one snapshot of events and rollups gave, so that a row which ingestion is just
making loses nothing; largest and smallest values are looked up once the rows are locked. The metric is locked too,
before its rollups, so that its filters stay the same meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.events.event_scope import filter_bucket, filters_of

_JSON: Final = msgspec.json.Encoder(decimal_format="number")

_KEEP_FILTERS: Final = "SELECT 1 FROM metrics WHERE id = %(metric)s FOR SHARE"

_FILTERS: Final = f"filters AS MATERIALIZED ({filters_of('m.id = %(metric)s')})"

ADDED: Final = """
    ON CONFLICT (subscription_id, metric_id, day, filters_version, bucket) DO UPDATE SET
        value_sum = r.value_sum + excluded.value_sum, event_count = r.event_count + excluded.event_count,
        value_max = greatest(r.value_max, excluded.value_max), value_min = least(r.value_min, excluded.value_min)
"""
"""How a row of rollups is added to the one that is there, called `r`: sums and counts grow, extremes widen."""

# Nothing, if events of the day were told apart by other filters: which row the event is in cannot be known then.
_SHIFT: Final = f"""
    WITH {_FILTERS}, moved AS (
        SELECT bucket, sum(value) AS total, sum(number) AS number, max(extreme) AS largest, min(extreme) AS smallest
        FROM (
            SELECT {filter_bucket("e")} AS bucket, e.* FROM (VALUES
                (%(metric)s::uuid, %(old_properties)s::jsonb, -coalesce(%(old)s::numeric, 0), -1, NULL),
                (%(metric)s, %(new_properties)s::jsonb, coalesce(%(new)s::numeric, 0), 1, %(new)s::numeric)
            ) e (metric_id, properties, value, number, extreme) WHERE number < 0 OR NOT %(gone)s
        ) told GROUP BY bucket
    )
    INSERT INTO usage_rollups AS r (subscription_id, metric_id, day, filters_version, bucket, project_id,
                                    value_sum, event_count, value_max, value_min)
    SELECT %(subscription)s, m.id, %(day)s, m.filters_version, bucket, %(project)s, total, number, largest, smallest
    FROM moved JOIN metrics m ON m.id = %(metric)s
    WHERE NOT EXISTS (
        SELECT FROM usage_rollups o WHERE o.subscription_id = %(subscription)s AND o.metric_id = m.id
          AND o.day = %(day)s AND o.filters_version <> m.filters_version
    )
    ORDER BY bucket {ADDED} RETURNING bucket, value_max, value_min
"""  # noqa: S608 - put together from constants

_FRESH: Final = f"""
    SELECT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date AS day, {filter_bucket("e")} AS bucket,
           coalesce(sum(value), 0) AS total, count(*) AS number, max(value) AS largest, min(value) AS smallest
    FROM events e
    WHERE status = 'counted' AND metric_id = %(metric)s AND subscription_id = ANY(%(subscriptions)s)
      AND occurred_at >= %(start)s AND occurred_at < %(end)s
    GROUP BY 1, 2, 3, 4
"""  # noqa: S608

_OF_DAYS: Final = """
    r.metric_id = %(metric)s AND r.subscription_id = ANY(%(subscriptions)s) AND r.day >= %(first)s AND r.day <= %(last)s
"""

_LOCK_DAYS: Final = f"""
    SELECT 1 FROM usage_rollups r WHERE {_OF_DAYS}
    ORDER BY subscription_id, metric_id, day, filters_version, bucket FOR UPDATE
"""  # noqa: S608

# Gives the rows whose largest or smallest value went away. They are touched, if only for that, and so locked.
_RECOMPUTE: Final = f"""
    WITH {_FILTERS}, fresh AS (
        SELECT f.*, m.filters_version FROM ({_FRESH}) f JOIN metrics m ON m.id = f.metric_id
    ), kept AS (
        SELECT r.*, r.filters_version = (SELECT filters_version FROM metrics WHERE id = %(metric)s) AS stays
        FROM usage_rollups r WHERE {_OF_DAYS}
    ), moved AS MATERIALIZED (
        SELECT subscription_id, metric_id, day, filters_version, bucket, f.largest, f.smallest,
               coalesce(f.total, 0) - coalesce(k.value_sum, 0) AS total,
               coalesce(f.number, 0) - coalesce(k.event_count, 0) AS number,
               (k.value_max <= f.largest AND k.value_min >= f.smallest) IS NOT TRUE AND k.stays AS is_lost
        FROM fresh f FULL JOIN kept k USING (subscription_id, metric_id, day, filters_version, bucket)
        WHERE (f.total, f.number, f.largest, f.smallest)
              IS DISTINCT FROM (k.value_sum, k.event_count, k.value_max, k.value_min)
    ), changed AS (
        INSERT INTO usage_rollups AS r (subscription_id, metric_id, day, filters_version, bucket, project_id,
                                        value_sum, event_count, value_max, value_min)
        SELECT subscription_id, metric_id, day, filters_version, bucket, %(project)s, total, number, largest, smallest
        FROM moved ORDER BY 1, 2, 3, 4, 5 {ADDED}
    )
    SELECT subscription_id, day, bucket FROM moved WHERE is_lost
"""  # noqa: S608

_EXTREMES: Final = f"""
    WITH {_FILTERS}, fresh AS MATERIALIZED ({_FRESH})
    UPDATE usage_rollups r SET value_max = f.largest, value_min = f.smallest
    FROM unnest(%(lost)s::uuid[], %(days)s::date[], %(buckets)s::text[]) AS t (subscription_id, day, bucket)
    LEFT JOIN fresh f ON f.subscription_id = t.subscription_id AND f.day = t.day AND f.bucket = t.bucket
    WHERE r.metric_id = %(metric)s AND r.subscription_id = t.subscription_id AND r.day = t.day AND r.bucket = t.bucket
      AND r.filters_version = (SELECT filters_version FROM metrics WHERE id = %(metric)s)
"""  # noqa: S608

_FORGET_EMPTY: Final = f"DELETE FROM usage_rollups r WHERE {_OF_DAYS} AND r.event_count = 0"  # noqa: S608

_MARK: Final = """
    INSERT INTO usage_watermarks AS m (subscription_id, project_id)
    SELECT own, %(project)s FROM unnest(%(subscriptions)s::uuid[]) own ORDER BY own
    ON CONFLICT (subscription_id) DO UPDATE SET version = m.version + 1, marked_at = clock_timestamp()
"""


@dataclass(frozen=True)
class RollupKey:
    """Where a counted event is rolled up."""

    project_id: UUID
    subscription_id: UUID
    metric_id: UUID
    occurred_at: datetime

    @property
    def day(self) -> date:
        """The UTC day of the event."""
        return self.occurred_at.astimezone(UTC).date()


@dataclass(frozen=True)
class EventContent:
    """What a counted event says: the value that it adds, and the properties that tell where."""

    value: Decimal | None
    properties: Any


async def shift(connection: AsyncConnection, place: RollupKey, *, old: EventContent, new: EventContent | None) -> None:
    """Replace one event's content in its rollups, after the event's row was changed; `new` is None if it is gone.

    Sum and count move by the difference, from one filter bucket to another where the properties say so. A largest or
    smallest value that went away is looked up among the day's events.
    """
    raw = await driver(connection)
    end = place.occurred_at + timedelta(microseconds=1)
    days = Days(place.project_id, place.metric_id, [place.subscription_id], place.occurred_at, end)
    names = days.names() | {
        "subscription": place.subscription_id,
        "day": place.day,
        "gone": new is None,
        "old": old.value,
        "old_properties": _written(old.properties),
        "new": None if new is None else new.value,
        "new_properties": None if new is None else _written(new.properties),
    }
    await raw.execute(_KEEP_FILTERS, names)
    shifted = await (await raw.execute(_SHIFT, names)).fetchall()
    if not shifted:
        await recompute(connection, days)
        return
    lost = [bucket for bucket, *extremes in shifted if old.value is not None and old.value in extremes]
    await _settle(connection, days, [(place.subscription_id, place.day, bucket) for bucket in lost])


def _written(properties: Any) -> str | None:
    return None if properties is None else _JSON.encode(properties).decode()


@dataclass(frozen=True)
class Days:
    """The rollups of one metric of some subscriptions that a half-open window touches."""

    project_id: UUID
    metric_id: UUID
    subscription_ids: Sequence[UUID]
    start: datetime
    end: datetime

    def names(self) -> dict[str, object]:
        """Return the bind values: the window widened to whole UTC days."""
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
    """Keep ingestion from changing these rollups, and others the metric's filters, until the transaction ends."""
    raw = await driver(connection)
    await raw.execute(_KEEP_FILTERS, days.names())
    await raw.execute(_LOCK_DAYS, days.names())


async def recompute(connection: AsyncConnection, days: Days) -> None:
    """Make rollups say what the events say, apart by the metric's present filters; its filters must be locked."""
    lost = await (await (await driver(connection)).execute(_RECOMPUTE, days.names())).fetchall()
    await _settle(connection, days, lost)


async def _settle(connection: AsyncConnection, days: Days, lost: Sequence[tuple[UUID, date, str]]) -> None:
    """Look up the largest and smallest values of rows that this transaction changed, and remove what is empty."""
    raw = await driver(connection)
    if lost:
        arrays = {
            "lost": [subscription for subscription, _, _ in lost],
            "days": [day for _, day, _ in lost],
            "buckets": [bucket for _, _, bucket in lost],
        }
        await raw.execute(_EXTREMES, {**days.names(), **arrays})
    await raw.execute(_FORGET_EMPTY, days.names())


async def mark(connection: AsyncConnection, project_id: UUID, subscription_ids: Sequence[UUID]) -> None:
    """Have the relay tell these subscriptions their usage anew."""
    raw = await driver(connection)
    await raw.execute(_MARK, {"project": project_id, "subscriptions": sorted(set(subscription_ids))})
