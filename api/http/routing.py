"""Routers of resources: exact JSON, authentication before anything else, idempotent POSTs, problems as answers."""

from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from api.http import idempotency
from api.http.deps import Caller, authenticated_caller
from api.http.errors import PROBLEMS, as_problem, problem_response
from api.http.exact_json import read_json
from models.problems import Problem
from models.scopes import area_of, needed

_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
#: curl's default for -d is the form type; what it sends is read as JSON all the same.
_JSON_ENOUGH = ("", "application/json", "application/x-www-form-urlencoded")


class ExactRequest(Request):
    """A request whose JSON body is read by ``read_json``: once, exactly."""

    async def parse(self) -> None:
        """Read the body, if there is one. Raises ``Problem`` 400, 413, 415 or 422."""
        body = await self.body()
        if not body:
            return
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JSON_ENOUGH and not (kind.startswith("application/") and kind.endswith("+json")):
            raise Problem(415, "unsupported_media_type", "Send the body as application/json.")
        self._json = read_json(body)
        if kind != "application/json":
            self._declare_json()

    def _declare_json(self) -> None:
        # FastAPI reads a body as JSON only if the header says so.
        kept = [(name, value) for name, value in self.scope["headers"] if name != b"content-type"]
        self.scope["headers"] = [*kept, (b"content-type", b"application/json")]
        del self._headers

    async def json(self) -> Any:
        """Return the body as it was read."""
        if not hasattr(self, "_json"):
            await self.parse()
        return self._json


class ResourceRoute(APIRoute):
    """A route of the API; ``idempotent``, ``public`` and ``area`` are set by ``resource_router``."""

    idempotent = True
    public = False
    area = ""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if self.idempotent and "POST" in (options.get("methods") or ()):
            options["openapi_extra"] = {**(options.get("openapi_extra") or {}), **idempotency.DOCUMENTED}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> _Handler:
        """Wrap FastAPI's handler: who calls comes first, then the body, then the work."""
        inner = super().get_route_handler()
        area = "" if self.public else self.area or area_of(self.path.split("/")[1])

        async def handle(request: Request) -> Response:
            exact = ExactRequest(request.scope, request.receive)
            try:
                if not self.public:
                    who = await authenticated_caller(exact)
                    if isinstance(who, Caller):
                        who.require_scopes(needed(area, exact.method))
                if exact.method in _WITH_BODY:
                    await exact.parse()
                if self.idempotent and exact.method == "POST":
                    return await idempotency.run_once(exact, inner)
                return await inner(exact)
            except Exception as error:  # every failure is rendered here, so nothing reaches the server's own handler
                return problem_response(as_problem(error))

        return handle


@cache
def _route_class(idempotent: bool, public: bool, area: str) -> type[ResourceRoute]:
    return type("ResourceRoute", (ResourceRoute,), {"idempotent": idempotent, "public": public, "area": area})


def resource_router(tag: str, *, idempotent: bool = True, public: bool = False, area: str | None = None) -> APIRouter:
    """Make the router of one resource; its paths carry no ``/v1``.

    ``area`` is what the scopes of its routes are named after: the tag itself if left out, the first segment of each
    path if empty.

    ``idempotent=False`` leaves ``Idempotency-Key`` to the routes themselves (ingestion) or ignores it (answers that
    hold a secret, which must not be stored). ``public=True`` lets a request through without a key.
    """
    found = "" if public else area_of(tag) if area is None else area
    return APIRouter(tags=[tag], route_class=_route_class(idempotent, public, found), responses=PROBLEMS)
