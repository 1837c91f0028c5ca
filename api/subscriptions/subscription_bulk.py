"""Commands to several subscriptions at once; one that is refused does not stop the others (B86)."""

import asyncio
from typing import Final

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.responses import reply
from api.http.routing import resource_router
from api.subscriptions.subscription_actions import Command, DeskDep, SubscriptionCommandContext, act
from api.subscriptions.subscription_shapes import Reference, TerminationAction
from models.problems import Problem

router = resource_router("subscriptions")

_AT_ONCE: Final = 8


class Bulk(BaseModel):
    """Subscriptions to act on, by any of their names."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"subscription_ids": ["sub_01jbq4m8d0e7s9t5v2x3y4z5a6"]}]}
    )

    subscription_ids: list[Reference] = Field(min_length=1, max_length=1000)


class BulkTerminate(Bulk):
    """Subscriptions to terminate, and what their end does."""

    on_termination_action: TerminationAction = "generate_invoice"


class BulkResult(BaseModel):
    """What became of one subscription."""

    subscription_id: str
    success: bool
    error: str | None = None


class BulkAnswer(BaseModel):
    """What became of each subscription, in the order asked."""

    results: list[BulkResult]
    succeeded_count: int
    failed_count: int


@router.post(
    "/subscriptions/bulk_pause",
    response_model=BulkAnswer,
    operation_id="bulk_pause_subscriptions",
    summary="Pause several subscriptions",
)
async def bulk_pause(body: Bulk, desk: DeskDep) -> Response:
    """Pause each subscription; one that cannot be paused does not stop the others."""
    return reply(await _bulk("pause", body, desk))


@router.post(
    "/subscriptions/bulk_resume",
    response_model=BulkAnswer,
    operation_id="bulk_resume_subscriptions",
    summary="Resume several subscriptions",
)
async def bulk_resume(body: Bulk, desk: DeskDep) -> Response:
    """Resume each subscription; one that cannot be resumed does not stop the others."""
    return reply(await _bulk("resume", body, desk))


@router.post(
    "/subscriptions/bulk_terminate",
    response_model=BulkAnswer,
    operation_id="bulk_terminate_subscriptions",
    summary="Terminate several subscriptions",
)
async def bulk_terminate(body: BulkTerminate, desk: DeskDep) -> Response:
    """Terminate each subscription now; one that has ended already does not stop the others."""
    action = body.on_termination_action
    return reply(await _bulk("terminate", body, desk, on_termination=action))


async def _bulk(
    command: Command, body: Bulk, desk: SubscriptionCommandContext, *, on_termination: str | None = None
) -> BulkAnswer:
    """Send the command to each subscription, a few at a time."""
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(ref: str) -> BulkResult:
        async with turn:
            try:
                await act(command, ref, desk, on_termination=on_termination)
            except Problem as problem:
                return BulkResult(subscription_id=ref, success=False, error=problem.detail)
            return BulkResult(subscription_id=ref, success=True)

    results = await asyncio.gather(*(one(ref) for ref in body.subscription_ids))
    succeeded = sum(result.success for result in results)
    return BulkAnswer(results=results, succeeded_count=succeeded, failed_count=len(results) - succeeded)
