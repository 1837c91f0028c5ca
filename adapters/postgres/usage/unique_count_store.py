"""Counting different values from what is kept of them (unique_value_store.py): exact, and as quick for any number.

The values of whole UTC days are those that did not occur earlier in the period, which is added up; what occurs only in
the partial days at its edges is counted among their events.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver
from adapters.postgres.events.unique_value_store import KEY_SQL
from billing.aggregations.unique_count import identity_sql

_DAYS: Final = """
    SELECT coalesce(sum(value_count), 0) FROM usage_unique_days
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s
      AND day >= {first_day} AND day < {end_day} AND previous_day < {first_day}
"""
_WHOLE_DAYS: Final = _DAYS.format(first_day="%(first_day)s", end_day="%(end_day)s").encode()

_OWN: Final = "e.status = 'counted' AND e.subscription_id = %(subscription)s AND e.metric_id = %(metric)s"

# Whether the whole days at the edges would bring values at all; mostly everybody who came on one day came on another.
_BRINGS: Final = f"""
    ({_DAYS.format(first_day="%(widest_first)s", end_day="%(widest_end)s")})
    <> ({_DAYS.format(first_day="%(first_day)s", end_day="%(end_day)s")}) AS brings
"""

# An edge with all events of its day is a whole day too: nothing counts before a subscription begins, or in the future.
_IS_WHOLE: Final = f"""
    NOT EXISTS (SELECT FROM events e WHERE {_OWN}
                AND e.occurred_at >= %({{0}}_midnight)s AND e.occurred_at < %({{0}}_start)s)
    AND NOT EXISTS (SELECT FROM events e WHERE {_OWN}
                    AND e.occurred_at >= %({{0}}_end)s AND e.occurred_at < %({{0}}_next)s) AS {{0}}_whole
"""  # noqa: S608 - put together from constants

_EDGE: Final = f"""
    SELECT {identity_sql("%(field)s::text")} AS identity FROM events e
    WHERE (SELECT brings AND NOT {{0}}_whole FROM known)
      AND {_OWN} AND e.occurred_at >= %({{0}}_start)s AND e.occurred_at < %({{0}}_end)s
"""  # noqa: S608

# One statement, so that days and edges are of the same instant. A value of an edge is looked for among the whole days
# by its key (OFFSET: not by reading all that is kept), and not at all if the event has none: its key is NULL. In the
# order of the index, neighbours are found on the pages that were read last.
_WITH_EDGES: Final = f"""
    WITH known AS MATERIALIZED (SELECT {{known}}), days AS MATERIALIZED (
        SELECT least(%(first_day)s{{firsts}}) AS first_day, greatest(%(end_day)s{{ends}}) AS end_day FROM known
    ), edge AS MATERIALIZED (
        SELECT value_key FROM (
            SELECT {KEY_SQL} AS value_key FROM (SELECT DISTINCT identity FROM ({{edges}}) every) told
        ) keyed ORDER BY value_key COLLATE "C"
    )
    SELECT ({_DAYS.format(first_day="(SELECT first_day FROM days)", end_day="(SELECT end_day FROM days)")})
        + (SELECT count(value_key) FROM edge WHERE NOT EXISTS (
            SELECT FROM usage_uniques u
            WHERE u.subscription_id = %(subscription)s AND u.metric_id = %(metric)s AND u.value_key = edge.value_key
              AND u.day >= (SELECT first_day FROM days) AND u.day < (SELECT end_day FROM days) OFFSET 0
        ))
"""  # noqa: S608

_BY_DAY: Final = """
    SELECT day, sum(value_count) FROM usage_unique_days
    WHERE subscription_id = %(subscription)s AND metric_id = %(metric)s AND day >= %(first)s AND day <= %(last)s
    GROUP BY day
"""


@dataclass(frozen=True)
class Values:
    """What is counted: whole UTC days ``[first_day, end_day)`` and up to two edges ``[start, end)`` beside them.

    An edge lies in one UTC day. `field` is the property that the metric names.
    """

    subscription_id: UUID
    metric_id: UUID
    field: str | None
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
    raw = await driver(connection)
    if values.edges:
        # Planned each time: how much lies at the edges differs from one period to the next.
        statement, more = _with_edges(values)
        cursor = await raw.execute(statement.encode(), {**parameters, **more}, prepare=False)
    else:
        cursor = await raw.execute(_WHOLE_DAYS, parameters, prepare=True)
    row = await cursor.fetchone()
    assert row is not None, "a sum is one row"
    return Decimal(row[0])


def _with_edges(values: Values) -> tuple[str, dict[str, Any]]:
    """Return the statement that counts the edges too, and what it needs beside the days."""
    names = ("head", "tail")[: len(values.edges)]
    days = [start.date() for start, _ in values.edges]
    parameters: dict[str, Any] = {"field": values.field}
    parameters["widest_first"] = min([values.first_day, *days])
    parameters["widest_end"] = max([values.end_day, *(day + timedelta(days=1) for day in days)])
    firsts = ends = ""
    for name, (start, end) in zip(names, values.edges, strict=True):
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        parameters |= {f"{name}_start": start, f"{name}_end": end}
        parameters |= {f"{name}_day": midnight.date(), f"{name}_midnight": midnight}
        parameters[f"{name}_next"] = midnight + timedelta(days=1)
        if midnight.date() < values.first_day:
            firsts += f", CASE WHEN {name}_whole THEN %({name}_day)s END"
        else:
            ends += f", CASE WHEN {name}_whole THEN %({name}_day)s + 1 END"
    statement = _WITH_EDGES.format(
        known=", ".join([_BRINGS, *map(_IS_WHOLE.format, names)]),
        firsts=firsts,
        ends=ends,
        edges=" UNION ALL ".join(map(_EDGE.format, names)),
    )
    return statement, parameters


async def unique_counts_by_day(
    connection: AsyncConnection, subscription_id: UUID, metric_id: UUID, first: date, last: date
) -> dict[date, Decimal]:
    """Count the different values of each whole UTC day of ``[first, last]``; days without any are absent."""
    names = {"subscription": subscription_id, "metric": metric_id, "first": first, "last": last}
    rows = await (await driver(connection)).execute(_BY_DAY, names, prepare=True)
    return {day: Decimal(count) for day, count in await rows.fetchall()}
