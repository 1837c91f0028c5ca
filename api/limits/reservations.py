"""The hot path of reservations: gathered into shared transactions, and served before any other path is looked at."""

import re
from dataclasses import replace
from typing import Final

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.postgres.database import Database
from adapters.postgres.events.ingest_events import PresentedKey
from adapters.postgres.limits import reservation_commit_store, reservation_store
from adapters.postgres.limits.reservation_commit_store import FinishedReservation, ReservationCommit
from adapters.postgres.limits.reservation_store import KeyChanged, ReservationRequest, Reserved
from api.events.ingest_route import authenticated_again, cached_caller
from api.http.auth import Caller
from api.http.errors import as_problem, problem_response
from api.http.group_commit import GroupCommit
from api.http.request_log import note_lane
from api.http.responses import created, reply
from api.http.routing import ExactRequest
from api.limits.limit_shapes import CommitBody, ReservationBody, ReservedDocument, SettledDocument
from models.problems import Problem

_PATH: Final = re.compile(
    r"/(?:api/)?v1/(?:subscriptions/([^/]{1,255})/reservations|reservations/([^/]{1,100})/(commit|release))"
)


class _Queues:
    """The gatherings of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.reserving: GroupCommit[ReservationRequest, reservation_store.Answer] = GroupCommit(
            lambda scope, asks: reservation_store.reserve(database, scope, asks)
        )
        self.settling: GroupCommit[ReservationCommit, reservation_commit_store.Answer] = GroupCommit(
            lambda scope, asks: reservation_commit_store.commit_or_release(database, scope, asks)
        )


def _queues(request: Request) -> _Queues:
    state = request.app.state
    queues = getattr(state, "reservation_queues", None)
    if not isinstance(queues, _Queues) or queues.database is not state.database:
        queues = state.reservation_queues = _Queues(state.database)
    assert isinstance(queues, _Queues)
    return queues


async def reserving(request: Request, caller: Caller, ask: ReservationRequest) -> Reserved:
    """Reserve in a shared transaction; returns after its commit. Raises ``Problem`` 402, 404, 409, 422, 429, 503."""
    answer = await _queues(request).reserving.submit(caller.scope, ask)
    if isinstance(answer, KeyChanged):
        again = await authenticated_again(request)
        return await reserving(request, again, replace(ask, presented=None))
    if isinstance(answer, Problem):
        raise answer
    return answer


async def committing(request: Request, caller: Caller, ask: ReservationCommit) -> FinishedReservation:
    """Commit or release in a shared transaction. Raises ``Problem`` 404, 409, 422, 429, 503."""
    answer = await _queues(request).settling.submit(caller.scope, ask)
    if isinstance(answer, KeyChanged):
        again = await authenticated_again(request)
        return await committing(request, again, replace(ask, presented=None))
    if isinstance(answer, Problem):
        raise answer
    return answer


def settled_answer(settled: FinishedReservation) -> Response:
    """Answer with a reservation after it was settled."""
    return reply(SettledDocument.settled(settled))


class ReservationLane:
    """Serves reservations, commits and releases before the router matches their paths against some hundred others.

    The same routes are in the router, for documentation and for requests with an ``Idempotency-Key``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a POST to one of the paths, or hand the request on."""
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None or any(name == b"idempotency-key" for name, _ in scope["headers"]):
            await self.app(scope, receive, send)
            return
        note_lane(scope, _template(found))
        request = ExactRequest(scope, receive)
        try:
            answer = await _served(request, found)
        except Exception as error:  # every failure is rendered here, so nothing reaches the server's own handler
            answer = problem_response(as_problem(error))
        await answer(scope, receive, send)


def _template(found: "re.Match[str]") -> str:
    """Return the route of a path as the router names it."""
    subscription, _, verb = found.groups()
    mount = "/api/v1" if found.string.startswith("/api/") else "/v1"
    if subscription is not None:
        return f"{mount}/subscriptions/{{subscription_id}}/reservations"
    return f"{mount}/reservations/{{reservation_id}}/{verb}"


async def _served(request: ExactRequest, found: "re.Match[str]") -> Response:
    subscription, reservation, verb = found.groups()
    caller, presented = await cached_caller(request)
    body = await request.json() if await request.body() else None
    if subscription is not None:
        return await _reserve(request, caller, presented, subscription, body)
    said = CommitBody.model_validate({} if body is None else body) if verb == "commit" else CommitBody()
    ask = ReservationCommit(
        reservation, verb == "commit", said.quantity, said.idempotency_key, said.properties, presented
    )
    return settled_answer(await committing(request, caller, ask))


async def _reserve(
    request: ExactRequest, caller: Caller, presented: PresentedKey | None, subscription: str, body: object
) -> Response:
    said = ReservationBody.model_validate(body)
    ask = ReservationRequest(subscription, said.metric, said.quantity, said.ttl_seconds, said.properties, presented)
    return created(ReservedDocument.made(await reserving(request, caller, ask)))
