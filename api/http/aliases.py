"""The same handlers under several names: what one system calls a metric, another calls a meter (conflicts C5, C6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter

from api.http.routing import resource_router


@dataclass(frozen=True)
class RouteAlias:
    """One route below a name: `title` has {} where the name goes, `options` are FastAPI's."""

    method: str
    path: str
    handler: Callable[..., Any]
    title: str
    options: dict[str, Any] = field(default_factory=dict)


def router_named(routes: Sequence[RouteAlias], *, tag: str, segment: str, noun: str) -> APIRouter:
    """Make the router of one name; `noun` is the word in the handlers' names that the tag's own word replaces.

    Fixed segments must come before `{id}` siblings in `routes` (C37).
    """
    router = resource_router(tag)
    word = tag.removesuffix("s").lower()
    for route in routes:
        name = route.handler.__name__.replace(noun, word.replace(" ", "_"))
        router.add_api_route(
            f"/{segment}{route.path}",
            route.handler,
            methods=[route.method],
            summary=route.title.format(word),
            operation_id=f"patch_{name}" if route.method == "PATCH" else name,
            **route.options,
        )
    return router
