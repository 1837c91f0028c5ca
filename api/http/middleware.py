"""What surrounds every request: the size of its body, its path (plain ASGI, no buffering)."""

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
