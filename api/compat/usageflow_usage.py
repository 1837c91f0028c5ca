"""UsageFlow's events and aggregated usage (seed 003)."""

from typing import Final

from fastapi import Request, Response
from pydantic import BaseModel, Field

from adapters.postgres.ingest_events import TRACK
from api.ingest_route import ingest_router, take
from api.responses import reply
from api.routes.events import already_other
from api.shapes.usage_answers import accepted_document
from api.shapes.usage_events import Shape
from api.shapes.usage_openapi import TRACK_BODY
from models.identifiers import shown_id

tracking = ingest_router("UsageFlow")

_SINGLE: Final = Shape(most=1, single=True, needs_value=True)


class TrackResponse(BaseModel):
    """The event is stored; the same `Idempotency-Key` gives the same answer."""

    id: str = Field(examples=["evt_01hx8km4n5p6q7r8s9t0u1v2w3"])
    status: str = Field(examples=["accepted"])
    idempotencyKey: str = Field(examples=["unique-event-id"])
    duplicate: bool
    skipReason: str | None


@tracking.post(
    "/track",
    operation_id="usageflow_track",
    summary="Record one usage event",
    status_code=202,
    response_model=TrackResponse,
    openapi_extra=TRACK_BODY,
)
async def track(request: Request) -> Response:
    """Store one event, identified by the header `Idempotency-Key`; an unknown customer is created.

    It counts on the customer's own subscription that charges the metric, else on the organization's.
    """
    _, outcome = await take(request, _SINGLE, TRACK, header_key=True)
    if outcome.conflicts:
        raise already_other(outcome.keys[0], shown_id("event", outcome.ids[0]))
    answer = accepted_document(outcome)
    return reply(
        {
            "id": answer["id"],
            "status": answer["status"],
            "idempotencyKey": answer["idempotency_key"],
            "duplicate": answer["duplicate"],
            "skipReason": answer["skip_reason"],
        },
        202,
    )
