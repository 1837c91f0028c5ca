"""``/metrics`` of a process without an API: one short answer to each connection, to the bearer of the token alone."""

import asyncio
from collections.abc import Awaitable, Callable
from secrets import compare_digest
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_LONGEST_REQUEST: Final = 16_384
_SECONDS: Final = 10


async def serve_metrics(
    host: str, port: int, *, token: str | None, more: Callable[[], Awaitable[bytes]]
) -> asyncio.Server:
    """Answer scrapes with this process's metrics and ``more``; without a token anybody's, else 401 to all others."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _answered(head, token, more))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return  # who hung up or sent nonsense waits for no answer
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=_LONGEST_REQUEST)


async def _answered(head: bytes, token: str | None, more: Callable[[], Awaitable[bytes]]) -> bytes:
    first, *lines = head.split(b"\r\n")
    if first.split(b" ")[1:2] != [b"/metrics"]:
        return _response(b"404 Not Found", b"")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    wanted = b"" if token is None else b"Bearer " + token.encode()
    if token is not None and not compare_digest(headers.get(b"authorization", b""), wanted):
        return _response(b"401 Unauthorized", b"")
    return _response(b"200 OK", generate_latest() + await more())


def _response(status: bytes, body: bytes) -> bytes:
    length = str(len(body)).encode()
    kind = CONTENT_TYPE_LATEST.encode()
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %b\r\nConnection: close\r\n\r\n%b" % (
        status,
        kind,
        length,
        body,
    )
