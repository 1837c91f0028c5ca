"""A receiver of webhooks on a real socket, which answers as a test tells it to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Received:
    """One request as it came in; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """Return the body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def verified(self, secret: str) -> Any:
        """Return the body if its signature is right; raises WebhookVerificationError if it is not."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """Answers 200, or the next of ``answers``; never, while ``hangs``."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    extra_headers: str = ""
    hangs: bool = False
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Return the address to register."""
        return f"http://127.0.0.1:{self.port}/hooks"

    def types(self) -> list[str]:
        """List the types of what came in, in order."""
        return [one.document["type"] for one in self.received]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request and answer it."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(request.split(" ")[1], headers, body))
            if self.hangs:
                await reader.read()  # until the sender gives up
                return
            status = self.answers.pop(0) if self.answers else 200
            answer = (
                f"HTTP/1.1 {status} Said\r\n{self.extra_headers}content-length: 5\r\nconnection: close\r\n\r\nnoted"
            )
            writer.write(answer.encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiving(**options: Any) -> AsyncIterator[Receiver]:
    """Start a receiver on a free port, and stop it at the end."""
    receiver = Receiver(**options)
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
