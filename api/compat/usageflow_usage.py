"""UsageFlow's events and aggregated usage (seed 003)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Final

from fastapi import Query, Request, Response
from pydantic import Field

from adapters.postgres.events.ingest_events import TRACK
from adapters.postgres.reports import usage_report_store
from api.events.events import already_other
from api.events.ingest_route import ingest_router, take
from api.events.received import Shape
from api.events.usage_openapi import TRACK_BODY
from api.events.usage_responses import AcceptedResponse
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep
from api.http.moments import InstantField
from api.http.pagination import LISTED
from api.http.responses import reply
from api.http.routing import resource_router
from billing.period import inclusive_end
from models.identifiers import shown_id
from models.problems import invalid

tracking = ingest_router("UsageFlow")
router = resource_router("UsageFlow", area="")

_MOST_RECORDS: Final = 1000
_MOST_SKIPPED: Final = 10_000
_WINDOW: Final = timedelta(days=366)
_WIDEST: Final = timedelta(days=3660)

_SINGLE: Final = Shape(most=1, single=True, needs_value=True, creates_customers=True)


class TrackResponse(Answer):
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
    _, outcome = await take(request, _SINGLE, TRACK)
    if outcome.conflicts:
        raise already_other(outcome.key_at(0), shown_id("event", outcome.id_at(0)))
    accepted = AcceptedResponse.of(outcome)
    key, reason = accepted.idempotency_key, accepted.skip_reason
    return reply(TrackResponse.showing(accepted, idempotencyKey=key, skipReason=reason), 202)


class AggregatedUsage(Answer):
    """The total of a metric in one billing period; raw events are listed by /v1/events."""

    metric: str = Field(examples=["API_CALL"])
    total: Decimal = Field(examples=[12000])
    events: int = Field(examples=[12])
    periodStart: datetime
    periodEnd: datetime = Field(description="The last second of the period.")
    customerId: str | None = Field(description="Null for the usage that the organization itself pays for.")
    subscriptionId: str


@router.get(
    "/usage",
    operation_id="usageflow_list_usage",
    summary="List aggregated usage",
    response_model=list[AggregatedUsage],
    responses=LISTED,
)
async def list_usage(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    metric: Annotated[str | None, Query(max_length=255, description="By key, id or ingest key.")] = None,
    customer: Annotated[str | None, Query(alias="customerId", max_length=255)] = None,
    start: Annotated[InstantField | None, Query(alias="periodStart")] = None,
    end: Annotated[InstantField | None, Query(alias="periodEnd")] = None,
    skip: Annotated[int, Query(ge=0, le=_MOST_SKIPPED, description="Records to leave out.")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_RECORDS, description="Most records to give.")] = _MOST_RECORDS,
) -> Response:
    """Return one record for each metric, subscription and billing period with usage: the current one, or a window's.

    In the order of metric and subscription. `X-Total-Count` comes with the last part, `Link` with every other.
    """
    window = None
    if start is not None or end is not None:
        upto = end or datetime.now(UTC)
        window = (start or upto - _WINDOW, upto)
        if not timedelta(0) < window[1] - window[0] <= _WIDEST:
            raise invalid("periodStart", "must lie before periodEnd, by at most ten years")
    async with database.transaction(caller.scope) as connection:
        found = await usage_report_store.aggregates(
            connection, caller.project_id, metric=metric, customer=customer, window=window, most=skip + limit + 1
        )
    following = request.url.include_query_params(skip=skip + limit, limit=limit)
    more = {"Link": f'<{following.path}?{following.query}>; rel="next"'}
    return reply(
        [
            AggregatedUsage.showing(
                each,
                metric=each.metric_key,
                periodStart=each.period.start,
                periodEnd=inclusive_end(each.period.end),
                customerId=each.customer,
                subscriptionId=shown_id("subscription", each.subscription_id),
            )
            for each in found[skip : skip + limit]
        ],
        headers=more if len(found) > skip + limit else {"X-Total-Count": str(len(found))},
    )
