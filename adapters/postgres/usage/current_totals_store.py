"""The cumulative totals that the relay tells subscriptions: two statements for a flush, however many there are."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.usage.quantity_store import UsageWindow
from adapters.postgres.usage.usage_store import usages_of_many
from billing.period import Period

_DIRTY: Final = """
    SELECT s.id, k.version, s.current_period_start, s.current_period_end, used.metric_id, m.key
    FROM usage_watermarks k JOIN subscriptions s ON s.id = k.subscription_id
    LEFT JOIN LATERAL (
        SELECT DISTINCT r.metric_id FROM usage_rollups r
        WHERE r.subscription_id = s.id AND r.day >= (s.current_period_start AT TIME ZONE 'UTC')::date
          AND r.day <= ((s.current_period_end - interval '1 microsecond') AT TIME ZONE 'UTC')::date
    ) used ON true
    LEFT JOIN metrics m ON m.id = used.metric_id
    WHERE k.subscription_id = ANY(%(subscriptions)s)
      AND s.current_period_start IS NOT NULL AND s.current_period_end IS NOT NULL
"""


@dataclass(frozen=True)
class MetricTotal:
    """The cumulative usage of one metric in a subscription's current period."""

    metric_id: UUID
    metric_key: str
    quantity: Decimal
    events: int


@dataclass(frozen=True)
class CurrentTotals:
    """What one subscription used so far in its current period; ``version`` grows with every ingest transaction."""

    subscription_id: UUID
    version: int
    period_start: datetime
    period_end: datetime
    totals: tuple[MetricTotal, ...]


async def current_totals(connection: AsyncConnection, subscription_ids: Sequence[UUID]) -> list[CurrentTotals]:
    """Return the cumulative totals of the current period of subscriptions with usage marks, for the relay's signal.

    The version is read before the totals, so a total may be ahead of its version and never behind it. Subscriptions
    without a current period are absent. Works in a tenant's scope and in the system's. Metrics that do not add up ask
    one statement each.
    """
    raw = await driver(connection)
    rows = await (await raw.execute(_DIRTY, {"subscriptions": list(subscription_ids)}, prepare=True)).fetchall()
    keys = {
        UsageWindow(subscription, metric, Period(start=start, end=end)): key
        for subscription, _, start, end, metric, key in rows
        if metric is not None
    }
    totals: defaultdict[UUID, list[MetricTotal]] = defaultdict(list)
    for window, usage in (await usages_of_many(connection, list(keys))).items():
        total = MetricTotal(window.metric_id, keys[window], usage.quantity, usage.events)
        totals[window.subscription_id].append(total)
    dirty = {subscription: (version, start, end) for subscription, version, start, end, _, _ in rows}
    return [
        CurrentTotals(subscription, *of, totals=tuple(sorted(totals[subscription], key=lambda each: each.metric_id)))
        for subscription, of in dirty.items()
    ]
