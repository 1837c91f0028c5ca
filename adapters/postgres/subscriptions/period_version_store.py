"""Which plan version served a subscription's earlier periods, so that a later bill does not use the new one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from models.tables import served_versions


@dataclass(frozen=True)
class ServedVersions:
    """The versions before each plan change, the earliest change first; none if the plan never changed."""

    changes: Sequence[tuple[datetime, UUID]] = ()

    def of(self, period_start: datetime) -> UUID | None:
        """Return the version of a period that starts then; None if it is the subscription's present one."""
        return next((version for until, version in self.changes if period_start < until), None)


async def versions_of(connection: AsyncConnection, subscription_id: UUID) -> ServedVersions:
    """Read the versions of a subscription's earlier periods."""
    columns = served_versions.c
    statement = select(columns.until, columns.plan_version_id).where(columns.subscription_id == subscription_id)
    rows = await connection.execute(statement.order_by(columns.until))
    return ServedVersions([(row.until, row.plan_version_id) for row in rows])


async def record_version(
    connection: AsyncConnection, project_id: UUID, subscription_id: UUID, *, until: datetime, plan_version_id: UUID
) -> None:
    """Note that periods which start before `until` were served under a version.

    The first note for an instant stays: a version that was taken and left within one period served none.
    """
    await connection.execute(
        insert(served_versions)
        .values(project_id=project_id, subscription_id=subscription_id, until=until, plan_version_id=plan_version_id)
        .on_conflict_do_nothing()
    )
