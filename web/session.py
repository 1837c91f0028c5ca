"""Who is logged in to the dashboard: a cookie with a random token, whose session the database knows until log-out."""

import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from fastapi import Request, Response

from adapters.postgres.database import SYSTEM
from adapters.postgres.tenancy import session_store
from adapters.postgres.tenancy.session_store import OpenSession
from api.http.auth import Caller, caller_with_id
from api.http.request_log import note_caller

COOKIE: Final = "durabill_session"
_LASTS: Final = timedelta(hours=12)
_LONGEST_TOKEN: Final = 128


@dataclass(frozen=True)
class Session:
    """A person at the dashboard; ``csrf`` is the token that each form must carry."""

    caller: Caller
    csrf: str

    def accepts(self, token: str) -> bool:
        """Compare a form's token with the session's, in constant time."""
        return hmac.compare_digest(token.encode(), self.csrf.encode())


async def current(request: Request) -> Session | None:
    """Return the session of the request; None without one, when it is over or when its key has ended (B18)."""
    token = _token(request)
    if token is None:
        return None
    async with request.app.state.database.transaction(SYSTEM) as connection:
        found = await session_store.find(connection, token)
    caller = None if found is None else await caller_with_id(request.app.state.database, found.key_id)
    if found is None or caller is None:
        return None
    note_caller(request.scope, caller)
    return Session(caller, found.csrf)


def _token(request: Request) -> str | None:
    token = request.cookies.get(COOKIE, "")
    return token if 0 < len(token) <= _LONGEST_TOKEN else None


async def begin(request: Request, response: Response, caller: Caller) -> None:
    """Store a session and set its cookie: not readable by scripts, sent by this site's own pages only."""
    assert caller.key_id is not None, "one logs in with a key"
    token = secrets.token_urlsafe(32)
    session = OpenSession(caller.key_id, secrets.token_urlsafe(24))
    async with request.app.state.database.transaction(SYSTEM) as connection:
        await session_store.begin(connection, token, session, lasts=_LASTS)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(_LASTS.total_seconds()),
        path="/ui",
        secure=request.app.state.settings.is_https or request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


async def end(request: Request, response: Response) -> None:
    """Delete the session and remove its cookie."""
    token = _token(request)
    if token is not None:
        async with request.app.state.database.transaction(SYSTEM) as connection:
            await session_store.end(connection, token)
    response.delete_cookie(COOKIE, path="/ui", httponly=True, samesite="strict")
