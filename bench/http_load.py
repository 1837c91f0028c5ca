"""A lean HTTP load generator: keep-alive connections that send prepared requests and count the answers."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """How long it took to send everything, and how long single answers took, in seconds."""

    seconds: float
    latencies: tuple[float, ...]

    def percentile(self, percent: int) -> float:
        """Give the latency that so many percent of the answers did not exceed."""
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
    status = f"HTTP/1.1 {expect} ".encode()
    for each in requests:
        began = time.perf_counter()
        writer.write(each)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        latencies.append(time.perf_counter() - began)
        assert head.startswith(status), (head + body)[:500]


async def paced(port: int, requests: Sequence[bytes], *, rate: float, connections: int, expect: int) -> Load:
    """Send requests at a steady rate whether or not earlier ones were answered; waiting to be sent is latency too."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    latencies: list[float] = []
    began = time.perf_counter()

    async def one(number: int) -> None:
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        await _drive(*connection, [requests[number]], expect, [])
        latencies.append(time.perf_counter() - due)
        free.put_nowait(connection)

    await asyncio.gather(*(one(number) for number in range(len(requests))))
    seconds = time.perf_counter() - began
    while not free.empty():
        free.get_nowait()[1].close()
    return Load(seconds, tuple(latencies))
