"""How many events there are, without counting millions of rows: what counts is added up in the rollups already."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.database import driver

_COUNTED: Final = """
    SELECT coalesce(sum(r.event_count), 0) FROM usage_rollups r
    WHERE r.project_id = %(project)s AND r.day >= (event_floor() AT TIME ZONE 'UTC')::date
      AND (%(subscription)s::uuid IS NULL OR r.subscription_id = %(subscription)s)
      AND (%(metric)s::text IS NULL OR r.metric_id IN (
        SELECT m.id FROM metrics m
        WHERE m.project_id = %(project)s AND (m.key = %(metric)s OR m.id = %(metric_id)s)))
"""

_UNCOUNTED: Final = """
    SELECT count(*) FROM events e LEFT JOIN metrics m ON m.id = e.metric_id
    WHERE e.project_id = %(project)s AND e.status <> 'counted' AND (%(status)s::text IS NULL OR e.status = %(status)s)
      AND (%(subscription)s::uuid IS NULL OR e.subscription_id = %(subscription)s)
      AND (%(metric)s::text IS NULL OR e.metric_ref = %(metric)s OR m.key = %(metric)s OR m.id = %(metric_id)s)
"""


@dataclass(frozen=True)
class EventKinds:
    """Which events are to be counted; None leaves a field open. A metric by its key, or by what it resolved to."""

    status: str | None = None
    subscription_id: UUID | None = None
    metric: str | None = None
    metric_id: UUID | None = None


async def event_counts(connection: AsyncConnection, project_id: UUID, kinds: EventKinds) -> int:
    """Count a project's events."""
    names = {
        "project": project_id,
        "status": kinds.status,
        "subscription": kinds.subscription_id,
        "metric": kinds.metric,
        "metric_id": kinds.metric_id,
    }
    raw = await driver(connection)
    statements = [_COUNTED] if kinds.status in (None, "counted") else []
    statements += [_UNCOUNTED] if kinds.status != "counted" else []
    total = 0
    for statement in statements:
        row = await (await raw.execute(statement, names)).fetchone()
        total += 0 if row is None else int(row[0])
    return total
