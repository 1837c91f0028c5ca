"""The usage of charges and metrics: THE functions that closing, previews, current usage, limits and alerts share.

What rollups put together (sum, count, max, min) comes from the quantity statement (quantity_store.py); different values
are counted from what is kept of them (unique_count_store.py). Every other aggregation runs its own SQL over the indexed
events (event_slice_store.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.usage.event_slice_store import EventSlice, usage_of_part
from adapters.postgres.usage.quantity_store import Total, UsageWindow, totals_of
from adapters.postgres.usage.unique_count_store import Values, unique_count
from adapters.postgres.usage.usage_bucket_store import is_split, split_usages
from adapters.postgres.usage.usage_window import window_of
from billing.charges import Charge
from billing.period import Period
from billing.usage import NO_USAGE, Usage


async def usages(
    connection: AsyncConnection,
    subscription_id: UUID,
    charges: Sequence[Charge],
    period: Period,
    *,
    through: datetime | None = None,
    levels_end: datetime | None = None,
) -> dict[UUID, Usage]:
    """Return the usage of every metered charge in the period ``[start, end)``, keyed by charge id; 0 without events.

    ``through`` (exclusive) leaves out events that occurred at or after it, for a bill in the middle of a period. Levels
    (weighted_sum) count until `levels_end`, else until the end.
    The event's own time decides (R11); quantities are rounded as their metric says. Exact to the last committed event.
    Raises `TooManyGroups` for a charge whose group_by is absurd.
    """
    metered = [charge for charge in charges if charge.metered]
    end = period.end if through is None else min(period.end, through)
    if not metered or end <= period.start:
        return {charge.id: NO_USAGE for charge in metered}
    counted = Period(start=period.start, end=end)
    levels_end = None if levels_end is None else min(levels_end, end)
    windows = {
        charge.metric_id: UsageWindow(subscription_id, charge.metric_id, counted, levels_end)
        for charge in metered
        if charge.metric_id is not None
    }
    totals = await totals_of(connection, list(windows.values()))
    whole = {windows[charge.metric_id] for charge in metered if charge.metric_id and not is_split(charge)}
    used = await completed(connection, {window: totals[window] for window in whole})
    found = {
        charge.id: used[windows[charge.metric_id]] for charge in metered if charge.metric_id and not is_split(charge)
    }
    split = [charge for charge in metered if is_split(charge)]
    measures = {window.metric_id: total.measure for window, total in totals.items()}
    if split:
        found |= await split_usages(connection, subscription_id, split, measures, counted, levels_end=levels_end)
    return found


async def metric_usages(
    connection: AsyncConnection, subscription_id: UUID, metric_ids: Sequence[UUID], period: Period
) -> dict[UUID, Usage]:
    """Return the usage of some metrics of one subscription in ``[start, end)``, keyed by metric id."""
    windows = [UsageWindow(subscription_id, metric, period) for metric in metric_ids]
    return {window.metric_id: usage for window, usage in (await usages_of_many(connection, windows)).items()}


async def usages_of_many(connection: AsyncConnection, windows: Sequence[UsageWindow]) -> dict[UsageWindow, Usage]:
    """Return the usage of many windows, rounded as their metrics say; exact to the last committed event."""
    return await completed(connection, await totals_of(connection, windows))


async def completed(connection: AsyncConnection, totals: Mapping[UsageWindow, Total]) -> dict[UsageWindow, Usage]:
    """Return the usage that totals stand for; what rollups cannot put together is read one by one."""
    return {
        window: await _other(connection, window, total)
        if total.quantity is None
        else total.measure.usage(total.quantity, total.events)
        for window, total in totals.items()
    }


async def _other(connection: AsyncConnection, window: UsageWindow, total: Total) -> Usage:
    """Count the different values of a window, or fold its events."""
    subscription_id, metric_id, period, levels_end = window
    if total.measure.keeps_values:
        cut, field = window_of(period.start, period.end), total.measure.folding.field
        values = Values(subscription_id, metric_id, field, cut.first_day, cut.end_day, cut.edges)
        return total.measure.usage(await unique_count(connection, values), total.events)
    return await usage_of_part(connection, EventSlice(subscription_id, metric_id, total.measure, period, levels_end))
