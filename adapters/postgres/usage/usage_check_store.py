"""Checking rollups, and values that are kept: all are computed anew from the events.

What differs is reported, never mended silently.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import SYSTEM, Database, ProjectScope
from adapters.postgres.events.event_scope import filter_bucket, filters_of
from adapters.postgres.events.unique_value_store import KEY_SQL
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import Transaction, begin
from adapters.postgres.metric_aggregation import KEEPS_VALUES
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from adapters.postgres.usage.records import UsageCheck
from billing.aggregations.unique_count import identity_sql
from billing.numbers import plain
from models.identifiers import new_id, parse_id, shown_id
from models.problems import not_found
from models.tables import projects, subscriptions, usage_checks

MOST_DETAILS: Final = 100
"""Most differences that are written down; the rest is only counted."""

_SUBSCRIPTIONS_AT_ONCE: Final = 100

_FIRST: Final = """
    SELECT (SELECT count(*) FROM compared) AS checked, (SELECT count(*) FROM compared WHERE differs) AS differences,
           c.* FROM (SELECT 1) one LEFT JOIN (
               SELECT * FROM compared WHERE differs ORDER BY subscription_id, metric_id, day, bucket LIMIT :most
           ) c ON true
"""

# One statement, so that events and rollups are of the same instant. Months that were detached cannot be checked. Days
# with events that were told apart by filters of before are compared as a whole.
_COMPARE: Final = text(f"""
    WITH own AS MATERIALIZED (
        SELECT r.*, r.filters_version = m.filters_version AS is_present
        FROM usage_rollups r JOIN metrics m ON m.id = r.metric_id
        WHERE subscription_id = ANY(:subscriptions) AND day >= (event_floor() AT TIME ZONE 'UTC')::date
    ), whole AS MATERIALIZED (
        SELECT subscription_id, metric_id, day FROM own GROUP BY 1, 2, 3 HAVING NOT bool_and(is_present)
    ), filters AS MATERIALIZED ({filters_of("m.id IN (SELECT metric_id FROM own)")}), fresh AS (
        SELECT subscription_id, metric_id, day, CASE WHEN w.day IS NULL THEN bucket ELSE '' END AS bucket,
               sum(total) AS total, sum(number) AS events, max(largest) AS largest, min(smallest) AS smallest
        FROM (
            SELECT subscription_id, metric_id, (occurred_at AT TIME ZONE 'UTC')::date AS day,
                   {filter_bucket("e")} AS bucket,
                   coalesce(sum(value), 0) AS total, count(*) AS number, max(value) AS largest, min(value) AS smallest
            FROM events e WHERE status = 'counted' AND subscription_id = ANY(:subscriptions)
            GROUP BY 1, 2, 3, 4
        ) parts LEFT JOIN whole w USING (subscription_id, metric_id, day)
        GROUP BY 1, 2, 3, 4
    ), kept AS (
        SELECT subscription_id, metric_id, day, CASE WHEN w.day IS NULL THEN bucket ELSE '' END AS bucket,
               sum(value_sum) AS total, sum(event_count) AS events,
               max(value_max) AS largest, min(value_min) AS smallest
        FROM own LEFT JOIN whole w USING (subscription_id, metric_id, day)
        GROUP BY 1, 2, 3, 4
    ), compared AS MATERIALIZED (
        SELECT coalesce(f.subscription_id, k.subscription_id) AS subscription_id,
               coalesce(f.metric_id, k.metric_id) AS metric_id, coalesce(f.day, k.day) AS day,
               coalesce(f.bucket, k.bucket) AS bucket,
               f.total AS events_total, f.events AS events_count, k.total AS rollup_total, k.events AS rollup_count,
               (f.total, f.events, f.largest, f.smallest) IS DISTINCT FROM (k.total, k.events, k.largest, k.smallest)
                   AS differs
        FROM fresh f FULL JOIN kept k
          ON k.subscription_id = f.subscription_id AND k.metric_id = f.metric_id AND k.day = f.day
         AND k.bucket = f.bucket
    )
    {_FIRST}
""")  # noqa: S608 - put together from constants

# The same of the values that are kept, by day; `usage_unique_days` is compared with what `usage_uniques` gives.
_COMPARE_VALUES: Final = text(f"""
    WITH own AS MATERIALIZED (
        SELECT m.id, m.field_name FROM metrics m WHERE {KEEPS_VALUES}
    ), found AS (
        SELECT DISTINCT subscription_id, metric_id, {KEY_SQL} AS value_key, day FROM (
            SELECT e.subscription_id, e.metric_id, (e.occurred_at AT TIME ZONE 'UTC')::date AS day,
                   {identity_sql("own.field_name")} AS identity
            FROM events e JOIN own ON own.id = e.metric_id
            WHERE e.status = 'counted' AND e.subscription_id = ANY(:subscriptions)
        ) told WHERE identity IS NOT NULL
    ), kept AS MATERIALIZED (
        SELECT u.subscription_id, u.metric_id, u.value_key, u.day, coalesce(lag(u.day) OVER (
            PARTITION BY u.subscription_id, u.metric_id, u.value_key ORDER BY u.day), '-infinity') AS previous_day
        FROM usage_uniques u JOIN own ON own.id = u.metric_id WHERE u.subscription_id = ANY(:subscriptions)
    ), by_value AS (
        SELECT subscription_id, metric_id, day, count(f.value_key) AS found, count(k.value_key) AS kept,
               bool_or(f.value_key IS NULL OR k.value_key IS NULL) AS differs
        FROM found f FULL JOIN kept k USING (subscription_id, metric_id, value_key, day)
        GROUP BY 1, 2, 3
    ), by_day AS (
        SELECT subscription_id, metric_id, day, coalesce(c.number, 0) <> coalesce(t.value_count, 0) AS differs
        FROM (SELECT subscription_id, metric_id, day, previous_day, count(*) AS number FROM kept GROUP BY 1, 2, 3, 4) c
        FULL JOIN (
            SELECT d.* FROM usage_unique_days d JOIN own ON own.id = d.metric_id
            WHERE d.subscription_id = ANY(:subscriptions)
        ) t USING (subscription_id, metric_id, day, previous_day)
    ), compared AS MATERIALIZED (
        SELECT subscription_id, metric_id, day, '' AS bucket, bool_or(differs) AS differs, sum(found) AS events_count,
               sum(kept) AS rollup_count, NULL AS events_total, NULL AS rollup_total
        FROM (
            SELECT * FROM by_value UNION ALL SELECT subscription_id, metric_id, day, 0, 0, differs FROM by_day
        ) every
        WHERE day >= (event_floor() AT TIME ZONE 'UTC')::date
        GROUP BY 1, 2, 3
    )
    {_FIRST}
""")  # noqa: S608 - put together from constants


@dataclass(frozen=True)
class Progress:
    """How far a check has come: rollups checked, differences found, subscriptions done of all."""

    checked: int = 0
    differences: int = 0
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Checked:
    """What a check of one project found; `details` are the first differences, as they are shown."""

    id: UUID
    checked: int
    differences: int
    details: Sequence[Mapping[str, str | int | None]]


async def all_projects(database: Database) -> list[ProjectScope]:
    """List every project of the deployment."""
    async with database.transaction(SYSTEM) as connection:
        rows = await connection.execute(select(projects.c.organization_id, projects.c.id).order_by(projects.c.id))
        return [ProjectScope(row.organization_id, row.id) for row in rows]


async def check(
    database: Database, scope: ProjectScope, *, started_by: str, tell: Callable[[Progress], None]
) -> Checked:
    """Check all rollups of a project, some subscriptions at a time; ingestion goes on meanwhile.

    The result is a row of `usage_checks`; differences are an audit entry and a notification too.
    """
    identity = new_id()
    async with database.transaction(scope) as connection:
        total = await connection.scalar(
            select(func.count()).select_from(subscriptions).where(subscriptions.c.project_id == scope.project_id)
        )
        values = {"id": identity, "project_id": scope.project_id, "started_by": started_by}
        await connection.execute(insert(usage_checks).values(values))
    progress = Progress(total=int(total or 0))
    details: list[Mapping[str, str | int | None]] = []
    after: UUID | None = None
    while True:
        async with begin(database, scope, SYSTEM_ACTOR) as tx:
            ids = await _following(tx.connection, scope, after)
            if not ids:
                await _finish(tx, identity, progress, details)
                return Checked(identity, progress.checked, progress.differences, details)
            progress, more = await _compare(tx.connection, ids, progress)
            details = [*details, *more][:MOST_DETAILS]
            await _write(tx.connection, identity, progress, details)
        after = ids[-1]
        tell(progress)


async def _following(connection: AsyncConnection, scope: ProjectScope, after: UUID | None) -> list[UUID]:
    statement = select(subscriptions.c.id).where(subscriptions.c.project_id == scope.project_id)
    if after is not None:
        statement = statement.where(subscriptions.c.id > after)
    rows = await connection.execute(statement.order_by(subscriptions.c.id).limit(_SUBSCRIPTIONS_AT_ONCE))
    return list(rows.scalars())


async def _compare(
    connection: AsyncConnection, ids: Sequence[UUID], progress: Progress
) -> tuple[Progress, list[Mapping[str, str | int | None]]]:
    names = {"subscriptions": list(ids), "most": MOST_DETAILS}
    rolled = (await connection.execute(_COMPARE, names)).all()
    values = (await connection.execute(_COMPARE_VALUES, names)).all()
    after = Progress(
        checked=progress.checked + rolled[0].checked + values[0].checked,
        differences=progress.differences + rolled[0].differences + values[0].differences,
        done=progress.done + len(ids),
        total=max(progress.total, progress.done + len(ids)),
    )
    details = [_detail(row, "rollup") for row in rolled if row.subscription_id is not None]
    return after, [*details, *(_detail(row, "unique_values") for row in values if row.subscription_id is not None)]


def _detail(row: Row[Any], kind: str) -> Mapping[str, str | int | None]:
    def shown(value: Any) -> str | None:
        return None if value is None else plain(value)

    return {
        "kind": kind,
        "subscription_id": shown_id("subscription", row.subscription_id),
        "metric_id": shown_id("metric", row.metric_id),
        "day": row.day.isoformat(),
        "bucket": row.bucket,
        "events_sum": shown(row.events_total),
        "rollup_sum": shown(row.rollup_total),
        "events_count": int(row.events_count or 0),
        "rollup_count": int(row.rollup_count or 0),
    }


async def _write(connection: AsyncConnection, identity: UUID, progress: Progress, details: Any, **more: Any) -> None:
    values = {"checked": progress.checked, "differences": progress.differences, "details": details, **more}
    await connection.execute(update(usage_checks).where(usage_checks.c.id == identity).values(values))


async def _finish(tx: Transaction, identity: UUID, progress: Progress, details: Any) -> None:
    status = "different" if progress.differences else "clean"
    await _write(tx.connection, identity, progress, details, status=status, finished_at=func.clock_timestamp())
    if not progress.differences:
        return
    title = f"{progress.differences} of {progress.checked} rollups differ from their events"
    data = {"checked": progress.checked, "differences": progress.differences}
    about: dict[str, Any] = {"resource_type": "usage_check", "resource_id": identity}
    await tx.audit(**about, action="differences_found", title=title, data=data)
    await tx.notify(
        kind="billing",
        title="Usage differs from its events",
        body=f"{title}; see GET /v1/usage/checks/{shown_id('usage_check', identity)}.",
        key=f"usage_check:{identity}",
        **about,
    )


async def listed(connection: AsyncConnection, project_id: UUID, page: Page) -> tuple[Sequence[UsageCheck], int]:
    """Return one part of a project's checks, the newest first, and their number."""
    own = usage_checks.c.project_id == project_id
    rows, total = await page_of(connection, usage_checks, page, own, orderable={"status": usage_checks.c.status})
    return records(UsageCheck, rows), total


async def find(connection: AsyncConnection, project_id: UUID, ref: str) -> UsageCheck:
    """Find a check. Raises `Problem` 404 `usage_check_not_found`."""
    statement = select(usage_checks).where(usage_checks.c.project_id == project_id, usage_checks.c.id == parse_id(ref))
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("usage_check", ref)
    return record(UsageCheck, row)
