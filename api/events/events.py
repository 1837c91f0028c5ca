"""Events: taking them in, one or many at a time, and looking at them (ABAXUS, BoxBilling)."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from fastapi import Path, Query, Request, Response
from pydantic import Field

from adapters.postgres.events import event_store
from adapters.postgres.events.event_store import EventFilter
from api.events.cloud_events import is_batch
from api.events.ingest_route import ingest_router, take
from api.events.received import Shape
from api.events.usage_openapi import BATCH_BODY, SINGLE_BODY
from api.events.usage_responses import (
    AcceptedResponse,
    BatchResponse,
    BoxBillingBatchResponse,
    EventResponse,
)
from api.http.answers import Answer
from api.http.deps import CallerDep, DatabaseDep
from api.http.moments import InstantField
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import reply
from api.http.routing import resource_router
from models.identifiers import shown_id
from models.problems import Problem, conflict, invalid
from settings import settings

router = resource_router("Events", area="usage", idempotent=False)
ingesting = ingest_router("Events")

_SINGLE: Final = Shape(most=1, single=True)
_YES_OR_NO: Final = {"true": True, "1": True, "false": False, "0": False, "": False}
_WIDEST_VOLUME: Final = timedelta(days=92)
_DEFAULT_VOLUME: Final = timedelta(days=1)


def batch_shape(request: Request, *, needs_value: bool = False) -> Shape:
    """Give the shape of a batch of events, as long as the settings allow (B63); `partial=true` takes the good alone."""
    partial = _YES_OR_NO.get(request.query_params.get("partial", "").lower())
    if partial is None:
        raise invalid("partial", "is true or false")
    return Shape(most=settings().max_batch_events, needs_value=needs_value, partial=partial)


@ingesting.post(
    "/events",
    operation_id="ingest_event",
    summary="Ingest event",
    status_code=202,
    response_model=AcceptedResponse,
    responses={201: {"model": EventResponse, "description": "BoxBilling's answer to a BoxBilling body."}},
    openapi_extra=SINGLE_BODY,
)
async def ingest_event(request: Request) -> Response:
    """Store one event; it is durable, and counted, when this answers.

    A repeat of the same key counts once. The same key with other content: 409 `idempotency_conflict`, and the first
    event stays; a BoxBilling body gets the stored event instead. Unknown references never refuse an event: it is kept
    as skipped, with its reason, and can be reprocessed. CloudEvents are taken in structured, binary and batched form.
    """
    shape = batch_shape(request) if is_batch(request) else _SINGLE
    received, outcome = await take(request, shape, "events")
    if received.batch:
        return reply(BatchResponse.of(outcome, received), 202)
    if received.boxbilling:
        return reply(EventResponse.fresh(received.events[0], outcome, 0), 201)
    if outcome.already and outcome.conflicts:
        raise already_other(outcome.key_at(0), shown_id("event", outcome.id_at(0)))
    return reply(AcceptedResponse.of(outcome), 202)


def already_other(key: str, event_id: str) -> Problem:
    """Say that a key belongs to an event with other content, which stays (C3)."""
    detail = f"The key {key[:80]!r} belongs to an earlier event with other content, which stays as it is."
    return conflict("idempotency_conflict", detail, event_id=event_id)


@ingesting.post(
    "/events/batch",
    operation_id="ingest_event_batch",
    summary="Ingest event batch",
    status_code=202,
    response_model=BatchResponse,
    responses={201: {"model": BoxBillingBatchResponse, "description": "BoxBilling's answer to BoxBilling bodies."}},
    openapi_extra=BATCH_BODY,
)
async def ingest_event_batch(request: Request) -> Response:
    """Store up to 1,000 events, all or none: one malformed event refuses the batch and is named in `errors`.

    With `partial=true` the good ones are stored and the others listed in `rejected`.
    """
    received, outcome = await take(request, batch_shape(request), "events")
    if not received.boxbilling:
        return reply(BatchResponse.of(outcome, received), 202)
    return reply(BoxBillingBatchResponse.of(outcome, received), 201)


_Text = Annotated[str | None, Query(max_length=255)]
_Time = Annotated[InstantField | None, Query()]


@router.get(
    "/events",
    operation_id="list_events",
    summary="List events",
    response_model=list[EventResponse],
    responses=LISTED,
)
async def list_events(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    external_customer_id: _Text = None,
    customer_id: _Text = None,
    subscription_id: _Text = None,
    code: _Text = None,
    metric_key: _Text = None,
    status: Annotated[Literal["counted", "skipped", "voided"] | None, Query()] = None,
    idempotency_key: Annotated[str | None, Query(max_length=600, description="The event with this key.")] = None,
    transaction_id: Annotated[str | None, Query(max_length=600, description="A synonym of it.")] = None,
    from_timestamp: _Time = None,
    to_timestamp: _Time = None,
) -> Response:
    """Return the events of the project, the last received first; `to_timestamp` is exclusive.

    A key that does not fit into a path, such as one with a slash, finds its event by `idempotency_key`.
    """
    wanted = EventFilter(
        customer=external_customer_id or customer_id,
        metric=code or metric_key,
        subscription=subscription_id,
        status=status,
        key=idempotency_key or transaction_id,
        start=from_timestamp,
        end=to_timestamp,
    )
    async with database.transaction(caller.scope) as connection:
        rows, total = await event_store.listed(connection, caller.project_id, wanted, page)
    last = rows[-1].id if rows else None
    return listed(page, [EventResponse.of(row) for row in rows], total, request, last=last)


class EventVolumePoint(Answer):
    """The events of one UTC hour."""

    timestamp: datetime
    count: int = Field(examples=[5])


class EventVolumeResponse(Answer):
    """Events per hour, oldest first; hours without events are absent."""

    data_points: list[EventVolumePoint]


@router.get(
    "/events/volume",
    operation_id="get_event_volume",
    summary="Get event volume (events per hour)",
    response_model=EventVolumeResponse,
)
async def get_event_volume(
    *, caller: CallerDep, database: DatabaseDep, from_timestamp: _Time = None, to_timestamp: _Time = None
) -> Response:
    """Count events by the hour of their own time; by default the last 24 hours, at most 92 days."""
    end = to_timestamp or datetime.now(UTC) + timedelta(hours=1)
    start = from_timestamp or end - _DEFAULT_VOLUME
    if not timedelta(0) <= end - start <= _WIDEST_VOLUME:
        raise invalid("from_timestamp", "must lie before to_timestamp, by at most 92 days")
    async with database.transaction(caller.scope) as connection:
        points = await event_store.volume(connection, caller.project_id, start, end)
    return reply(EventVolumeResponse.showing(None, data_points=[EventVolumePoint.showing(each) for each in points]))


_EventId = Annotated[str, Path(max_length=255, description="The event's id, uuid or idempotency key.")]


@router.get("/events/{event_id}", operation_id="get_event", summary="Get event", response_model=EventResponse)
async def get_event(event_id: _EventId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Return one event, with what it resolved to and why it does not count, if so."""
    async with database.transaction(caller.scope) as connection:
        row = await event_store.find(connection, caller.project_id, event_id)
    return reply(EventResponse.of(row))


class EventReprocessResponse(EventResponse):
    """The event after reprocessing, BoxBilling's fields beside it."""

    event_id: str
    subscriptions_checked: int


@router.post(
    "/events/{event_id}/reprocess",
    operation_id="reprocess_event",
    summary="Reprocess an event",
    response_model=EventReprocessResponse,
)
async def reprocess_event(event_id: _EventId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Count a skipped event whose references exist by now. A counted one stays counted, once."""
    async with caller.begin(database) as tx:
        done = await event_store.reprocess(tx, event_id)
    event_id = shown_id("event", done.event.id)
    checked = done.subscriptions_checked
    return reply(EventReprocessResponse.of(done.event, event_id=event_id, subscriptions_checked=checked))
