"""Telling a test clock that one of its subscriptions has arrived: one transaction, a local activity."""

from temporalio import activity

from activities.lifecycle import scope_of
from adapters.postgres.customers import clock_store
from adapters.postgres.database import Database
from models.messages.lifecycle import ClockReported, ReportClock


class ClockActivities:
    """Keeps the progress of test clocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="report_clock")
    async def report_clock(self, report: ReportClock) -> ClockReported:
        """Note how far the subscription has lived; the last one to arrive makes the clock ready. Safe to run again."""
        ref = report.subscription
        async with self._database.transaction(scope_of(ref)) as connection:
            ready = await clock_store.reached(
                connection, ref.subscription_id, report.reached_at, finished=report.finished
            )
            return ClockReported(ready=ready)
