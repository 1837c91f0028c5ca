"""Workflows that look after usage: the nightly check of all rollups, and counting the skipped events of a window."""

from typing import Final

from temporalio import workflow

from activities import policies
from activities.upkeep import MaintenanceActivities
from models.identifiers import CHECK_USAGE_WORKFLOW, REPROCESS_WORKFLOW
from models.messages.upkeep import CheckUsage, Reprocess, Reprocessed, UsageChecked

_MOST_PROJECTS: Final = 500
_MOST_PARTS: Final = 500


@workflow.defn(name=CHECK_USAGE_WORKFLOW)
class CheckUsageWorkflow:
    """Checks one project after the other; what differs is in Postgres, this says how much."""

    @workflow.init
    def __init__(self, start: CheckUsage) -> None:
        self._found = start.found or UsageChecked()

    @workflow.run
    async def run(self, start: CheckUsage) -> UsageChecked:
        """Check the projects in the order of their ids, each in an activity of its own."""
        page = await workflow.execute_activity_method(
            MaintenanceActivities.list_projects, start, summary="which projects there are", **policies.MAINTENANCE
        )
        for place, project in enumerate(page.projects):
            if place == _MOST_PROJECTS:
                after = page.projects[place - 1].project_id
                workflow.continue_as_new(start.model_copy(update={"after": after, "found": self._found}))
            one = await workflow.execute_activity_method(
                MaintenanceActivities.check_usage,
                project,
                summary=f"project {project.project_id}",
                **policies.MAINTENANCE,
            )
            self._found = UsageChecked(
                projects=self._found.projects + 1,
                checked=self._found.checked + one.checked,
                differences=self._found.differences + one.differences,
            )
            self._show_state(of=len(page.projects))
        return self._found

    def _show_state(self, *, of: int) -> None:
        found = self._found
        workflow.set_current_details(
            f"{found.projects} projects done ({of} in this run): {found.checked} rollups checked, "
            f"{found.differences} differences"
        )

    @workflow.query
    def progress(self) -> UsageChecked:
        """Return what was checked so far."""
        return self._found


@workflow.defn(name=REPROCESS_WORKFLOW)
class ReprocessEventsWorkflow:
    """Counts the skipped events of a window, some hundred at a time."""

    @workflow.init
    def __init__(self, start: Reprocess) -> None:
        del start
        self._found = Reprocessed()

    @workflow.run
    async def run(self, start: Reprocess) -> Reprocessed:
        """Go on until the window holds no skipped event that was not looked at."""
        parts = 0
        while not self._found.done:
            if parts == _MOST_PARTS:
                workflow.continue_as_new(start)
            self._found = await workflow.execute_activity_method(
                MaintenanceActivities.reprocess_events, start, summary=self._shown(), **policies.MAINTENANCE
            )
            workflow.set_current_details(self._shown())
            parts += 1
        return self._found

    def _shown(self) -> str:
        found = self._found
        return f"{found.seen} of {found.total} skipped events looked at, {found.counted} counted"

    @workflow.query
    def progress(self) -> Reprocessed:
        """Return how far it has come."""
        return self._found
