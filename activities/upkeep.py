"""Looking after usage: checking a project's rollups, counting a part of a window's skipped events."""

import asyncio
from typing import Final

from temporalio import activity

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.events import reprocessing_store
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.usage import usage_check_store
from adapters.postgres.usage.usage_check_store import Progress
from models.messages.upkeep import CheckUsage, ProjectRef, ProjectsPage, Reprocess, Reprocessed, UsageChecked

_PARTS: Final = 10


class MaintenanceActivities:
    """What no subscription's workflow does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="list_projects")
    async def list_projects(self, message: CheckUsage) -> ProjectsPage:
        """List the projects to check, those behind ``after`` if it is given; changes nothing."""
        found = await usage_check_store.all_projects(self._database)
        refs = (ProjectRef(organization_id=each.organization_id, project_id=each.project_id) for each in found)
        return ProjectsPage(
            projects=tuple(
                ref
                for ref in refs
                if message.project_id in (None, ref.project_id)
                and (message.after is None or ref.project_id > message.after)
            )
        )

    @activity.defn(name="check_usage")
    async def check_usage(self, project: ProjectRef) -> UsageChecked:
        """Check all rollups of a project; heartbeats say how far it has come. A second run is a check of its own."""

        def tell(progress: Progress) -> None:
            activity.heartbeat(
                f"{progress.done} of {progress.total} subscriptions, {progress.checked} rollups checked, "
                f"{progress.differences} differences"
            )

        scope = ProjectScope(project.organization_id, project.project_id)
        found = await usage_check_store.check(self._database, scope, started_by="schedule", tell=tell)
        return UsageChecked(projects=1, checked=found.checked, differences=found.differences)

    @activity.defn(name="reprocess_events")
    async def reprocess_events(self, message: Reprocess) -> Reprocessed:
        """Look at the next events of a window, one transaction for each part; answers every few parts how far it is."""
        scope = ProjectScope(message.organization_id, message.project_id)
        for _ in range(_PARTS):
            async with begin(self._database, scope, SYSTEM_ACTOR) as tx:
                found = await reprocessing_store.part(tx, message.reprocessing_id)
            activity.heartbeat(f"{found.seen} of {found.total} events looked at, {found.counted} counted")
            if found.done:
                break
            await asyncio.sleep(0)
        return found
