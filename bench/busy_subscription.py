"""1,667 events a second for one subscription: what its workflow and its worker notice of them.

Half a minute with the other benchmarks; ``python -m bench.busy_subscription`` sends 100,000 in a whole one.

Events go through the API at a steady rate, in batches of 100; the real worker and its relay run beside it. Measured are
the length of the workflow's history, the lag from the commit of an event to the signal that tells the workflow of it
(from `usage_watermarks`, looked at every 20 ms), and how much memory of the worker the second half of the time cost.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import psycopg
from temporalio.client import Client

from api.http.commands import Commands
from bench.closing import Servers, process, servers, until_polling
from bench.report import Row
from devstack.processes import free_port

EVENTS_A_MINUTE = 100_000
SECONDS = 30.0
ALONE_SECONDS = 60.0
QUICK_SECONDS = 10.0
BATCH = 100
EVALUATION_SECONDS = 0.02
READY_SECONDS = 90.0
BOOTSTRAP_KEY = "bench-bootstrap-key"

_LOOK = "SELECT version, signalled_version FROM usage_watermarks"
_COUNTED = "SELECT coalesce(sum(event_count), 0) FROM usage_rollups"


async def run(quick: bool = False, *, seconds: float = SECONDS) -> list[Row]:
    """Send the events and measure."""
    seconds = QUICK_SECONDS if quick else seconds
    events = round(EVENTS_A_MINUTE * seconds / 60 / BATCH) * BATCH
    async with servers() as running:
        port = free_port()
        environment = {
            "DATABASE_URL": running.postgres.url("bench_closing", user="durabill"),
            "TEMPORAL_ADDRESS": running.temporal.address,
            "DURABILL_BOOTSTRAP_KEY": BOOTSTRAP_KEY,
            "DURABILL_SESSION_SECRET": BOOTSTRAP_KEY,
            "DURABILL_LOG_LEVEL": "WARNING",
            "DURABILL_PORT": str(port),
        }
        api = ["-m", "uvicorn", "app:create_app", "--factory", "--no-access-log", "--port", str(port)]
        with process(["-m", "worker"], environment), process(api, environment):
            await until_polling(await Commands.connect(running.database, running.configuration))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
                await _sell(http)
                lags, memory = await _send(running, http, events, seconds)
            history = await _history(running.client)
            _check(running, events)
    ranked = sorted(lags)
    growth = max(0.0, (memory[-1] - memory[len(memory) // 2]) / 1e6)
    shown = f"{events:,} events for one subscription in {seconds:.0f} s"
    return [
        Row(f"{shown}: length of the workflow's history", "events", (history,), aim="< 2,000"),
        Row("lag from commit to signal, p99", "ms", (ranked[len(ranked) * 99 // 100] * 1000,), aim="< 1,500 ms"),
        Row("worker's memory at the end", "MB", (memory[-1] / 1e6,)),
        Row("its growth in the second half", "MB", (growth,), aim="flat"),
    ]


async def _sell(http: httpx.AsyncClient) -> None:
    """Make an organization with one metric, one plan and one subscription."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if (await http.get("/livez")).status_code == 200:
                break
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the API starts"
        await asyncio.sleep(0.1)

    async def made(path: str, body: dict[str, Any]) -> Any:
        answer = await http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    http.headers["Authorization"] = f"Bearer {BOOTSTRAP_KEY}"
    key = (await made("/v1/organizations", {"name": "Bench"}))["api_key"]["key"]
    http.headers["Authorization"] = f"Bearer {key}"
    await made("/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
    charges = [{"metric_key": "api_calls", "pricing_model": "tiered", "tiers": [{"up_to": None, "unit_price": 0.001}]}]
    plan = {"id": "plan", "name": "Plan", "currency": "usd", "billing_period": "monthly", "charges": charges}
    await made("/v1/plans", plan)
    await made("/v1/customers", {"id": "busy", "name": "Busy"})
    await made("/v1/subscriptions", {"customer_id": "busy", "plan_id": "plan", "start_date": "2026-01-01T00:00:00Z"})


async def _send(
    running: Servers, http: httpx.AsyncClient, events: int, seconds: float
) -> tuple[Sequence[float], Sequence[int]]:
    """Send at a steady rate; give the lag of every version of the mark, and the worker's memory as time went on."""
    sending = asyncio.create_task(_paced(http, events, seconds))
    worker = _worker()
    waiting: dict[int, float] = {}
    lags: list[float] = []
    memory: list[int] = []
    known = 0
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as connection:
        while not sending.done() or waiting:
            row = await (await connection.execute(_LOOK)).fetchone()
            now = time.perf_counter()
            version, signalled = (0, 0) if row is None else row
            waiting |= dict.fromkeys(range(known + 1, version + 1), now)
            known = version
            for told in [each for each in waiting if each <= signalled]:
                lags.append(now - waiting.pop(told))
            memory.append(worker.memory_info().rss)
            await asyncio.sleep(EVALUATION_SECONDS)
    await sending
    return lags, memory


async def _paced(http: httpx.AsyncClient, events: int, seconds: float) -> None:
    batches = events // BATCH
    began = time.perf_counter()

    async def one(number: int) -> None:
        await asyncio.sleep(max(0.0, began + number * seconds / batches - time.perf_counter()))
        body = [
            {"customer_id": "busy", "metric_key": "api_calls", "value": 1, "idempotency_key": f"{number}-{place}"}
            for place in range(BATCH)
        ]
        answer = await http.post("/v1/events/batch", json=body)
        assert answer.status_code == 202, answer.text

    await asyncio.gather(*(one(number) for number in range(batches)))


def _worker() -> psutil.Process:
    children = psutil.Process(os.getpid()).children()
    return next(child for child in children if child.cmdline()[-2:] == ["-m", "worker"])


async def _history(client: Client) -> float:
    """Return the length of the longest history of the subscription's workflow."""
    listed = [found async for found in client.list_workflows("WorkflowType = 'SubscriptionWorkflow'")]
    lengths = [
        (await client.get_workflow_handle(found.id, run_id=found.run_id).describe()).history_length for found in listed
    ]
    assert lengths, "the subscription's workflow is listed"
    return float(max(lengths))


def _check(running: Servers, events: int) -> None:
    with psycopg.connect(running.admin_url) as connection:
        row = connection.execute(_COUNTED).fetchone()
    assert row is not None, "an aggregate has one row"
    assert int(row[0]) == events, f"{row[0]} of {events} events are counted"


if __name__ == "__main__":
    from bench.report import show

    show(asyncio.run(run(quick="--quick" in sys.argv, seconds=ALONE_SECONDS)))
