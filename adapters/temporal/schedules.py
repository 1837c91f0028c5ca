"""The schedules of a deployment, made when a worker starts; several workers, and later starts, find them there."""

from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)

from models.identifiers import CHECK_USAGE_WORKFLOW, DEFAULT_TASK_QUEUE
from models.messages.upkeep import CheckUsage

CHECK_USAGE: Final = "verify/usage"
_NIGHTLY: Final = "17 3 * * *"


def check_usage_schedule(queue: str) -> str:
    """Name the schedule of the nightly check; deployments that share a namespace are told apart by their task queue."""
    return CHECK_USAGE if queue == DEFAULT_TASK_QUEUE else f"{CHECK_USAGE}/{queue}"


async def ensure_schedules(client: Client, queue: str) -> None:
    """Make the nightly check of all rollups, at 03:17 UTC, if it is not there; one that was changed or paused stays."""
    name = check_usage_schedule(queue)
    action = ScheduleActionStartWorkflow(CHECK_USAGE_WORKFLOW, CheckUsage(), id=name, task_queue=queue)
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP)
    schedule = Schedule(action=action, spec=ScheduleSpec(cron_expressions=[_NIGHTLY]), policy=policy)
    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        return
