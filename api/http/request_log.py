"""One line and one count for each request: its id, route, status, time, project and key; never a body or a query.

What is known of a request is kept in one object that its log lines read when they are written: binding each fact for
itself would cost an ingested event more than all of this does.
"""

import os
import re
import time
from contextvars import ContextVar
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict

from adapters.telemetry.request_metrics import REQUESTS
from api.http.auth import Caller

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")
#: Behind TLS: for two years browsers come back over TLS alone.
_ONLY_TLS: Final = (b"strict-transport-security", b"max-age=63072000")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Asked every few seconds by machines; their successes are lines for debugging only.
_PROBES: Final = frozenset({"/healthz", "/livez", "/metrics"})
_FACTS: Final = "durabill.request"
#: A client that hung up before it was answered, as proxies count it.
_HUNG_UP: Final = 499

_log = structlog.get_logger("durabill.request")


class Facts:
    """What is known of a request so far; ``lane`` is the route of one that no router matched."""

    __slots__ = ("caller", "is_ingestion", "lane", "request_id", "scope")

    def __init__(self, request_id: str, scope: Scope) -> None:
        self.request_id = request_id
        self.scope = scope
        self.caller: Caller | None = None
        self.lane: str | None = None
        self.is_ingestion = False

    @property
    def method(self) -> str:
        """The method, ``OTHER`` if it is none that a route could have."""
        method: str = self.scope["method"]
        return method if method in _METHODS else "OTHER"

    @property
    def route(self) -> str:
        """The template of the route, such as ``/v1/customers/{id}``; ``unmatched`` if there is none."""
        if self.lane is not None:
            return self.lane
        # A router that was included under a prefix tells its routes' own paths only; the whole one is in its context.
        context = self.scope.get("fastapi", {}).get("effective_route_context")
        whole: str | None = getattr(context, "path", None) or getattr(self.scope.get("route"), "path", None)
        if whole is not None:
            return whole
        return "other" if "endpoint" in self.scope else "unmatched"


_current: ContextVar[Facts | None] = ContextVar("durabill_request", default=None)


def note_caller(scope: Scope, caller: Caller) -> None:
    """Say in whose name the request is made: from now on its log lines name the project and the key."""
    facts = scope.get(_FACTS)
    if facts is not None:
        facts.caller = caller


def note_lane(scope: Scope, route: str, *, is_ingestion: bool = False) -> None:
    """Name the route of a request that is served before the router sees it."""
    facts = scope.get(_FACTS)
    if facts is not None:
        facts.lane, facts.is_ingestion = route, is_ingestion


def add_request(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Add to a log line what is known of the request that it was written in."""
    facts = _current.get()
    if facts is not None:
        event["request_id"], event["method"], event["route"] = facts.request_id, facts.method, facts.route
        if facts.caller is not None:
            event["project"] = str(facts.caller.project_id)
            event["key_id"] = None if facts.caller.key_id is None else str(facts.caller.key_id)
    return event


def _name_of(scope: Scope) -> str:
    """Return the caller's name of the request if it is a sane one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and (given := _REQUEST_ID.fullmatch(value)):
            return bytes(given[0]).decode()
    return os.urandom(16).hex()


class RequestLog:
    """Names every request, in its answer (``X-Request-Id``) and in every log line; counts it, and writes its line.

    Of the successful requests of ingestion one in ``ingestion_one_in`` is written, none for 0. Where people reach the
    API over TLS, each answer tells browsers to use nothing else.
    """

    def __init__(self, app: ASGIApp, *, ingestion_one_in: int, is_https: bool = False) -> None:
        self.app = app
        self._added = (_NO_SNIFFING, _ONLY_TLS) if is_https else (_NO_SNIFFING,)
        self._ingestion_one_in = ingestion_one_in
        self._ingestion_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request, serve it, count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _name_of(scope)
        facts = scope[_FACTS] = Facts(request_id, scope)
        status = _HUNG_UP

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *self._added]
            await send(message)

        outer = _current.set(facts)
        began = time.perf_counter()
        try:
            await self.app(scope, receive, named)
        except Exception:
            status = 500 if status == _HUNG_UP else status
            raise
        finally:
            self._ended(facts, status, time.perf_counter() - began)
            _current.reset(outer)

    def _ended(self, facts: Facts, status: int, seconds: float) -> None:
        REQUESTS.ended(facts.method, facts.route, status, seconds)
        if facts.is_ingestion and status < 400 and not self._is_drawn():
            return
        if status >= 500:
            write = _log.warning
        else:
            write = _log.debug if facts.lane is None and status < 400 and facts.route in _PROBES else _log.info
        write("request", status=status, ms=round(seconds * 1000, 1))

    def _is_drawn(self) -> bool:
        """Tell whether this successful request of ingestion is one of those that are written."""
        if not self._ingestion_one_in:
            return False
        self._ingestion_requests += 1
        return (self._ingestion_requests - 1) % self._ingestion_one_in == 0
