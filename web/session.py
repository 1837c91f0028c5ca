"""Who is logged in to the dashboard: a signed cookie that names an API key, never the key itself."""

import hmac
import secrets
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from fastapi import Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer

from api.http.auth import Caller, caller_with_id
from api.http.request_log import note_caller

COOKIE: Final = "durabill_session"
_SECONDS: Final = 12 * 3600
# Without a configured secret, sessions end with the process.
_FALLBACK_SECRET: Final = secrets.token_hex(32)


@dataclass(frozen=True)
class Session:
    """A person at the dashboard; ``csrf`` is the token that each form must carry."""

    caller: Caller
    csrf: str

    def accepts(self, token: str) -> bool:
        """Compare a form's token with the session's, in constant time."""
        return hmac.compare_digest(token.encode(), self.csrf.encode())


def _signer(request: Request) -> URLSafeTimedSerializer:
    configured = request.app.state.settings.session_secret
    secret = _FALLBACK_SECRET if configured is None else configured.get_secret_value()
    return URLSafeTimedSerializer(secret, salt="durabill-session")


async def current(request: Request) -> Session | None:
    """Return the session of the request; None without one, when it has expired or when its key has ended (B18)."""
    try:
        said = _signer(request).loads(request.cookies.get(COOKIE, ""), max_age=_SECONDS)
        key_id, csrf = UUID(said["key_id"]), str(said["csrf"])
    except (BadSignature, KeyError, TypeError, ValueError):
        return None
    caller = await caller_with_id(request.app.state.database, key_id)
    if caller is None:
        return None
    note_caller(request.scope, caller)
    return Session(caller, csrf)


def begin(request: Request, response: Response, caller: Caller) -> None:
    """Set the cookie: not readable by scripts, sent by this site's own pages only."""
    said = {"key_id": str(caller.key_id), "csrf": secrets.token_urlsafe(24)}
    response.set_cookie(
        COOKIE,
        _signer(request).dumps(said),
        max_age=_SECONDS,
        path="/ui",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def end(response: Response) -> None:
    """Remove the cookie."""
    response.delete_cookie(COOKIE, path="/ui", httponly=True, samesite="strict")
