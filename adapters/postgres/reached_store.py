"""Which subscriptions' usage has got to an alert's line: the relay tells those at once, not in their turn."""

from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.prepared import Prepared
from adapters.postgres.relay_store import DueMark

#: In the place of a metric: money or a part of the events is watched, which only a look can tell.
ANY_USAGE: Final = UUID(int=0)

# Counts whole days, so that at the edges of a period it may ask for a look too many, and never misses one that whole
# days would show. What does not add up by days is told in its turn.
_REACHED: Final = Prepared(
    text("""
    SELECT DISTINCT k.project_id, k.subscription_id, k.version
    FROM usage_marks k
    JOIN usage_lines l ON l.subscription_id = k.subscription_id
    JOIN metrics m ON m.id = l.metric_id
    CROSS JOIN LATERAL (
        SELECT CASE m.aggregation WHEN 'sum' THEN sum(r.value_sum) WHEN 'count' THEN sum(r.event_count)
               WHEN 'max' THEN max(r.value_max) END AS quantity
        FROM usage_rollups r
        WHERE r.subscription_id = l.subscription_id AND r.metric_id = l.metric_id
          AND r.day >= (l.period_start AT TIME ZONE 'UTC')::date
          AND r.day <= ((l.period_end - interval '1 microsecond') AT TIME ZONE 'UTC')::date
    ) used
    WHERE k.version > k.signalled_version AND used.quantity >= l.quantity
      AND (k.signalled_at IS NULL OR k.signalled_at <= clock_timestamp() - make_interval(secs => :rest))
    UNION
    SELECT k.project_id, k.subscription_id, k.version
    FROM usage_marks k JOIN usage_lines l ON l.subscription_id = k.subscription_id AND l.metric_id = :any_usage
    WHERE k.version > k.signalled_version
      AND (k.signalled_at IS NULL OR k.signalled_at <= clock_timestamp() - make_interval(secs => :interval))
    LIMIT :most
    """)
)


async def reached_marks(
    connection: AsyncConnection, *, rest_seconds: float, interval_seconds: float, limit: int
) -> list[DueMark]:
    """Give subscriptions whose untold usage has got to the nearest line of a metric, for the relay's signal.

    One that was told less than `rest_seconds` ago waits: its workflow may just be looking. Where any usage may matter,
    because money is watched, it is told every `interval_seconds`. In the system's scope.
    """
    parameters = {"rest": rest_seconds, "interval": interval_seconds, "most": limit, "any_usage": ANY_USAGE}
    cursor = await _REACHED.run(await driver(connection), parameters)
    return [DueMark(row.project_id, row.subscription_id, row.version) for row in await cursor.fetchall()]
