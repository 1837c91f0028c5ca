"""Keeping the different values of metrics that count them, so that nobody has to read millions of events to do so.

`usage_uniques` says on which UTC days a value occurred, `usage_unique_days` how many values of a day occurred last on
which earlier day; the second always equals what the first gives. Both change in the transaction that changes the
events, and only while it holds the subscription's row of `usage_watermarks`: so each transaction sees all that those
before it kept, and no two can wait for each other. Every statement here begins after that row was locked.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.arrays import bare, moments, texts, uuids
from adapters.postgres.database import driver
from adapters.postgres.events.ingest_lookup import Metric
from adapters.postgres.events.ingest_rows import Rows
from adapters.postgres.metric_aggregation import KEEPS_VALUES
from billing.aggregations.unique_count import identity_sql

#: A value and a day on which it occurred: subscription, metric, the value's key, UTC day.
ValueDay = tuple[UUID, UUID, str, date]

_JSON: Final = msgspec.json.Encoder(decimal_format="number")

#: The key of a value: its text, or the digest of one that is longer than an index should hold. No text that is kept as
#: it is has the 71 bytes of a digest.
KEY_SQL: Final = (
    "CASE WHEN octet_length(identity) <= 64 THEN identity"
    " ELSE 'sha256:' || encode(sha256(convert_to(identity, 'UTF8')), 'hex') END"
)

_OF_CONTENTS: Final = f"""
    SELECT subscription_id, metric_id, {KEY_SQL} AS value_key, day FROM (
        SELECT DISTINCT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date AS day,
               {identity_sql("field")} AS identity
        FROM unnest(%(subscriptions)s::uuid[], %(metrics)s::uuid[], %(fields)s::text[], %(values)s::numeric(38, 18)[],
                    %(properties)s::jsonb[], %(times)s::timestamptz[])
             AS sent (subscription_id, metric_id, field, value, properties, occurred_at)
    ) told
"""  # noqa: S608 - put together from constants

_GIVEN: Final = """
    SELECT * FROM unnest(%(subscriptions)s::uuid[], %(metrics)s::uuid[], %(keys)s::text[], %(days)s::date[])
        AS given (subscription_id, metric_id, value_key, day)
"""

_SAME: Final = "u.subscription_id = p.subscription_id AND u.metric_id = p.metric_id AND u.value_key = p.value_key"

# Between two days on which a value is kept (`before`, `after`) lie the days that come or go: a chain, of which each day
# has the one in front of it as its previous day. LIMIT and OFFSET keep the planner at one look into the index for each
# value, however large the table has become since its statistics were taken.
_CHAINED: Final = f"""
placed AS MATERIALIZED (
    SELECT p.*,
           (SELECT u.day FROM usage_uniques u WHERE {_SAME} AND u.day < p.day ORDER BY u.day DESC LIMIT 1) AS before,
           (SELECT u.day FROM usage_uniques u WHERE {_SAME} AND u.day > p.day ORDER BY u.day LIMIT 1) AS after
    FROM moved p
), chained AS MATERIALIZED (
    SELECT subscription_id, metric_id, day, coalesce(before, '-infinity') AS before, after,
           coalesce(lag(day) OVER chain, before, '-infinity') AS previous_day, lead(day) OVER chain IS NULL AS is_last
    FROM placed WINDOW chain AS (PARTITION BY subscription_id, metric_id, value_key, before ORDER BY day)
), shifts AS (
    SELECT subscription_id, metric_id, day, previous_day, 1 AS change FROM chained
    UNION ALL
    SELECT subscription_id, metric_id, after, day, 1 FROM chained WHERE is_last AND after IS NOT NULL
    UNION ALL
    SELECT subscription_id, metric_id, after, before, -1 FROM chained WHERE is_last AND after IS NOT NULL
), tallied AS (
    INSERT INTO usage_unique_days AS t (subscription_id, metric_id, day, previous_day, project_id, value_count)
    SELECT subscription_id, metric_id, day, previous_day, %(project)s, sum(change * %(sign)s::bigint) FROM shifts
    GROUP BY 1, 2, 3, 4 HAVING sum(change) <> 0 ORDER BY 1, 2, 3, 4
    ON CONFLICT (subscription_id, metric_id, day, previous_day)
    DO UPDATE SET value_count = t.value_count + excluded.value_count
)"""  # noqa: S608

_KEEP: Final = f"""
WITH pairs AS MATERIALIZED ({{pairs}}), moved AS MATERIALIZED (
    SELECT p.* FROM pairs p
    WHERE p.value_key IS NOT NULL
      AND NOT EXISTS (SELECT FROM usage_uniques u WHERE {_SAME} AND u.day = p.day OFFSET 0)
), {_CHAINED}, kept AS (
    INSERT INTO usage_uniques (subscription_id, metric_id, value_key, day, project_id)
    SELECT subscription_id, metric_id, value_key, day, %(project)s FROM moved ORDER BY 1, 2, 3, 4
)
SELECT count(*) FROM moved
"""  # noqa: S608
_KEEP_CONTENTS: Final = _KEEP.format(pairs=_OF_CONTENTS).encode()
_KEEP_GIVEN: Final = _KEEP.format(pairs=_GIVEN).encode()

_DROP: Final = f"""
    DELETE FROM usage_uniques u USING ({_GIVEN}) p WHERE {_SAME} AND u.day = p.day
    RETURNING u.subscription_id, u.metric_id, u.value_key, u.day
""".encode()  # noqa: S608
_UNCHAIN: Final = f"WITH moved AS MATERIALIZED ({_GIVEN}), {_CHAINED} SELECT count(*) FROM moved".encode()  # noqa: S608

_FIELD: Final = f"SELECT m.field_name FROM metrics m WHERE m.id = %(metric)s AND {KEEPS_VALUES}"  # noqa: S608

# Whether these values still occur on these days, from all events of the days.
_LOOK_AGAIN: Final = f"""
    WITH touched AS MATERIALIZED ({_OF_CONTENTS}), present AS (
        SELECT DISTINCT subscription_id, day, {KEY_SQL} AS value_key FROM (
            SELECT d.subscription_id, d.day, {identity_sql("%(field)s::text")} AS identity
            FROM (SELECT DISTINCT subscription_id, day FROM touched) d
            JOIN events e ON e.subscription_id = d.subscription_id AND e.metric_id = %(metric)s AND e.status = 'counted'
                         AND e.occurred_at >= d.day::timestamp AT TIME ZONE 'UTC'
                         AND e.occurred_at < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
        ) told
    )
    SELECT t.subscription_id, t.metric_id, t.value_key, t.day, p.value_key IS NOT NULL
    FROM touched t
    LEFT JOIN present p ON p.subscription_id = t.subscription_id AND p.day = t.day AND p.value_key = t.value_key
    WHERE t.value_key IS NOT NULL
""".encode()  # noqa: S608


async def keep_stored(
    connection: AsyncConnection, project_id: UUID, metrics: Iterable[Metric], rows: Rows, already: Container[int]
) -> None:
    """Keep the values of the rows that a flush stored and that count; `already` are places that were there before.

    Does nothing, and asks nothing, for a flush without metrics that count different values.
    """
    fields = {metric.id: metric.aggregation.field for metric in metrics if metric.keeps_values}
    wanted = {
        number: (subscription, metric)
        for (*_, metric, _, subscription, reason), number in rows.shared.items()
        if reason is None and metric is not None and metric in fields
    }
    if not wanted:
        return
    places = [place for place, number in enumerate(rows.shared_of) if number in wanted and place not in already]
    own = [wanted[rows.shared_of[place]] for place in places]
    values = [rows.values[place] for place in places]
    parameters = {
        "project": project_id,
        "sign": 1,
        "subscriptions": bare([str(subscription) for subscription, _ in own]),
        "metrics": uuids(metric for _, metric in own),
        "fields": texts([fields[metric] for _, metric in own]),
        "values": bare(["NULL" if value is None else value for value in values]),
        "properties": texts([rows.properties[place] for place in places]),
        "times": moments(rows.times[place] for place in places),
    }
    # Planned each time: a plan made while the tables were small would be kept when they are not.
    await (await driver(connection)).execute(_KEEP_CONTENTS, parameters, prepare=False)


async def refresh(
    connection: AsyncConnection, project_id: UUID, metric_id: UUID, versions: Sequence[Mapping[Any, Any]]
) -> None:
    """Make what is kept say what the events say, of the values and days of some events of one metric.

    `versions` are these events (columns of `events`) as they were and as they are. The caller has changed the events
    and holds their subscriptions' marks.
    """
    raw = await driver(connection)
    row = await (await raw.execute(_FIELD, {"metric": metric_id})).fetchone()
    if row is None or not versions:
        return
    contents = _contents(metric_id, row[0], versions)
    found = await (await raw.execute(_LOOK_AGAIN, contents, prepare=False)).fetchall()
    gone: list[ValueDay] = [each[:4] for each in found if not each[4]]
    if gone:
        dropped = await (await raw.execute(_DROP, _arrays(gone), prepare=False)).fetchall()
        await raw.execute(_UNCHAIN, {**_arrays(dropped), "project": project_id, "sign": -1}, prepare=False)
    there: list[ValueDay] = [each[:4] for each in found if each[4]]
    if there:
        await raw.execute(_KEEP_GIVEN, {**_arrays(there), "project": project_id, "sign": 1}, prepare=False)


def _contents(metric_id: UUID, field: str | None, versions: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    properties = [each["properties"] for each in versions]
    times: list[datetime] = [each["occurred_at"] for each in versions]
    return {
        "metric": metric_id,
        "field": field,
        "subscriptions": [each["subscription_id"] for each in versions],
        "metrics": [metric_id] * len(versions),
        "fields": [field] * len(versions),
        "values": [None if each["value"] is None else str(each["value"]) for each in versions],
        "properties": [None if each is None else _JSON.encode(each).decode() for each in properties],
        "times": times,
    }


def _arrays(pairs: Sequence[ValueDay]) -> dict[str, Any]:
    return {
        "subscriptions": [each[0] for each in pairs],
        "metrics": [each[1] for each in pairs],
        "keys": [each[2] for each in pairs],
        "days": [each[3] for each in pairs],
    }
