"""Looking after usage: counting the skipped events of a window, and the checks of rollups against events."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from adapters.postgres.events import reprocessing_store
from adapters.postgres.events.records import Reprocessing
from adapters.postgres.events.reprocessing_store import Window
from adapters.postgres.usage import usage_check_store
from adapters.postgres.usage.records import UsageCheck
from api.http.answers import Answer
from api.http.deps import CallerDep, CommandsDep, DatabaseDep
from api.http.fields import Ref
from api.http.moments import InstantField
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import reply
from api.http.routing import resource_router
from models.identifiers import shown_id
from models.problems import invalid

router = resource_router("Events", area="corrections")

_Id = Annotated[str, Path(max_length=255)]


class ReprocessEvents(BaseModel):
    """Which skipped events are to be counted: by event time in ``[from_timestamp, to_timestamp)``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "from_timestamp": "2026-04-01T00:00:00Z",
                    "to_timestamp": "2026-05-01T00:00:00Z",
                    "metric_key": "api_calls",
                }
            ]
        },
    )

    from_timestamp: InstantField
    to_timestamp: InstantField
    metric_key: Ref | None = Field(default=None, description="As the events named it.")
    customer_id: Ref | None = None


class ReprocessingResponse(Answer):
    """A run over the skipped events of a window, and how far it has come."""

    id: str = Field(examples=["rep_01hx8km4n5p6q7r8s9t0u1v2w3"])
    status: str = Field(examples=["running", "done"])
    from_timestamp: datetime
    to_timestamp: datetime
    metric_key: str | None
    customer_id: str | None
    total: int = Field(description="Skipped events in the window when it began.")
    seen: int
    counted: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, run: Reprocessing) -> Self:
        """Return the answer for a run."""
        return cls.showing(
            run,
            id=shown_id("reprocessing", run.id),
            from_timestamp=run.window_start,
            to_timestamp=run.window_end,
            metric_key=run.metric_ref,
            customer_id=run.customer_ref,
        )


@router.post(
    "/events/reprocess",
    status_code=202,
    operation_id="reprocess_events",
    summary="Reprocess the skipped events of a window",
    response_model=ReprocessingResponse,
)
async def reprocess_events(
    body: ReprocessEvents, caller: CallerDep, database: DatabaseDep, commands: CommandsDep
) -> Response:
    """Count skipped events whose references exist by now, in the background; counted ones stay counted once."""
    caller.require("DEVELOPER")
    if not body.from_timestamp < body.to_timestamp:
        raise invalid("to_timestamp", "must be after from_timestamp")
    window = Window(body.from_timestamp, body.to_timestamp, body.metric_key, body.customer_id)
    async with caller.begin(database) as tx:
        row, workflow_id = await reprocessing_store.begin(tx, window)
    await commands.deliver(workflow_id)
    return reply(ReprocessingResponse.of(row), 202)


@router.get(
    "/events/reprocess/{reprocessing_id}",
    operation_id="get_event_reprocessing",
    summary="Read how far a reprocessing has come",
    response_model=ReprocessingResponse,
)
async def get_event_reprocessing(reprocessing_id: _Id, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return a run with its progress."""
    async with database.transaction(caller.scope) as connection:
        return reply(
            ReprocessingResponse.of(await reprocessing_store.find(connection, caller.project_id, reprocessing_id))
        )


class UsageDifference(Answer):
    """A day of a metric whose rollup, or whose different values as they are kept, differ from its events."""

    kind: str = Field(
        "rollup",
        examples=["rollup", "unique_values"],
        description="`unique_values`: the counts are of different values, and there are no sums.",
    )
    subscription_id: str
    metric_id: str
    day: str = Field(examples=["2026-04-03"])
    bucket: str = Field("", description="Of a metric with filters, which values: JSON of properties and their values.")
    events_sum: str | None
    rollup_sum: str | None
    events_count: int
    rollup_count: int


class UsageCheckResponse(Answer):
    """A check of all rollups of the project against its events; nothing is mended by it."""

    id: str = Field(examples=["chk_01hx8km4n5p6q7r8s9t0u1v2w3"])
    status: str = Field(examples=["clean", "different", "running"])
    checked: int = Field(description="Rollups: a metric of a subscription on a UTC day.")
    differences: int
    details: list[UsageDifference] = Field(description="The first 100 differences.")
    started_by: str = Field(examples=["schedule", "command"])
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, check: UsageCheck) -> Self:
        """Return the answer for a check."""
        return cls.showing(check, id=shown_id("usage_check", check.id))


@router.get(
    "/usage/checks",
    operation_id="list_usage_checks",
    summary="List checks of the rollups",
    response_model=list[UsageCheckResponse],
    responses=LISTED,
)
async def list_usage_checks(request: Request, caller: CallerDep, database: DatabaseDep, page: PageDep) -> Response:
    """Return the nightly checks and those of `durabill verify usage`, the newest first."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await usage_check_store.listed(connection, caller.project_id, page)
    return listed(page, [UsageCheckResponse.of(row) for row in rows], total, request)


@router.get(
    "/usage/checks/{check_id}",
    operation_id="get_usage_check",
    summary="Read a check of the rollups",
    response_model=UsageCheckResponse,
)
async def get_usage_check(check_id: _Id, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return a check with the differences it found."""
    async with database.transaction(caller.scope) as connection:
        return reply(UsageCheckResponse.of(await usage_check_store.find(connection, caller.project_id, check_id)))
