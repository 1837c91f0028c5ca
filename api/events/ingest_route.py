"""The hot path of ingestion: plain request in, bytes out, without FastAPI's per-request machinery.

Who calls is remembered for a moment so that the request can join its project's transaction, and the key is checked
again inside that transaction: a revoked key is refused at once, although nothing was asked of Postgres beforehand.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.postgres.events.ingest_events import Outcome, PresentedKey, Submission
from adapters.postgres.tenancy.key_store import hashed
from api.events.cloud_events import is_cloud_event, media_type_of, read_cloud_events
from api.events.ingest_queue import IngestQueue
from api.events.received import Received, Shape
from api.events.usage_events import UNREACHABLE, read_events, unreachable
from api.http.auth import Caller, presented_key
from api.http.deps import Operator, authenticated_caller
from api.http.errors import PROBLEMS, as_problem, problem_response
from api.http.fields import ClientId, nested_problem
from api.http.request_log import note_caller, note_lane
from models.problems import Problem, invalid
from models.scopes import needed

_CLIENT_ID: Final[TypeAdapter[str | None]] = TypeAdapter(ClientId | None)
_REMEMBERED_SECONDS: Final = 30.0
_MOST_REMEMBERED: Final = 10_000
_LONGEST_KEY: Final = 255
_BUSY: Final[dict[int | str, dict[str, Any]]] = {
    429: {"description": "Too many events are waiting; `Retry-After` says when to try again."}
}


_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class IngestRoute(APIRoute):
    """A route whose endpoint takes the bare request and gives the finished answer."""

    def get_route_handler(self) -> _Handler:
        """Call the endpoint directly; its documentation comes from ``openapi_extra``."""
        endpoint: Callable[[Request], Awaitable[Response]] = self.endpoint

        async def handle(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Exception as error:  # every failure is rendered here, so nothing reaches the server's own handler
                return problem_response(as_problem(error))

        return handle


class IngestFastPath:
    """Hands the ingest routes their requests before any other path is looked at.

    Matching a path against some hundred routes costs more than storing an event. The same routes are in the router for
    everything else: documentation, other methods, HEAD and OPTIONS.
    """

    def __init__(self, app: ASGIApp, *, mounts: Sequence[tuple[str, Sequence[APIRouter]]]) -> None:
        self.app = app
        self._handlers: dict[str, _Handler] = {
            prefix + route.path: route.get_route_handler()
            for prefix, routers in mounts
            for router in routers
            for route in router.routes
            if isinstance(route, IngestRoute)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a POST to an ingest route, or hand the request on."""
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        note_lane(scope, scope["path"], is_ingestion=True)
        answer = await handler(Request(scope, receive))
        await answer(scope, receive, send)


def ingest_router(tag: str) -> APIRouter:
    """Make a router of ingest routes; their events carry the idempotency, not the request."""
    return APIRouter(tags=[tag], route_class=IngestRoute, responses={**PROBLEMS, **_BUSY})


class _Callers:
    """Keys seen lately, with whom they belong to: only ever a guess, which the transaction verifies."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, str], tuple[Caller, float]] = OrderedDict()

    def find(self, name: tuple[bytes, str]) -> Caller | None:
        entry = self._known.get(name)
        if entry is None or entry[1] < time.monotonic():
            return None
        return entry[0]

    def remember(self, name: tuple[bytes, str], caller: Caller) -> None:
        self._known[name] = (caller, time.monotonic() + _REMEMBERED_SECONDS)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)

    def forget(self, name: tuple[bytes, str]) -> None:
        self._known.pop(name, None)


_callers: Final = _Callers()


async def take(request: Request, shape: Shape, source: str) -> tuple[Received, Outcome]:
    """Read the request's events and store them in the name of its key; returns after the commit.

    ``Idempotency-Key`` names the events that the body does not name (B60). Raises ``Problem`` 401 or 403 for the key,
    400 or 422 for the body, 422 for event times, 429 and 503.
    """
    caller, presented = await cached_caller(request)
    queue = _queue_of(request)
    queue.require_room()
    body = await request.body()
    received = _read(request, body, shape)
    if shape.creates_customers:
        _must_be_fit_for_customers(received)
    header_key = request.headers.get("idempotency-key", "").strip()
    if header_key:
        _name_events(received, header_key)
    outcome = await queue.submit(caller.scope, Submission(received.events, source, presented), size=len(body))
    if outcome.key_changed:
        caller = await authenticated_again(request)
        outcome = await queue.submit(caller.scope, Submission(received.events, source), size=len(body))
    if outcome.problem is None:
        return received, outcome
    timely = received.without(outcome.problem) if shape.partial else None
    if timely is None:
        raise received.refusal(outcome.problem)
    outcome = await queue.submit(caller.scope, Submission(timely.events, source), size=len(body))
    if outcome.problem is not None:
        raise timely.refusal(outcome.problem)
    return timely, outcome


def _read(request: Request, body: bytes, shape: Shape) -> Received:
    media_type = media_type_of(request.headers.get("content-type", ""))
    if is_cloud_event(media_type, request.headers):
        return read_cloud_events(body, media_type, request.headers, shape)
    return read_events(body, shape)


async def cached_caller(request: Request) -> tuple[Caller, PresentedKey | None]:
    """Return who probably calls, and the key that the transaction must check again; None if it has just been checked.

    Raises ``Problem`` 401 or 403 as authentication does.
    """
    name = _name(request)
    caller = _callers.find(name)
    if caller is None:
        return await _authenticated(request, name), None
    note_caller(request.scope, caller)
    return caller, PresentedKey(name[0], caller.project_id if name[1] else None)


async def authenticated_again(request: Request) -> Caller:
    """Find out who calls when the transaction refused the guess. Raises ``Problem`` 401, 403, 404."""
    name = _name(request)
    _callers.forget(name)
    return await _authenticated(request, name)


def _name(request: Request) -> tuple[bytes, str]:
    return hashed(presented_key(request)), request.headers.get("x-project-id", "").strip()


async def _authenticated(request: Request, name: tuple[bytes, str]) -> Caller:
    who = await authenticated_caller(request)
    if isinstance(who, Operator):
        raise Problem(403, "bootstrap_key_forbidden", "The bootstrap key may only manage /v1/organizations.")
    who.require_scopes(needed("events", "POST"))
    _callers.remember(name, who)
    return who


def _must_be_fit_for_customers(received: Received) -> None:
    """Refuse an id that a customer could not be read by (C37). Raises ``Problem`` 422."""
    for event in received.events:
        try:
            _CLIENT_ID.validate_python(event.customer_ref)
        except ValidationError as error:
            raise nested_problem(error, "customerId") from None


def _name_events(received: Received, header_key: str) -> None:
    """Name the events without a key by the request's: of a batch each by its place too, so that a retry counts once."""
    if len(header_key) > _LONGEST_KEY:
        raise invalid("Idempotency-Key", f"has at most {_LONGEST_KEY} characters")
    if not received.batch and unreachable(header_key) and received.events[0].key is None:
        raise invalid("Idempotency-Key", UNREACHABLE)
    for place, event in enumerate(received.events):
        if event.key is None:
            event.key = json.dumps([header_key, received.index_of(place)]) if received.batch else header_key


def _queue_of(request: Request) -> IngestQueue:
    state = request.app.state
    queue = getattr(state, "ingest_queue", None)
    if queue is None:
        queue = state.ingest_queue = IngestQueue(state.database)
    assert isinstance(queue, IngestQueue)
    return queue
