"""Correcting events that were stored: amend one, void one, replace those of a window, and read what was changed."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Path, Query, Request, Response

from adapters.postgres import resolver
from adapters.postgres.events import backfill_store, correction_store, event_store
from adapters.postgres.events.backfill_store import Window
from adapters.postgres.events.correction_store import CorrectionFilter, Replacement
from adapters.postgres.rows import AsyncConnection
from api.events.correction_shapes import (
    AmendEvent,
    BackfillEvents,
    BackfillResponse,
    CorrectedEventResponse,
    CorrectionResponse,
    SkippedBackfilled,
    VoidEvent,
    read_backfilled,
)
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed_as
from api.http.responses import reply
from api.http.routing import resource_router
from billing.numbers import plain
from models.identifiers import parse_id, shown_id
from models.problems import invalid

router = resource_router("Events", area="corrections")

_LONGEST_WINDOW_DAYS: Final = 366
_EventId = Annotated[str, Path(max_length=255, description="The event's id, uuid or idempotency key.")]


@router.post(
    "/events/{event_id}/amend",
    operation_id="amend_event",
    summary="Replace an event's value or properties",
    response_model=CorrectedEventResponse,
)
async def amend_event(event_id: _EventId, body: AmendEvent, caller: CallerDep, database: DatabaseDep) -> Response:
    """Replace what an event says; its time, its key and whom it belongs to stay.

    The usage changes at once. Where the period is closed, the next invoice has an adjustment line. The same content
    again changes nothing; a voided event is 409 `event_voided`.
    """
    replacement = Replacement(value=None if body.value is None else plain(body.value), properties=body.properties)
    async with caller.begin(database) as tx:
        row = await correction_store.amend(tx, event_id, replacement=replacement, reason=body.reason)
    return reply(CorrectedEventResponse.of(row))


@router.post(
    "/events/{event_id}/void",
    operation_id="void_event",
    summary="Take an event out of the usage",
    response_model=CorrectedEventResponse,
)
async def void_event(
    event_id: _EventId, caller: CallerDep, database: DatabaseDep, body: VoidEvent | None = None
) -> Response:
    """Let an event no longer count; it stays readable and its key stays taken. Twice is 409 `event_voided`."""
    reason = None if body is None else body.reason
    async with caller.begin(database) as tx:
        row = await correction_store.void(tx, event_id, reason=reason)
    return reply(CorrectedEventResponse.of(row))


@router.post(
    "/events/backfill",
    operation_id="backfill_events",
    summary="Replace all events of a metric in a window",
    response_model=BackfillResponse,
)
async def backfill_events(body: BackfillEvents, caller: CallerDep, database: DatabaseDep) -> Response:
    """Replace the events of a metric in a window, all or nothing, for everybody or one customer or subscription.

    An event that is sent under the key of a stored one in the window amends it; the others there are voided. Closed
    periods get adjustment lines on the next invoices. At most 10,000 events replace at most 100,000.
    """
    caller.require("DEVELOPER")
    if not body.from_timestamp < body.to_timestamp:
        raise invalid("to_timestamp", "must be after from_timestamp")
    if (body.to_timestamp - body.from_timestamp).days > _LONGEST_WINDOW_DAYS:
        raise invalid("to_timestamp", f"must be at most {_LONGEST_WINDOW_DAYS} days after from_timestamp")
    sent = read_backfilled(body)
    async with caller.begin(database) as tx:
        window = await _window(tx.connection, caller, body)
        done = await backfill_store.backfill(tx, window, sent=sent, reason=body.reason)
    return reply(
        BackfillResponse.showing(
            done,
            id=shown_id("backfill", done.id),
            skipped=[SkippedBackfilled(index=place, reason=reason) for place, reason in sorted(done.skipped.items())],
            subscription_ids=[shown_id("subscription", own) for own in sorted(done.subscription_ids)],
        )
    )


async def _window(connection: AsyncConnection, caller: Caller, body: BackfillEvents) -> Window:
    project = caller.project_id

    async def found(kind: resolver.Kind[Any], ref: str | None) -> UUID | None:
        return None if ref is None else (await resolver.required(connection, project, kind, ref)).id

    return Window(
        metric=await resolver.required(connection, project, resolver.METRIC, body.metric_key),
        start=body.from_timestamp,
        end=body.to_timestamp,
        customer_id=await found(resolver.CUSTOMER, body.customer_id),
        subscription_id=await found(resolver.SUBSCRIPTION, body.subscription_id),
    )


@router.get(
    "/events/corrections",
    operation_id="list_event_corrections",
    summary="List what was corrected",
    response_model=list[CorrectionResponse],
    responses=LISTED,
)
async def list_event_corrections(
    *,
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    event_id: Annotated[str | None, Query(max_length=255, description="Its id, uuid or idempotency key.")] = None,
    subscription_id: Annotated[str | None, Query(max_length=255)] = None,
    backfill_id: Annotated[str | None, Query(max_length=255)] = None,
    pending: Annotated[bool | None, Query(description="Only those that a close has yet to look at, or not.")] = None,
) -> Response:
    """Return the corrections of events, the newest first: before and after, who, why, and on which invoice they are."""
    async with database.transaction(caller.scope) as connection:
        subscription = None
        if subscription_id is not None:
            wanted_row = await resolver.required(connection, caller.project_id, resolver.SUBSCRIPTION, subscription_id)
            subscription = wanted_row.id
        wanted = CorrectionFilter(
            event_id=await _event(connection, caller, event_id),
            subscription_id=subscription,
            backfill_id=_own("backfill_id", backfill_id),
            pending=pending,
        )
        rows, total = await correction_store.listed(connection, caller.project_id, wanted, page)
    return listed_as(CorrectionResponse.of, page, rows, total, request)


async def _event(connection: AsyncConnection, caller: Caller, ref: str | None) -> UUID | None:
    """Find the event that is asked for; an id may be of one whose month is detached."""
    own = None if ref is None else parse_id(ref)
    if ref is None or own is not None:
        return own
    return (await event_store.find(connection, caller.project_id, ref)).id


def _own(field: str, ref: str | None) -> UUID | None:
    if ref is None:
        return None
    found = parse_id(ref)
    if found is None:
        raise invalid(field, "is not an id")
    return found
