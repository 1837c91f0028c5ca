"""The edge of activities: their log lines say for whom they run, they show that they live, and domain errors leave as
application errors, once for all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from adapters.postgres.failures import is_unstorable
from adapters.temporal.activity_metrics import count_answer, count_failure
from models.problems import Problem

_SERVER_ERROR = 500
#: Fields of messages that say whose work it is, and their names in log lines.
_OWNERS: Final = {"project_id": "project", "subscription_id": "subscription", "invoice_id": "invoice"}


class ActivityEdge(Interceptor):
    """Lets a workflow see a `Problem` by its code; what the caller did wrong is not retried, what is away is.

    Whatever the driver calls it, a value that no column holds is a `DataError`, for the policies know errors by name.
    An activity with a heartbeat timeout has its pulse kept as long as this process lives and the activity runs.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap every activity of the worker."""
        return _Edge(next)


class _Edge(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the activity, its log lines saying for whom, and translate its refusal."""
        try:
            with structlog.contextvars.bound_contextvars(**_surroundings(input.args)):
                answer = await self._run(input)
            count_answer(activity.info().activity_type, answer)
            return answer
        except Problem as problem:
            raise ApplicationError(
                problem.detail, type=problem.code, non_retryable=problem.status < _SERVER_ERROR
            ) from problem
        except Exception as error:
            if is_unstorable(error):
                raise ApplicationError(str(error), type="DataError") from error
            raise

    async def _run(self, input: ExecuteActivityInput) -> Any:
        try:
            async with _pulse(activity.info().heartbeat_timeout):
                return await super().execute_activity(input)
        except Exception:
            count_failure(activity.info().activity_type)
            raise


def _surroundings(messages: Sequence[Any]) -> dict[str, Any]:
    """Return what the log lines of an activity name: its workflow and run, and of its message whose work it does."""
    info = activity.info()
    known: dict[str, Any] = {"workflow": info.workflow_id, "run": info.workflow_run_id, "activity": info.activity_type}
    message = messages[0] if messages else None
    owner = getattr(message, "subscription", message)
    for field, shown in _OWNERS.items():
        value = getattr(message, field, None) or getattr(owner, field, None)
        if value is not None:
            known[shown] = str(value)
    return known | ({"attempt": info.attempt} if info.attempt > 1 else {})


@contextlib.asynccontextmanager
async def _pulse(limit: timedelta | None) -> AsyncIterator[None]:
    """Send heartbeats three times within the limit while the block runs; without a limit none."""
    if limit is None:
        yield
        return
    beating = asyncio.create_task(_beat(limit.total_seconds() / 3))
    try:
        yield
    finally:
        beating.cancel()


async def _beat(every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        activity.heartbeat()
