"""Test clocks: make frozen time, move it forward on the real engine, and end it (design section 6)."""

import asyncio
import time
from datetime import datetime
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from adapters.postgres.customers import clock_store
from adapters.postgres.customers.clock_store import Clock, Progress
from adapters.postgres.rows import AsyncConnection
from adapters.postgres.tenancy import organization_store
from api.http.answers import Answer
from api.http.deps import Caller
from api.http.moments import InstantField
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.subscriptions.subscription_actions import DeskDep, SubscriptionCommandContext
from models.identifiers import shown_id, subscription_workflow_id
from models.problems import Problem

router = resource_router("test clocks")

_LONGEST_WAIT_SECONDS: Final = 60
#: How often a waiting answer asks Postgres whether the clock has arrived: quickly at first, then less and less often.
_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.5
#: Subscriptions whose signals are delivered at once; the relay delivers the others.
_DELIVERED_AT_ONCE: Final = 20


class NewClock(BaseModel):
    """Where a clock stands."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "A year", "frozen_time": "2026-01-01T00:00:00Z"}]}
    )

    name: Annotated[str, StringConstraints(max_length=255)] | None = None
    frozen_time: InstantField


class Advance(BaseModel):
    """Where a clock goes, and how long the answer may take."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"frozen_time": "2026-02-01T00:00:00Z", "wait": 30}]}
    )

    frozen_time: InstantField
    wait: int = Field(
        default=0, ge=0, le=_LONGEST_WAIT_SECONDS, description="Seconds to hold the answer until the clock is ready."
    )


class ClockProgress(Answer):
    """How many live subscriptions the clock has, and how many are where it goes."""

    subscriptions: int
    reached: int


class ClockDocument(Answer):
    """A test clock; while it is advancing, `frozen_time` is the time it left and `target_time` where it goes."""

    id: str = Field(examples=["clock_01jbq4m8d0e7s9t5v2x3y4z5a6"])
    uuid: UUID
    name: str | None
    frozen_time: datetime
    target_time: datetime | None
    status: clock_store.ClockStatus
    failure: str | None
    progress: ClockProgress
    created_at: datetime

    @classmethod
    def of(cls, clock: Clock, progress: Progress) -> Self:
        """Show a clock."""
        where = ClockProgress.model_validate(progress)
        return cls.showing(clock, id=shown_id("test_clock", clock.id), uuid=clock.id, progress=where)


@router.post(
    "/test_clocks",
    status_code=201,
    response_model=ClockDocument,
    operation_id="create_test_clock",
    summary="Create a test clock",
)
async def create_test_clock(body: NewClock, desk: DeskDep) -> Response:
    """Make a clock that stands still; customers are attached to it when they are created (`test_clock_id`).

    In a live project it is 403 `test_clocks_forbidden`, unless the project's `allow_test_clocks` is set.
    """
    async with desk.caller.begin(desk.database) as tx:
        await _require_clocks(tx.connection, desk.caller)
        row = await clock_store.create(
            tx.connection, project_id=desk.caller.project_id, name=body.name, frozen_time=body.frozen_time
        )
        await tx.audit(
            resource_type="test_clock",
            resource_id=row.id,
            action="created",
            title="Test clock created",
            data={"frozen_time": row.frozen_time},
        )
    return created(ClockDocument.of(row, Progress(0, 0)))


async def _require_clocks(connection: AsyncConnection, caller: Caller) -> None:
    """Raise `Problem` 403 where simulated time might meet real customers: in a live project that does not allow it."""
    own = await organization_store.get_project(connection, caller.organization_id, str(caller.project_id))
    if own.environment != "test" and not own.settings.get("allow_test_clocks"):
        detail = "Test clocks belong to a test project. Use a key of one, or set this project's allow_test_clocks: "
        raise Problem(403, "test_clocks_forbidden", detail + f"PATCH /v1/projects/{own.id}.")


@router.get(
    "/test_clocks",
    response_model=list[ClockDocument],
    responses=LISTED,
    operation_id="list_test_clocks",
    summary="List test clocks",
)
async def list_test_clocks(request: Request, desk: DeskDep, page: PageDep) -> Response:
    """List the project's clocks, newest first."""
    async with desk.database.transaction(desk.caller.scope) as connection:
        rows, total = await clock_store.listed(connection, desk.caller.project_id, page)
        progress = await clock_store.progress(connection, [row.id for row in rows])
    documents = [ClockDocument.of(row, progress[row.id]) for row in rows]
    return listed(page, documents, total, request, last=rows[-1].id if rows else None)


@router.get(
    "/test_clocks/{clock_id}",
    response_model=ClockDocument,
    operation_id="get_test_clock",
    summary="Read a test clock",
)
async def get_test_clock(clock_id: str, desk: DeskDep) -> Response:
    """Read a clock and its progress."""
    return reply(await _read(clock_id, desk))


@router.delete(
    "/test_clocks/{clock_id}",
    status_code=204,
    response_class=Response,
    operation_id="delete_test_clock",
    summary="Delete a test clock with its customers",
)
async def delete_test_clock(clock_id: str, desk: DeskDep) -> Response:
    """Delete a clock: its customers and subscriptions end with it, without another invoice; invoices stay.

    409 `test_clock_advancing` while it moves.
    """
    async with desk.caller.begin(desk.database) as tx:
        row, called = await clock_store.delete(tx.connection, desk.caller.project_id, clock_id)
        await tx.audit(
            resource_type="test_clock",
            resource_id=row.id,
            action="deleted",
            title="Test clock deleted",
        )
    await _deliver(desk, called)
    return no_content()


@router.post(
    "/test_clocks/{clock_id}/advance",
    response_model=ClockDocument,
    operation_id="advance_test_clock",
    summary="Move a test clock forward",
)
async def advance_test_clock(clock_id: str, body: Advance, desk: DeskDep) -> Response:
    """Move a clock forward; its subscriptions do everything due on the way, in order, on the real engine.

    The answer says `advancing` until all have arrived; with `wait` it is held that long at most. 422 `clock_backwards`
    for an earlier time, `clock_too_far` for more than ten years at once, 409 `test_clock_advancing` while it moves.
    """
    async with desk.caller.begin(desk.database) as tx:
        before = await clock_store.find(tx.connection, desk.caller.project_id, clock_id)
        row, called = await clock_store.advance(tx.connection, desk.caller.project_id, clock_id, body.frozen_time)
        await tx.audit(
            resource_type="test_clock",
            resource_id=row.id,
            action="advanced",
            title="Test clock advanced",
            changes={"frozen_time": {"old": before.frozen_time, "new": body.frozen_time}},
        )
    await _deliver(desk, called)
    return reply(await _held(clock_id, desk, body.wait))


async def _deliver(desk: SubscriptionCommandContext, called: list[UUID]) -> None:
    """Signal the first subscriptions now; what this does not deliver, the relay does."""
    workflows = [subscription_workflow_id(desk.caller.project_id, found) for found in called[:_DELIVERED_AT_ONCE]]
    await asyncio.gather(*(desk.commands.deliver(workflow_id) for workflow_id in workflows))


async def _held(clock_id: str, desk: SubscriptionCommandContext, wait_seconds: int) -> ClockDocument:
    """Read the clock again and again, at growing pauses, until it stopped advancing or the wait is over."""
    deadline = time.monotonic() + wait_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        document = await _read(clock_id, desk)
        left = deadline - time.monotonic()
        if document.status != "advancing" or left <= 0:
            return document
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


async def _read(clock_id: str, desk: SubscriptionCommandContext) -> ClockDocument:
    async with desk.database.transaction(desk.caller.scope) as connection:
        row = await clock_store.find(connection, desk.caller.project_id, clock_id)
        progress = await clock_store.progress(connection, [row.id])
    return ClockDocument.of(row, progress[row.id])
