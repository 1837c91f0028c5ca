"""A lean HTTP load generator: keep-alive connections that send prepared requests and count the answers."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: Time to make the tasks of all requests: making them while the first ones are due would delay those.
_LEAD_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Load:
    """How long it took to send everything, and how long single answers took, in seconds."""

    seconds: float
    latencies: tuple[float, ...]

    def percentile(self, percent: int) -> float:
        """Return the latency that so many percent of the answers did not exceed."""
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)]


def request(path: str, body: bytes, key: str) -> bytes:
    """Write one POST with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def send(port: int, requests: Sequence[Sequence[bytes]], *, expect: int) -> Load:
    """Send each list of requests over a connection of its own, all at once; every answer must have that status."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in requests]
    latencies: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(_drive(*pair, each, expect, latencies) for pair, each in zip(opened, requests, strict=True)))
    seconds = time.perf_counter() - began
    for _, writer in opened:
        writer.close()
    return Load(seconds, tuple(latencies))


async def _drive(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    requests: Sequence[bytes],
    expect: int,
    latencies: list[float],
) -> None:
    for each in requests:
        began = time.perf_counter()
        await _exchange(reader, writer, each, expect)
        latencies.append(time.perf_counter() - began)


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, expect: int) -> bytes:
    """Send a request; returns the body of its answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    assert head.startswith(f"HTTP/1.1 {expect} ".encode()), (head + body)[:500]
    return body


async def paced(
    port: int,
    requests: Sequence[bytes],
    *,
    rate: float,
    connections: int,
    expect: int,
    bodies: list[bytes] | None = None,
) -> Load:
    """Send requests at a steady rate whether or not earlier ones were answered; waiting to be sent is latency too.

    The first one leaves when all of them are ready to. `bodies` takes the answers, in the order in which they came.
    """
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    latencies: list[float] = []
    began = time.perf_counter() + _LEAD_SECONDS

    async def one(number: int) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        body = await _exchange(*connection, requests[number], expect)
        latencies.append(time.perf_counter() - due)
        free.put_nowait(connection)
        if bodies is not None:
            bodies.append(body)

    await asyncio.gather(*(one(number) for number in range(len(requests))))
    seconds = time.perf_counter() - began
    while not free.empty():
        free.get_nowait()[1].close()
    return Load(seconds, tuple(latencies))
