"""What the dev server's SQLite settings cost and keep: workflow starts/s, signals/s, and what survives a kill.

Run with ``python -m bench.temporal_pragmas``. Each variant gets fresh servers, the variants take turns, medians count.
"""

import asyncio
import itertools
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from temporalio.client import Client
from temporalio.service import RetryConfig, RPCError

from devstack.temporal_server import FAST_PRAGMAS, TemporalServer

RUN_SECONDS = 4.0
ROUNDS = 3
CONCURRENCY = 50
TASK_QUEUE = "nobody-listens"
VARIANTS: Mapping[str, Mapping[str, str] | None] = {
    "default pragmas": {},
    "WAL, synchronous=NORMAL": FAST_PRAGMAS,
    "in memory": None,
}


def server_for(pragmas: Mapping[str, str] | None, directory: Path) -> TemporalServer:
    """Make a server with these pragmas; None keeps everything in memory."""
    if pragmas is None:
        return TemporalServer(None)
    return TemporalServer(directory, pragmas=pragmas)


async def per_second(call: Callable[[int], Awaitable[object]], seconds: float) -> float:
    """Call from many tasks at once for a while; give the calls that were answered per second."""
    numbers, answered = itertools.count(), 0
    began = time.perf_counter()

    async def go_on() -> None:
        nonlocal answered
        while time.perf_counter() - began < seconds:
            await call(next(numbers))
            answered += 1

    await asyncio.gather(*(go_on() for _ in range(CONCURRENCY)))
    return answered / (time.perf_counter() - began)


async def measure(server: TemporalServer) -> tuple[float, float]:
    """Return workflow starts/s and signals/s of a running server, without any worker."""
    client = await Client.connect(server.address)
    starts = await per_second(
        lambda n: client.start_workflow("Anything", id=f"started/{n}", task_queue=TASK_QUEUE), RUN_SECONDS
    )
    targets = [f"signalled/{n}" for n in range(CONCURRENCY)]
    for target in targets:
        await client.start_workflow("Anything", id=target, task_queue=TASK_QUEUE)
    signals = await per_second(
        lambda n: client.get_workflow_handle(targets[n % CONCURRENCY]).signal("usage_recorded", n), RUN_SECONDS
    )
    return starts, signals


async def lost_by_a_kill(pragmas: Mapping[str, str]) -> tuple[int, int]:
    """Start workflows, kill the server in the middle, start it again; give how many were answered and how many lost."""
    with tempfile.TemporaryDirectory() as directory:
        server = TemporalServer(Path(directory), pragmas=pragmas)
        server.start()
        client = await Client.connect(server.address, retry_config=RetryConfig(max_retries=1))
        answered: list[str] = []
        killing = asyncio.create_task(_kill_after(server, RUN_SECONDS / 2))

        async def go_on(lane: int) -> None:
            for n in itertools.count():
                try:
                    await client.start_workflow("Anything", id=f"kept/{lane}/{n}", task_queue=TASK_QUEUE)
                except RPCError:
                    return
                answered.append(f"kept/{lane}/{n}")

        await asyncio.gather(*(go_on(lane) for lane in range(CONCURRENCY)))
        await killing
        server.start()
        try:
            again = await Client.connect(server.address)
            lost = [known for known in answered if not await _exists(again, known)]
        finally:
            server.stop()
    return len(answered), len(lost)


async def _kill_after(server: TemporalServer, seconds: float) -> None:
    await asyncio.sleep(seconds)
    os.kill(server.process.pid, signal.SIGKILL)
    await asyncio.to_thread(server.process.wait, 10)


async def _exists(client: Client, workflow_id: str) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).describe()
    except RPCError:
        return False
    return True


def table_of(found: Mapping[str, list[tuple[float, float]]]) -> Table:
    """Show medians, and the median of each round's ratio to the default: neighbours on the machine share a round."""
    title = f"medians of {ROUNDS} runs, {CONCURRENCY} calls at once"
    table = Table("dev server", "starts/s", "signals/s", "starts x default", "signals x default", title=title)
    usual = found["default pragmas"]
    for name, runs in found.items():
        rates = (f"{statistics.median(run[column] for run in runs):.0f}" for column in (0, 1))
        pairs = list(zip(runs, usual, strict=True))
        ratios = (f"{statistics.median(run[column] / base[column] for run, base in pairs):.1f}" for column in (0, 1))
        table.add_row(name, *rates, *ratios)
    return table


def main() -> int:
    """Measure each variant in turns and print the medians."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for round_number, (name, pragmas) in itertools.product(range(ROUNDS), VARIANTS.items()):
        with tempfile.TemporaryDirectory() as directory:
            server = server_for(pragmas, Path(directory))
            server.start()
            try:
                found[name].append(asyncio.run(measure(server)))
            finally:
                server.stop()
        starts, signals = found[name][-1]
        print(f"round {round_number + 1}: {name}: {starts:.0f} starts/s, {signals:.0f} signals/s", flush=True)
    Console().print(table_of(found))
    answered, lost = asyncio.run(lost_by_a_kill(FAST_PRAGMAS))
    print(f"SIGKILL with WAL, synchronous=NORMAL: {answered} starts were answered, {lost} of them lost")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
