"""Lists: a bare array, ``X-Total-Count``, and a ``Link`` to the next part (conflicts C19)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from adapters.postgres.paging import Estimate, Page
from api.http.answers import Answer
from api.http.responses import reply
from models.identifiers import parse_id
from models.problems import invalid

__all__ = ["LISTED", "Page", "PageDep", "listed", "listed_as"]

_LARGEST_SKIP = 10_000_000

LISTED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "X-Total-Count": {"schema": {"type": "integer"}, "description": "Entries in the whole (filtered) list."},
            "X-Total-Count-Estimated": {
                "schema": {"type": "string", "enum": ["true"]},
                "description": "Above 10,000 entries: the number is an estimate.",
            },
            "Link": {"schema": {"type": "string"}, "description": 'The next part: <...>; rel="next".'},
        }
    }
}
"""What ``responses=`` of a list route adds to OpenAPI."""


def _page(
    skip: Annotated[int, Query(ge=0, le=_LARGEST_SKIP, description="Entries to leave out.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most entries to give.")] = 100,
    cursor: Annotated[
        str | None, Query(max_length=64, description='From the Link header (rel="next"); stable under inserts.')
    ] = None,
    order_by: Annotated[
        str | None, Query(max_length=64, description="`field:asc` or `field:desc`; newest first without it.")
    ] = None,
) -> Page:
    return Page(skip=skip, limit=limit, after=None if cursor is None else _read_cursor(cursor), order_by=order_by)


PageDep = Annotated[Page, Depends(_page)]


def _read_cursor(text: str) -> UUID:
    try:
        return UUID(hex=text)
    except ValueError:
        raise invalid("cursor", "is not one that a Link header gave") from None


class _Stored(Protocol):
    @property
    def id(self) -> UUID: ...


_Record = TypeVar("_Record", bound=_Stored)


def listed_as(
    show: Callable[[_Record], Answer], page: Page, rows: Sequence[_Record], total: int, request: Request
) -> Response:
    """Answer with one part of a list of records, as `listed` does; `show` makes the answer of each."""
    return listed(page, [show(row) for row in rows], total, request, last=rows[-1].id if rows else None)


def listed(
    page: Page, rows: Sequence[Answer | Mapping[str, Any]], total: int, request: Request, *, last: UUID | None = None
) -> Response:
    """Answer with one part of a list.

    ``total`` counts the whole filtered list, exactly or as an ``Estimate``. ``last`` is the uuid of the last row given;
    without it, the row's ``id`` is read, and where that is a client's own id the link to the next part goes by offset.
    """
    headers = {"X-Total-Count": str(int(total))}
    estimated = isinstance(total, Estimate)
    if estimated:
        headers["X-Total-Count-Estimated"] = "true"
    if len(rows) == page.limit and (page.after is not None or estimated or page.skip + len(rows) < total):
        headers["Link"] = f'<{_next_part(page, rows, request, last)}>; rel="next"'
    return reply(rows, headers=headers)


def _next_part(page: Page, rows: Sequence[Answer | Mapping[str, Any]], request: Request, last: UUID | None) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in ("skip", "cursor")]
    row = rows[-1]
    found = last or parse_id(str(getattr(row, "id", "") if isinstance(row, Answer) else row.get("id", "")))
    if found is None or page.order_by is not None:
        moved = ("skip", str(page.skip + len(rows)))
    else:
        moved = ("cursor", found.hex)
    return f"{request.url.path}?{urlencode([*kept, moved])}"
