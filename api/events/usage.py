"""UsageBox's way to send usage: batches of either of its two shapes."""

from fastapi import Request, Response

from api.events.events import batch_shape
from api.events.ingest_route import ingest_router, take
from api.events.usage_openapi import USAGE_BODY
from api.events.usage_responses import UsageResponse
from api.http.responses import reply

router = ingest_router("Usage")


@router.post(
    "/usage",
    operation_id="submit_usage",
    summary="Submit usage events",
    response_model=UsageResponse,
    openapi_extra=USAGE_BODY,
)
async def submit_usage(request: Request) -> Response:
    """Store a batch of usage, as a bare array or as `{"events": [...]}`.

    Ingest keys that do not exist yet are accepted; their events are listed as skipped and count after reprocessing.
    """
    received, outcome = await take(request, batch_shape(request, needs_value=True), "usage")
    return reply(UsageResponse.of(outcome, received, message="Usage batch accepted"))
