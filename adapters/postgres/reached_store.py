"""Which subscriptions' usage has got to an alert's line: the relay tells those at once, not in their turn."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.prepared import Prepared
from adapters.postgres.relay_store import DueMark

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
    LIMIT :most
    """)
)


async def reached_marks(connection: AsyncConnection, *, rest_seconds: float, limit: int) -> list[DueMark]:
    """Give subscriptions whose untold usage has got to the nearest line of a metric, for the relay's signal.

    One that was told less than `rest_seconds` ago waits: its workflow may just be looking. In the system's scope.
    """
    cursor = await _REACHED.run(await driver(connection), {"rest": rest_seconds, "most": limit})
    return [DueMark(row.project_id, row.subscription_id, row.version) for row in await cursor.fetchall()]
