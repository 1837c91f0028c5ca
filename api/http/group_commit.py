"""Group commit: concurrent requests of one project share a transaction, and each is answered after its commit.

While a transaction of a project is under way, what arrives waits and goes with the next one. A group waits a moment
for company before it starts: the answers of the group before it bring the next requests of their clients, and without
that moment the first of those would go alone and keep all others waiting, again and again. Waiting is bounded: then
429 with Retry-After.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from adapters.postgres.database import ProjectScope
from models.problems import Problem

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

_MOST_WAITING: Final = 5000
_MOST_TOGETHER: Final = 200
_GATHERING_SECONDS: Final = 0.001


class GroupCommit(Generic[Ask, Answer]):
    """Hands the requests of each project to ``work`` in groups; it gives one answer for each, in their order."""

    def __init__(self, work: Callable[[ProjectScope, Sequence[Ask]], Awaitable[Sequence[Answer]]]) -> None:
        self._work = work
        self._lanes: dict[ProjectScope, deque[tuple[Ask, asyncio.Future[Answer]]]] = {}
        self._waiting = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def submit(self, scope: ProjectScope, ask: Ask) -> Answer:
        """Have a request done with its like. Raises ``Problem`` 429 ``too_many_waiting``, and what ``work`` raises."""
        if self._waiting >= _MOST_WAITING:
            detail = f"{self._waiting} requests are waiting; send this one again."
            raise Problem(429, "too_many_waiting", detail, headers={"Retry-After": "1"})
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        lane = self._lanes.get(scope)
        if lane is not None:
            lane.append((ask, answer))
        else:
            self._lanes[scope] = deque([(ask, answer)])
            task = asyncio.create_task(self._drain(scope))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _drain(self, scope: ProjectScope) -> None:
        """Work until nothing of the project waits."""
        lane = self._lanes[scope]
        try:
            while lane:
                await asyncio.sleep(_GATHERING_SECONDS)
                taken = [lane.popleft() for _ in range(min(len(lane), _MOST_TOGETHER))]
                self._waiting -= len(taken)
                await self._do(scope, [entry for entry in taken if not entry[1].cancelled()])
        finally:
            del self._lanes[scope]

    async def _do(self, scope: ProjectScope, group: Sequence[tuple[Ask, asyncio.Future[Answer]]]) -> None:
        if not group:
            return
        try:
            answers = await self._work(scope, [ask for ask, _ in group])
        except Exception as error:  # every request must be answered, whatever went wrong
            await self._apart(scope, group, error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _apart(
        self, scope: ProjectScope, group: Sequence[tuple[Ask, asyncio.Future[Answer]]], error: Exception
    ) -> None:
        """Answer a failed group: when one request's content was the cause, the others must not suffer."""
        if len(group) > 1 and not isinstance(error, Problem):
            for entry in group:
                await self._do(scope, [entry])
            return
        for _, future in group:
            if not future.done():
                future.set_exception(error)
