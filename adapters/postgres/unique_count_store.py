"""Counting different values from what is kept of them (unique_value_store.py): exact, and as quick for any number.

The values of whole UTC days are those that did not occur earlier in the period, which is added up; what occurs only in
the partial days at its edges is counted among their events.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.unique_value_store import KEY_SQL
from billing.aggregations.unique_count import identity_sql

_DAYS: Final = """
    SELECT coalesce(sum(value_count), 0) FROM usage_unique_days
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s
      AND day >= %(first_day)s AND day < %(end_day)s AND previous_day < %(first_day)s
"""

_EDGE: Final = f"""
    SELECT {identity_sql("m.field_name")} AS identity FROM events e JOIN metrics m ON m.id = e.metric_id
    WHERE e.status = 'counted' AND e.subscription_id = %(subscription)s AND e.metric_id = %(metric)s
      AND e.occurred_at >= %({{0}}_start)s AND e.occurred_at < %({{0}}_end)s
"""  # noqa: S608 - put together from constants

# One statement, so that days and edges are of the same instant.
_WITH_EDGES: Final = f"""
    SELECT ({_DAYS}) + count(*) FROM (
        SELECT {KEY_SQL} AS value_key FROM (SELECT DISTINCT identity FROM ({{edges}}) every) told
        WHERE identity IS NOT NULL
    ) p WHERE NOT EXISTS (
        SELECT FROM usage_uniques u
        WHERE u.subscription_id = %(subscription)s AND u.metric_id = %(metric)s AND u.value_key = p.value_key
          AND u.day >= %(first_day)s AND u.day < %(end_day)s
    )
"""  # noqa: S608

_BY_DAY: Final = """
    SELECT day, sum(value_count) FROM usage_unique_days
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s AND day >= %(first)s AND day <= %(last)s
    GROUP BY day
"""


@dataclass(frozen=True)
class Values:
    """What is counted: whole UTC days ``[first_day, end_day)`` and up to two edges ``[start, end)`` outside them."""

    subscription_id: UUID
    metric_id: UUID
    first_day: date
    end_day: date
    edges: tuple[tuple[datetime, datetime], ...]


async def unique_count(connection: AsyncConnection, values: Values) -> Decimal:
    """Count the different values of a metric that keeps them; exact to the last committed event."""
    parameters: dict[str, Any] = {
        "subscription": values.subscription_id,
        "metric": values.metric_id,
        "first_day": values.first_day,
        "end_day": values.end_day,
    }
    names = ("head", "tail")[: len(values.edges)]
    for name, (start, end) in zip(names, values.edges, strict=True):
        parameters |= {f"{name}_start": start, f"{name}_end": end}
    statement = _WITH_EDGES.format(edges=" UNION ALL ".join(map(_EDGE.format, names))) if names else _DAYS
    cursor = await (await driver(connection)).execute(statement.encode(), parameters, prepare=not names)
    row = await cursor.fetchone()
    assert row is not None, "an aggregate without GROUP BY gives one row"
    return Decimal(row[0])


async def unique_counts_by_day(
    connection: AsyncConnection, subscription_id: UUID, metric_id: UUID, first: date, last: date
) -> dict[date, Decimal]:
    """Count the different values of each whole UTC day of ``[first, last]``; days without any are absent."""
    names = {"subscription": subscription_id, "metric": metric_id, "first": first, "last": last}
    rows = await (await driver(connection)).execute(_BY_DAY, names, prepare=True)
    return {day: Decimal(count) for day, count in await rows.fetchall()}
