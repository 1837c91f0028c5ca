"""The edge of activities: domain errors leave as application errors with their own type, once for all activities."""

from typing import Any

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from models.problems import Problem

_SERVER_ERROR = 500


class ProblemInterceptor(Interceptor):
    """Lets a workflow see a `Problem` by its code; what the caller did wrong is not retried, what is away is."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap every activity of the worker."""
        return _Edge(next)


class _Edge(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the activity and translate its refusal."""
        try:
            return await super().execute_activity(input)
        except Problem as problem:
            raise ApplicationError(
                problem.detail, type=problem.code, non_retryable=problem.status < _SERVER_ERROR
            ) from problem
