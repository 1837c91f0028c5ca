"""Group commit for ingestion: concurrent requests of a project share transactions; each is answered after its commit.

While a flush of a project is under way, what arrives waits and goes with the next one; so a lone request is stored at
once, and a busy project pays for one commit per dozens of requests. Large batches do not wait for each other: what is
worth a transaction of its own starts another flush. Waiting is bounded, in events and in bytes: then 429 with
Retry-After, before the body of the request is even read.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.events.ingest_events import Outcome, Submission
from adapters.postgres.events.ingest_store import ingest
from models.problems import Problem

_MOST_WAITING_EVENTS: Final = 50_000
#: Of bodies; what they become in memory is a few times as much.
_MOST_WAITING_BYTES: Final = 64_000_000
_MOST_EVENTS_OF_A_FLUSH: Final = 1000
_FLUSHES_OF_A_PROJECT: Final = 3
_FLUSHES: Final = 8
_RETRY_AFTER_SECONDS: Final = 1
#: So many waiting events are worth another flush beside those under way.
_WORTH_A_FLUSH: Final = 200
#: After a flush of several requests the clients that it answered get a moment to send their next one.
_LINGER_SECONDS: Final = 0.001


@dataclass
class _Lane:
    """The waiting requests of one project."""

    scope: ProjectScope
    waiting: deque[tuple[Submission, asyncio.Future[Outcome], int]] = field(default_factory=deque)
    events: int = 0
    flushes: int = 0


class IngestQueue:
    """Takes submissions and answers each when it is durable."""

    def __init__(
        self,
        database: Database,
        *,
        most_waiting_events: int = _MOST_WAITING_EVENTS,
        most_waiting_bytes: int = _MOST_WAITING_BYTES,
    ) -> None:
        self._database = database
        self._most_waiting_events = most_waiting_events
        self._most_waiting_bytes = most_waiting_bytes
        self._lanes: dict[ProjectScope, _Lane] = {}
        self._waiting_events = 0
        self._waiting_bytes = 0
        self._slots = asyncio.Semaphore(_FLUSHES)
        self._tasks: set[asyncio.Task[None]] = set()

    def require_room(self, *, events: int = 1, size: int = 1) -> None:
        """Raise ``Problem`` 429 ``ingestion_busy`` if so many events, in so many bytes, cannot wait here too."""
        full = self._waiting_events + events > self._most_waiting_events
        if full or self._waiting_bytes + size > self._most_waiting_bytes:
            raise Problem(
                429,
                "ingestion_busy",
                f"{self._waiting_events} events are waiting to be stored; send this request again.",
                headers={"Retry-After": str(_RETRY_AFTER_SECONDS)},
            )

    async def submit(self, scope: ProjectScope, submission: Submission, *, size: int = 0) -> Outcome:
        """Store a submission, whose body had ``size`` bytes; returns after the commit.

        Raises ``Problem`` 429 ``ingestion_busy`` when too much is waiting, 503 when Postgres cannot be reached.
        """
        self.require_room(events=len(submission.events), size=size)
        lane = self._lanes.get(scope)
        if lane is None:
            lane = self._lanes[scope] = _Lane(scope)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        lane.waiting.append((submission, answer, size))
        lane.events += len(submission.events)
        self._waiting_events += len(submission.events)
        self._waiting_bytes += size
        if not lane.flushes or (lane.flushes < _FLUSHES_OF_A_PROJECT and lane.events >= _WORTH_A_FLUSH):
            lane.flushes += 1
            task = asyncio.create_task(self._drain(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _drain(self, lane: _Lane) -> None:
        """Flush until nothing of the project waits."""
        try:
            while lane.waiting:
                async with self._slots:
                    batch = self._take(lane)
                    if batch:
                        await self._flush(lane.scope, batch)
                if len(batch) > 1:
                    await asyncio.sleep(_LINGER_SECONDS)
        finally:
            lane.flushes -= 1
            if not lane.flushes and not lane.waiting:
                self._lanes.pop(lane.scope, None)

    def _take(self, lane: _Lane) -> list[tuple[Submission, asyncio.Future[Outcome]]]:
        """Take what fits into one transaction, at least one request; requests whose client left are dropped."""
        batch: list[tuple[Submission, asyncio.Future[Outcome]]] = []
        size = 0
        while lane.waiting:
            length = len(lane.waiting[0][0].events)
            if batch and size + length > _MOST_EVENTS_OF_A_FLUSH:
                break
            submission, answer, body_size = lane.waiting.popleft()
            lane.events -= length
            self._waiting_events -= length
            self._waiting_bytes -= body_size
            if not answer.cancelled():
                batch.append((submission, answer))
                size += length
        return batch

    async def _flush(self, scope: ProjectScope, batch: Sequence[tuple[Submission, asyncio.Future[Outcome]]]) -> None:
        try:
            outcomes = await ingest(self._database, scope, [submission for submission, _ in batch])
        except Exception as error:  # every request of the flush must be answered, whatever went wrong
            await self._isolate(scope, batch, error)
            return
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            if not answer.done():
                answer.set_result(outcome)

    async def _isolate(self, scope: ProjectScope, batch: Sequence[Any], error: Exception) -> None:
        """Answer a failed flush: when Postgres refused one request's content, the others must not suffer."""
        if len(batch) > 1 and not isinstance(error, Problem):
            for entry in batch:
                await self._flush(scope, [entry])
            return
        for _, answer in batch:
            if not answer.done():
                answer.set_exception(error)
