"""What surrounds every request: the size of its body, its path, the policy of documentation pages (plain ASGI)."""

import base64
import hashlib
import re
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.errors import problem_response
from models.problems import Problem


class BodyLimit:
    """Refuse bodies above ``most_bytes`` with 413: at once if the length is announced, else when it is exceeded."""

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what arrives."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isascii() and announced.isdigit() and int(announced[:18]) > self.most_bytes:
            await problem_response(self._too_large())(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.most_bytes:
                raise HTTPException(413)
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> Problem:
        return Problem(413, "body_too_large", f"A body has at most {self.most_bytes} bytes; send less at a time.")


class CleanPath:
    """Strip the trailing slash, never redirect (conflicts C17); refuse NUL characters, which Postgres cannot store."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on the cleaned path."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            problem = Problem(422, "nul_character", "The path and the query must not contain the NUL character (%00).")
            await problem_response(problem)(scope, receive, send)
            return
        if scope["path"].endswith("/") and scope["path"] != "/":
            # In place: whoever counts the request finds the route that was matched in the same scope.
            scope["path"] = scope["path"].rstrip("/") or "/"
        await self.app(scope, receive, send)


_PAGES: Final = frozenset({"/docs", "/redoc", "/docs/oauth2-redirect"})
_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


class DocumentationPolicy:
    """Lets the pages of the documentation run their own scripts and load nothing from elsewhere, in no frame."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the policy, which names the page's inline scripts by their hashes."""
        if scope["type"] != "http" or scope["path"] not in _PAGES:
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def whole(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                headers = [*start["headers"], (b"content-security-policy", _policy(body).encode())]
                await send({**start, "headers": headers})
                await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, whole)


def _policy(page: bytes) -> str:
    scripts = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" for script in _SCRIPT.findall(page)
    )
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
