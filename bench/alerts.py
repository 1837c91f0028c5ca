"""From an event's 202 to its alert's trigger record, with every subscription busy and watched.

5,000 events/s in batches spread over 500 subscriptions with three alerts each; every subscription passes the nearest of
its lines at some time of the run, so that some sixteen alerts fire each second all along. The API and the worker are
processes of their own on durable servers; the load generator shares the machine with them. A trigger's time is that of
its row; an event's that of the answer to its batch. There is no limit beside it: an alert is a signal, a workflow task
and one transaction, and what those cost is in the other benchmarks.
"""

import asyncio
import contextlib
import json
import random
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg

from bench.closing import Servers, process, servers
from bench.report import Row
from devstack.processes import free_port

SUBSCRIPTIONS = 500
ALERTS = 3
BATCH = 100
RATE = 5000
SECONDS = 40.0
QUICK_SECONDS = 15.0
CONNECTIONS = 16
#: Of the events that a subscription gets in a run, the part in which its nearest threshold lies.
CROSSED = (0.1, 0.9)
SETTLE_SECONDS = 12.0
READY_SECONDS = 60.0
KEY = "bench-bootstrap-key"


@dataclass
class Watched:
    """One subscription: its customer, how many calls were acknowledged, and when each of its lines was passed."""

    customer: str
    lines: tuple[int, ...] = ()
    acknowledged: int = 0
    passed: dict[int, float] = field(default_factory=dict)

    def acknowledge(self, at: float) -> None:
        """Count one more call that was answered at a time."""
        self.acknowledged += 1
        if self.acknowledged in self.lines:
            self.passed[self.acknowledged] = at


async def run(quick: bool = False) -> list[Row]:
    """Measure the percentiles of the latencies, in milliseconds."""
    seconds = QUICK_SECONDS if quick else SECONDS
    async with servers() as running, serving(running) as client:
        watched = await subscribed(client)
        lines_to = int(RATE * seconds / SUBSCRIPTIONS)
        await draw(running, watched, lines_to)
        rate = await send(client, watched, seconds)
        latencies = await measured(running, watched)
    ranked = sorted(latencies)
    name = f"202 to trigger, {rate:,.0f} events/s over {SUBSCRIPTIONS} subscriptions with {ALERTS} alerts"
    return [
        Row(f"{name}, p50", "ms", (at(ranked, 50),), aim="< 400 ms"),
        Row(f"{name}, p99", "ms", (at(ranked, 99),), aim="< 1,500 ms"),
    ]


def at(ranked: list[float], percent: int) -> float:
    """Return a percentile of sorted seconds in milliseconds."""
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] * 1000


@contextlib.asynccontextmanager
async def serving(running: Servers) -> AsyncIterator[httpx.AsyncClient]:
    """Run the API and a worker; returns a client with the key of a new organization."""
    port = free_port()
    environment = {
        "DATABASE_URL": running.configuration.database_url.get_secret_value(),
        "DURABILL_DATABASE_ADMIN_URL": running.admin_url,
        "TEMPORAL_ADDRESS": running.temporal.address,
        "DURABILL_BOOTSTRAP_KEY": KEY,
        "DURABILL_SESSION_SECRET": KEY,
        "DURABILL_PORT": str(port),
        "DURABILL_LOG_LEVEL": "WARNING",
    }
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    api = ["-m", "uvicorn", "app:create_app", "--factory", *options, "--port", str(port)]
    with process(api, environment), process(["-m", "worker"], environment):
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as client:
            await ready(client)
            client.headers["Authorization"] = f"Bearer {KEY}"
            made = (await client.post("/v1/organizations", json={"name": "Bench"})).json()
            client.headers["Authorization"] = f"Bearer {made['api_key']['key']}"
            yield client


async def ready(client: httpx.AsyncClient) -> None:
    """Wait until API and worker are up."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if (await client.get("/healthz")).status_code == 200:
                return
        if time.monotonic() > deadline:
            raise RuntimeError("API and worker are not ready")
        await asyncio.sleep(0.1)


async def subscribed(client: httpx.AsyncClient) -> list[Watched]:
    """Make the catalogue, and customers with a subscription each."""

    async def post(path: str, body: dict[str, Any]) -> None:
        answer = await client.post(path, json=body)
        assert answer.status_code == 201, answer.text

    await post("/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
    charges = [{"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": "0.01"}]
    plan = {"id": "plan", "name": "Plan", "currency": "usd", "billing_period": "monthly", "charges": charges}
    await post("/v1/plans", plan)

    async def one(number: int) -> Watched:
        customer = f"cust_{number}"
        await post("/v1/customers", {"id": customer, "name": customer})
        await post("/v1/subscriptions", {"customer_id": customer, "plan_id": "plan", "start_date": _month_start()})
        return Watched(customer)

    return list(await asyncio.gather(*(one(number) for number in range(SUBSCRIPTIONS))))


def _month_start() -> str:
    return datetime.now(UTC).strftime("%Y-%m-01T00:00:00Z")


_DRAW = """
    INSERT INTO usage_alerts (id, project_id, subscription_id, metric_id, threshold_value)
    SELECT gen_random_uuid(), s.project_id, s.id, m.id, %s
    FROM subscriptions s JOIN customers c ON c.id = s.customer_id JOIN metrics m ON m.project_id = s.project_id
    WHERE c.code = %s
"""
_TELL = """
    INSERT INTO outbox (project_id, topic, ordering_key, payload)
    SELECT project_id, 'workflow.signal', 'subscription/' || project_id || '/' || id, jsonb_build_object(
        'workflow_id', 'subscription/' || project_id || '/' || id, 'signal', 'alerts_changed', 'message', '{}'::jsonb)
    FROM subscriptions
"""


async def draw(running: Servers, watched: list[Watched], events: int) -> None:
    """Give every subscription its alerts, and wait until their workflows have looked at them."""
    low, high = (int(events * part) for part in CROSSED)
    for each in watched:
        first = random.randint(max(low, 1), max(high, 1))
        each.lines = (first, *(events * factor for factor in range(2, ALERTS + 1)))
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as connection:
        cursor = connection.cursor()
        await cursor.executemany(_DRAW, [(line, each.customer) for each in watched for line in each.lines])
        await cursor.execute(_TELL)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            row = await (await cursor.execute("SELECT count(*) FROM evaluation_thresholds")).fetchone()
            if row is not None and row[0] == SUBSCRIPTIONS:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {row} subscriptions watch their alerts")
            await asyncio.sleep(0.2)


async def send(client: httpx.AsyncClient, watched: list[Watched], seconds: float) -> float:
    """Send batches at a steady pace, each call one unit for the next subscription; gives the events/s acknowledged."""
    order = [number % SUBSCRIPTIONS for number in range(int(RATE * seconds))]
    random.shuffle(order)
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    began, wall = time.perf_counter(), time.time()
    slots = asyncio.Semaphore(CONNECTIONS)

    async def one(numbers: list[int], starts: float) -> None:
        await asyncio.sleep(max(0.0, starts - (time.perf_counter() - began)))
        async with slots:
            body = {"events": [_event(watched[number].customer) for number in numbers]}
            answer = await client.post("/v1/events/batch", content=json.dumps(body))
        assert answer.status_code == 202, answer.text
        now = wall + time.perf_counter() - began
        for number in numbers:
            watched[number].acknowledge(now)

    await asyncio.gather(*(one(batch, place * BATCH / RATE) for place, batch in enumerate(batches)))
    return len(order) / (time.perf_counter() - began)


def _event(customer: str) -> dict[str, Any]:
    return {"customer_id": customer, "metric_key": "api_calls", "value": 1, "idempotency_key": uuid.uuid4().hex}


_TRIGGERS = """
    SELECT c.code, t.threshold_value, extract(epoch FROM t.created_at)
    FROM usage_alert_triggers t JOIN usage_alerts a ON a.id = t.usage_alert_id
    JOIN subscriptions s ON s.id = a.subscription_id JOIN customers c ON c.id = s.customer_id
"""


async def measured(running: Servers, watched: list[Watched]) -> list[float]:
    """Return the seconds from each crossing's answer to its trigger; every line has to have fired."""
    wanted = {(each.customer, line): at for each in watched for line, at in each.passed.items()}
    assert len(wanted) == len(watched), "every subscription passes its nearest line"
    deadline = time.monotonic() + SETTLE_SECONDS
    async with await psycopg.AsyncConnection.connect(running.admin_url, autocommit=True) as connection:
        while True:
            rows = await (await connection.execute(_TRIGGERS)).fetchall()
            if len(rows) >= len(wanted) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
    fired: dict[tuple[str, int], list[float]] = defaultdict(list)
    for customer, line, fired_at in rows:
        fired[customer, int(line)].append(float(fired_at))
    missing = [key for key in wanted if len(fired[key]) != 1]
    assert not missing, f"{len(missing)} of {len(wanted)} alerts did not fire once: {missing[:3]}"
    # A batch may have been answered just after its usage was seen.
    return [max(0.0, fired[key][0] - at) for key, at in wanted.items()]


if __name__ == "__main__":
    from bench.report import show

    show(asyncio.run(run(quick="--quick" in sys.argv)))
