"""``Idempotency-Key`` on POST: the work is done once, its answer is given again (C6, conflicts C28)."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from fastapi import Request, Response

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal import idempotency_store as store
from adapters.postgres.journal.idempotency_store import IdempotencyConflict, IdempotentRequest, StoredAnswer
from api.http.auth import Caller
from api.http.deps import authenticated_caller
from api.http.errors import as_problem, problem_response
from models.problems import Problem, invalid

_INVALID: Final = 422
_LONGEST_KEY: Final = 255
_LOCK_SECONDS: Final = 120
_KEPT_HEADERS: Final = ("content-type", "location", "link", "x-total-count", "x-total-count-estimated")

_log = structlog.get_logger("durabill.api")

DOCUMENTED: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": _LONGEST_KEY},
            "description": "Makes it safe to send the request again: the first answer is replayed (with "
            "`Idempotency-Replayed: true`) for at least 24 hours, to any API key of the project with the same role. "
            "Another body, or an API key with another role, under the same key is 422, a second request while the "
            "first one runs 409. A 422 is not kept: the corrected request may use the key.",
        }
    ]
}
"""What the routes say about it in OpenAPI."""


async def run_once(request: Request, work: Callable[[Request], Awaitable[Response]]) -> Response:
    """Do the work of a POST, or give the answer of the first request with the same key and body.

    Answers below 500 are stored, refusals too; after a 5xx, and after a 422, with which nothing was done, the key is
    free again. If this process dies before it has
    stored the answer, the key is free again after two minutes.
    Raises ``Problem`` 422 ``idempotency_key_reused``, 409 ``idempotency_in_progress``.
    """
    key = request.headers.get("idempotency-key")
    who = await authenticated_caller(request) if key is not None else None
    if key is None or not isinstance(who, Caller):
        return await work(request)
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise invalid("Idempotency-Key", f"must have 1 to {_LONGEST_KEY} characters", "idempotency_key_invalid")
    asked = await _asked(request, who, key)
    database: Database = request.app.state.database
    async with database.transaction(who.scope) as connection:
        before = await store.claim(connection, asked, lock_seconds=_LOCK_SECONDS)
    if isinstance(before, IdempotencyConflict):
        raise _refusal(before)
    if before is not None:
        return Response(before.body, before.status, {**before.headers, "Idempotency-Replayed": "true"})
    return await _first(request, work, asked, database, who.scope)


async def _asked(request: Request, who: Caller, key: str) -> IdempotentRequest:
    # /api/v1 and /v1 are the same routes (conflicts C1).
    route = f"{request.method} {request.url.path.removeprefix('/api')}"
    # Any key of the project may repeat a request (C6), but not one that might not have made it.
    privilege = f"{who.kind}:{who.role}".encode()
    said = hashlib.sha256(b"\x00".join((privilege, request.url.query.encode(), await request.body())))
    return IdempotentRequest(project_id=who.project_id, route=route, key=key, request_hash=said.digest())


async def _first(
    request: Request,
    work: Callable[[Request], Awaitable[Response]],
    asked: IdempotentRequest,
    database: Database,
    scope: ProjectScope,
) -> Response:
    try:
        answer = await work(request)
    except Exception as error:  # a refusal is an answer too
        answer = problem_response(as_problem(error))
    try:
        # A caller who hangs up now must still find the answer later.
        await asyncio.shield(_settle(answer, asked, database, scope))
    except Problem as error:
        # The work is done and is answered as such; the key's lock expires by itself.
        _log.warning("idempotent_answer_not_stored", route=asked.route, code=error.code)
    return answer


async def _settle(answer: Response, asked: IdempotentRequest, database: Database, scope: ProjectScope) -> None:
    body = getattr(answer, "body", None)
    async with database.transaction(scope) as connection:
        if answer.status_code >= 500 or answer.status_code == _INVALID or not isinstance(body, bytes):
            await store.release(connection, asked)
            return
        headers = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        await store.store_response(connection, asked, StoredAnswer(answer.status_code, headers, body))


def _refusal(refused: IdempotencyConflict) -> Problem:
    if refused.reason == "other_request":
        used = "This Idempotency-Key was used with another body, or by an API key with another role"
        detail = f"{used}; use a new key for a new request."
        return Problem(422, "idempotency_key_reused", detail)
    detail = "The first request with this Idempotency-Key is still being handled; ask again shortly."
    return Problem(409, "idempotency_in_progress", detail, headers={"Retry-After": "1"})
