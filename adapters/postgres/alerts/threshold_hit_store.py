"""Which subscriptions' usage has reached an alert's threshold: the relay tells those at once, not in their turn.

A threshold that was signalled is suppressed: the signal is on its way, and telling each further event of a subscription
whose workflow has not come to look yet would keep it from looking.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.journal.relay_store import DueWatermark
from adapters.postgres.metric_aggregation import rolled_sql
from adapters.postgres.prepared import Prepared

#: In the place of a metric: money or a part of the events is watched, which only an evaluation can tell.
ANY_USAGE: Final = UUID(int=0)

#: How long a signalled threshold is suppressed at the most, should an evaluation not have drawn another one by then.
_MAX_SUPPRESSION_SECONDS: Final = 15

# Counts whole days, so that at the edges of a period it may ask for an evaluation too many, and never misses one that
# whole days would show. What does not add up by days is told in its turn.
_REACHED: Final = Prepared(
    text(f"""
    SELECT k.project_id, k.subscription_id, k.version, l.metric_id, l.quantity
    FROM usage_watermarks k
    JOIN evaluation_thresholds l ON l.subscription_id = k.subscription_id
    JOIN metrics m ON m.id = l.metric_id
    CROSS JOIN LATERAL (
        SELECT {rolled_sql("r", lambda model: model.grows_only)} AS quantity
        FROM usage_rollups r
        WHERE r.subscription_id = l.subscription_id AND r.metric_id = l.metric_id
          AND r.day >= (l.period_start AT TIME ZONE 'UTC')::date
          AND r.day <= ((l.period_end - interval '1 microsecond') AT TIME ZONE 'UTC')::date
    ) used
    WHERE k.version > k.signalled_version AND used.quantity >= l.quantity
      AND (l.suppressed_until IS NULL OR l.suppressed_until <= clock_timestamp())
      AND (k.signalled_at IS NULL OR k.signalled_at <= clock_timestamp() - make_interval(secs => :rest))
    UNION ALL
    SELECT k.project_id, k.subscription_id, k.version, l.metric_id, l.quantity
    FROM usage_watermarks k
    JOIN evaluation_thresholds l ON l.subscription_id = k.subscription_id AND l.metric_id = :any_usage
    WHERE k.version > k.signalled_version
      AND (k.signalled_at IS NULL OR k.signalled_at <= clock_timestamp() - make_interval(secs => :interval))
    LIMIT :most
    """)  # noqa: S608 - put together from constants
)


# Only the line that was read: an evaluation may have drawn the next one meanwhile.
_REST: Final = """
    UPDATE evaluation_thresholds l SET suppressed_until = clock_timestamp() + make_interval(secs => told.seconds)
    FROM unnest(%(subscriptions)s::uuid[], %(metrics)s::uuid[], %(quantities)s::numeric[], %(seconds)s::float8[])
         AS told (subscription_id, metric_id, quantity, seconds)
    WHERE l.subscription_id = told.subscription_id AND l.metric_id = told.metric_id AND l.quantity = told.quantity
"""


@dataclass(frozen=True)
class ThresholdHit:
    """A line that untold usage has reached, as whole days have it; of `ANY_USAGE` the quantity means nothing."""

    mark: DueWatermark
    metric_id: UUID
    quantity: Decimal

    def suppression_seconds(self, told: Decimal, interval_seconds: float) -> float:
        """Return how long it rests after a quantity was told: until a look, or for an interval if that was less."""
        return _MAX_SUPPRESSION_SECONDS if told >= self.quantity else interval_seconds


async def hit_thresholds(
    connection: AsyncConnection, *, suppression_seconds: float, interval_seconds: float, limit: int
) -> list[ThresholdHit]:
    """Return the subscriptions whose usage has reached their next threshold, for the relay's signal.

    A subscription signalled less than `suppression_seconds` ago waits: its workflow may be evaluating. Where any usage
    may matter, because money is watched, it is signalled every `interval_seconds`. In the system's scope.
    """
    parameters = {"rest": suppression_seconds, "interval": interval_seconds, "most": limit, "any_usage": ANY_USAGE}
    cursor = await _REACHED.run(await driver(connection), parameters)
    rows = await cursor.fetchall()
    return [ThresholdHit(DueWatermark(*row[:3]), row.metric_id, row.quantity) for row in rows]


async def suppress(connection: AsyncConnection, told: Sequence[tuple[ThresholdHit, float]]) -> None:
    """Suppress thresholds for some seconds each; one that was written elsewhere meanwhile does not."""
    if not told:
        return
    names = {
        "subscriptions": [line.mark.subscription_id for line, _ in told],
        "metrics": [line.metric_id for line, _ in told],
        "quantities": [line.quantity for line, _ in told],
        "seconds": [seconds for _, seconds in told],
    }
    await (await driver(connection)).execute(_REST, names, prepare=True)
