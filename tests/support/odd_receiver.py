"""A receiver of webhooks whose answers are given byte by byte, for what no HTTP server answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Odd:
    """A receiver that answers with these very bytes once its gate is open, and then keeps the connection or not."""

    answer: bytes
    stays: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    url: str = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request and answer it."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            await self.gate.wait()
            writer.write(self.answer)
            await writer.drain()
            if self.stays:
                await reader.read()
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def odd(answer: bytes, *, stays: bool = False, waits: bool = False) -> AsyncIterator[Odd]:
    """Start one on a free port, its gate open unless it ``waits``, and stop it at the end."""
    receiver = Odd(answer, stays)
    if not waits:
        receiver.gate.set()
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield receiver
    finally:
        receiver.gate.set()
        server.close()
