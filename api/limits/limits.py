"""Hard limits: caps on a subscription's usage or spend, and quantities reserved under them (docs/limits.md)."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request, Response

from adapters.postgres.alerts import alert_store
from adapters.postgres.database import Connection
from adapters.postgres.limits import limit_store, reservation_commit_store
from adapters.postgres.limits.limit_usage import Limit
from adapters.postgres.limits.reservation_commit_store import ReservationCommit
from adapters.postgres.limits.reservation_store import ReservationRequest
from adapters.postgres.resolver import METRIC, SUBSCRIPTION, Found, required
from api.http.deps import Caller, CallerDep, DatabaseDep
from api.http.pagination import LISTED, PageDep, listed
from api.http.responses import created, no_content, reply
from api.http.routing import resource_router
from api.limits.limit_shapes import (
    CommitBody,
    LimitBody,
    LimitChange,
    LimitDocument,
    ReservationBody,
    ReservationDocument,
    ReservedDocument,
    SettledDocument,
)
from api.limits.reservations import committing, reserving, settled_answer
from models.problems import invalid

router = resource_router("Limits")

SubscriptionId = Annotated[str, Path(max_length=255)]
LimitId = Annotated[str, Path(max_length=100)]
ReservationId = Annotated[str, Path(max_length=100)]
_REACHED: dict[int | str, dict[str, Any]] = {
    402: {"description": "The cap on spend is reached; `limit` holds the cap and what is used, reserved, left."}
}


async def _shown(connection: Connection, limit: Limit) -> LimitDocument:
    limit, usage = (await limit_store.limit_statuses(connection, [limit]))[limit.id]
    return LimitDocument.of(limit, usage.standing(limit), usage)


def _cap(limit: Limit, body: LimitChange) -> Decimal:
    if limit.metric_id is None and body.cap != body.cap.to_integral_value():
        raise invalid("cap", "is whole minor units for a spend limit: 50000 is 500.00 dollars")
    return body.cap


async def _subscription(connection: Connection, caller: Caller, ref: str) -> Found:
    return await required(connection, caller.project_id, SUBSCRIPTION, ref)


@router.post(
    "/subscriptions/{subscription_id}/limits",
    status_code=201,
    response_model=LimitDocument,
    operation_id="create_limit",
    summary="Create limit",
)
async def create_limit(
    subscription_id: SubscriptionId, body: LimitBody, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Cap a metric or the spend; 409 if it is capped or the subscription has ended, 404 for an unknown metric."""
    async with caller.begin(database) as tx:
        subscription = await alert_store.watched(tx.connection, caller.project_id, subscription_id)
        metric = None
        if body.metric_key is not None:
            metric = await required(tx.connection, caller.project_id, METRIC, body.metric_key)
        row = await limit_store.create(
            tx,
            subscription_id=subscription.id,
            metric_id=None if metric is None else metric.id,
            cap=body.cap,
        )
        return created(await _shown(tx.connection, row))


@router.get(
    "/subscriptions/{subscription_id}/limits",
    response_model=list[LimitDocument],
    responses=LISTED,
    operation_id="list_limits",
    summary="List limits",
)
async def list_limits(
    request: Request, subscription_id: SubscriptionId, caller: CallerDep, database: DatabaseDep, page: PageDep
) -> Response:
    """List a subscription's limits with what is used, reserved and left of each in the current period."""
    async with database.transaction(caller.scope) as connection:
        subscription = await _subscription(connection, caller, subscription_id)
        rows, total = await limit_store.listed(connection, subscription.id, page)
        standings = await limit_store.limit_statuses(connection, rows)
    documents = [LimitDocument.of(limit, usage.standing(limit), usage) for limit, usage in standings.values()]
    return listed(page, documents, total, request, last=rows[-1].id if rows else None)


@router.get(
    "/subscriptions/{subscription_id}/limits/{limit_id}",
    response_model=LimitDocument,
    operation_id="get_limit",
    summary="Get limit",
)
async def get_limit(
    subscription_id: SubscriptionId, limit_id: LimitId, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Read a limit and how it stands."""
    async with database.transaction(caller.scope) as connection:
        subscription = await _subscription(connection, caller, subscription_id)
        return reply(await _shown(connection, await limit_store.view(connection, subscription.id, limit_id)))


@router.patch(
    "/subscriptions/{subscription_id}/limits/{limit_id}",
    response_model=LimitDocument,
    operation_id="update_limit",
    summary="Update limit",
)
async def update_limit(
    subscription_id: SubscriptionId, limit_id: LimitId, body: LimitChange, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Set another cap, at once; one below what is used refuses every reservation until the period ends."""
    async with caller.begin(database) as tx:
        subscription = await _subscription(tx.connection, caller, subscription_id)
        row = await limit_store.locked(tx.connection, subscription.id, limit_id)
        changed = await limit_store.change(tx, row, _cap(row, body))
        return reply(await _shown(tx.connection, changed))


@router.delete(
    "/subscriptions/{subscription_id}/limits/{limit_id}",
    status_code=204,
    operation_id="delete_limit",
    summary="Delete limit",
)
async def delete_limit(
    subscription_id: SubscriptionId, limit_id: LimitId, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Lift a cap; open reservations stay."""
    async with caller.begin(database) as tx:
        subscription = await _subscription(tx.connection, caller, subscription_id)
        row = await limit_store.locked(tx.connection, subscription.id, limit_id)
        await limit_store.delete(tx, row)
    return no_content()


@router.post(
    "/subscriptions/{subscription_id}/reservations",
    status_code=201,
    response_model=ReservedDocument,
    responses=_REACHED,
    operation_id="create_reservation",
    summary="Reserve usage",
)
async def create_reservation(
    request: Request, subscription_id: SubscriptionId, body: ReservationBody, caller: CallerDep
) -> Response:
    """Take a quantity from the subscription's caps before the work is done; commit or release it afterwards.

    409 `limit_reached` when a metric's cap does not leave room for it, 402 when the cap on spend does not: `limit`
    holds the cap, what is used, reserved and left. Unless it is settled in `ttl_seconds`, it expires and frees it all.
    """
    ask = ReservationRequest(subscription_id, body.metric, body.quantity, body.ttl_seconds, body.properties)
    return created(ReservedDocument.made(await reserving(request, caller, ask)))


@router.get(
    "/subscriptions/{subscription_id}/reservations",
    response_model=list[ReservationDocument],
    responses=LISTED,
    operation_id="list_reservations",
    summary="List reservations",
)
async def list_reservations(
    *,
    request: Request,
    subscription_id: SubscriptionId,
    caller: CallerDep,
    database: DatabaseDep,
    page: PageDep,
    status: Annotated[Literal["open", "committed", "released", "expired"] | None, Query()] = None,
) -> Response:
    """List a subscription's reservations, newest first; those settled or expired for 30 days are gone."""
    async with database.transaction(caller.scope) as connection:
        subscription = await _subscription(connection, caller, subscription_id)
        rows, total = await reservation_commit_store.listed(connection, subscription.id, page, status)
    return listed(page, [ReservationDocument.of(each) for each in rows], total, request)


@router.get(
    "/reservations/{reservation_id}",
    response_model=ReservationDocument,
    operation_id="get_reservation",
    summary="Get reservation",
)
async def get_reservation(reservation_id: ReservationId, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a reservation; an open one past its expiry is `expired`."""
    async with database.transaction(caller.scope) as connection:
        row = await reservation_commit_store.view(connection, caller.project_id, reservation_id)
    return reply(ReservationDocument.of(row))


@router.post(
    "/reservations/{reservation_id}/commit",
    response_model=SettledDocument,
    operation_id="commit_reservation",
    summary="Commit reservation",
)
async def commit_reservation(
    request: Request, reservation_id: ReservationId, caller: CallerDep, body: CommitBody | None = None
) -> Response:
    """Record what was really used as a usage event and free the rest, in one transaction; again gives the same answer.

    409 `reservation_expired`, `reservation_released`, `reservation_committed` (with another quantity),
    `event_conflict`; 422 for more than was reserved.
    """
    said = body or CommitBody()
    ask = ReservationCommit(reservation_id, True, said.quantity, said.idempotency_key, said.properties)
    return settled_answer(await committing(request, caller, ask))


@router.post(
    "/reservations/{reservation_id}/release",
    response_model=SettledDocument,
    operation_id="release_reservation",
    summary="Release reservation",
)
async def release_reservation(request: Request, reservation_id: ReservationId, caller: CallerDep) -> Response:
    """Free what was reserved, since the work was not done; 409 `reservation_committed` after a commit."""
    return settled_answer(await committing(request, caller, ReservationCommit(reservation_id, False)))
