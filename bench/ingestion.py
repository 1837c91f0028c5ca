"""Events/s by batches and one at a time, each beside its limit on the same machine in the same run.

A batch's limit is one client, over one connection, that sends the same rows by COPY into a staging table and INSERT
... ON CONFLICT into a table with the key alone: no validation, no references, no rollups. What sixteen such connections
reach is shown as well: that is Postgres's limit rather than a client's. A single event's limit is a FastAPI route that
validates the same body and stores nothing; its 99th percentile is taken at half of the rate that was reached. The real
API runs as a process of its own on a durable Postgres; the load generator shares the machine with it.
"""

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from adapters.postgres.migrate import create_database, upgrade
from bench import http_load
from bench.report import Row
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.processes import free_port

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "bench_ingestion"
BOOTSTRAP_KEY = "bench-bootstrap-key"
CUSTOMERS = 50
CONNECTIONS = 16
BATCH = 1000
BATCHES_EACH = 4
SINGLE_CONNECTIONS = 64
SINGLES_EACH = 60
ROUNDS = 5
HALF_LOAD_SECONDS = 1.5
READY_SECONDS = 60.0

_RAW_TABLE = """
    CREATE TABLE raw_events (
        project_id uuid, idempotency_key text, id uuid, metric_ref text, customer_ref text, value numeric(38, 18),
        occurred_at timestamptz, metric_id uuid, customer_id uuid, subscription_id uuid, status text,
        received_at timestamptz, PRIMARY KEY (project_id, idempotency_key)
    )
"""
_RAW_STAGE = "CREATE TEMP TABLE staged (LIKE raw_events) ON COMMIT DELETE ROWS"
_RAW_STORE = "INSERT INTO raw_events SELECT * FROM staged ON CONFLICT (project_id, idempotency_key) DO NOTHING"


@dataclass
class Shop:
    """A running API, and the key of an organization that sells usage to some customers."""

    postgres: EmbeddedPostgres
    port: int
    noop_port: int
    key: str


async def run(*, quick: bool = False) -> list[Row]:
    """Measure batches and singles, each round beside a round of its limit."""
    rounds = 2 if quick else ROUNDS
    batches, raws, alone, singles, noops = [], [], [], [], []
    async with shop() as running:
        await single_round(running)  # warms both servers up
        await batch_round(running)
        for _ in range(rounds):
            alone.append(await raw_round(running, connections=1))
            batches.append(await batch_round(running))
            raws.append(await raw_round(running, connections=CONNECTIONS))
        for _ in range(rounds):
            noops.append(await single_round(running, noop=True))
            singles.append(await single_round(running))
        half = statistics.median(singles) / 2
        calm = [await half_load_round(running, half) for _ in range(rounds)]
    return [
        Row(
            f"batches of 1,000 events, {CONNECTIONS} connections",
            "events/s",
            tuple(batches),
            "COPY + ON CONFLICT by one bare client",
            tuple(alone),
            aim=">= 60%",
        ),
        Row(
            "the same",
            "events/s",
            tuple(batches),
            f"COPY + ON CONFLICT over {CONNECTIONS} bare connections",
            tuple(raws),
        ),
        Row(
            f"single events, {SINGLE_CONNECTIONS} connections",
            "events/s",
            tuple(singles),
            "FastAPI route that stores nothing",
            tuple(noops),
            aim=">= 60%",
        ),
        Row(f"single events at {half:,.0f}/s (half load), p99", "ms", tuple(calm), aim="< 50 ms"),
    ]


def event(key: str) -> dict[str, Any]:
    """Make an event of a random customer in the last minutes."""
    at = datetime.now(UTC) - timedelta(seconds=random.random() * 600)
    return {
        "customer_id": f"cust_{random.randrange(CUSTOMERS)}",
        "metric_key": "api_calls",
        "value": random.randrange(1, 1000),
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "idempotency_key": key,
    }


def _keys(count: int) -> list[str]:
    run_id = uuid.uuid4().hex[:12]
    return [f"req_{random.getrandbits(64):016x}{run_id}{number:x}" for number in range(count)]


async def batch_round(running: Shop) -> float:
    """Return events/s of batches."""
    requests = [
        [
            http_load.request(
                "/v1/events/batch", json.dumps({"events": [event(key) for key in _keys(BATCH)]}).encode(), running.key
            )
            for _ in range(BATCHES_EACH)
        ]
        for _ in range(CONNECTIONS)
    ]
    load = await http_load.send(running.port, requests, expect=202)
    return CONNECTIONS * BATCHES_EACH * BATCH / load.seconds


async def single_round(running: Shop, *, noop: bool = False) -> float:
    """Return events/s of single requests, to the API or to the route that stores nothing."""
    requests = [
        [http_load.request("/v1/events", json.dumps(event(key)).encode(), running.key) for key in _keys(SINGLES_EACH)]
        for _ in range(SINGLE_CONNECTIONS)
    ]
    load = await http_load.send(running.noop_port if noop else running.port, requests, expect=202)
    return SINGLE_CONNECTIONS * SINGLES_EACH / load.seconds


async def half_load_round(running: Shop, rate: float) -> float:
    """Return the 99th percentile of single events at a steady rate, in milliseconds."""
    count = int(rate * HALF_LOAD_SECONDS)
    requests = [http_load.request("/v1/events", json.dumps(event(key)).encode(), running.key) for key in _keys(count)]
    load = await http_load.paced(running.port, requests, rate=rate, connections=SINGLE_CONNECTIONS, expect=202)
    return load.percentile(99) * 1000


async def raw_round(running: Shop, *, connections: int) -> float:
    """Return rows/s of the limit: rows made beforehand, one transaction for each thousand."""
    each = BATCHES_EACH * (CONNECTIONS // connections if connections > 1 else 4)
    rows = [[_raw_rows() for _ in range(each)] for _ in range(connections)]
    opened = [await psycopg.AsyncConnection.connect(running.postgres.url(DATABASE)) for _ in range(connections)]
    for connection in opened:
        await connection.execute(_RAW_STAGE)
        await connection.commit()
    began = time.perf_counter()
    await asyncio.gather(*(_copy(pair[0], pair[1]) for pair in zip(opened, rows, strict=True)))
    seconds = time.perf_counter() - began
    for connection in opened:
        await connection.close()
    return connections * each * BATCH / seconds


async def _copy(connection: "psycopg.AsyncConnection[Any]", batches: Sequence[bytes]) -> None:
    for batch in batches:
        cursor = connection.cursor()
        async with cursor.copy("COPY staged FROM STDIN") as copy:
            await copy.write(batch)
        await cursor.execute(_RAW_STORE, prepare=True)
        await connection.commit()


def _raw_rows() -> bytes:
    project, metric = uuid.UUID(int=1), uuid.uuid4()
    lines = []
    for key in _keys(BATCH):
        sent = event(key)
        customer = uuid.UUID(int=random.randrange(CUSTOMERS))
        fields = (project, key, uuid.uuid4(), "api_calls", sent["customer_id"], sent["value"], sent["timestamp"])
        lines.append("\t".join(map(str, (*fields, metric, customer, customer, "counted", sent["timestamp"]))))
    return ("\n".join(lines) + "\n").encode()


@contextlib.asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    """Start Postgres and both servers, and make a catalogue with customers and subscriptions."""
    with tempfile.TemporaryDirectory(prefix="durabill-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        postgres = EmbeddedPostgres(directory / "postgres", durable=True)
        postgres.start()
        try:
            create_database(postgres.url(), DATABASE)
            upgrade(postgres.url(DATABASE))
            with psycopg.connect(postgres.url(DATABASE), autocommit=True) as connection:
                connection.execute(_RAW_TABLE)
            with _servers(postgres, directory) as (port, noop_port):
                yield Shop(postgres, port, noop_port, await _sell(port))
        finally:
            postgres.stop()


@contextlib.contextmanager
def _servers(postgres: EmbeddedPostgres, directory: Path) -> Iterator[tuple[int, int]]:
    """Run the API and the route that stores nothing, each as one process with the same server options."""
    ports = free_port(), free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": postgres.url(DATABASE, user="durabill"),
        "DURABILL_DATABASE_ADMIN_URL": postgres.url(DATABASE),
        # Nothing of this benchmark needs Temporal, and ingestion must not either.
        "TEMPORAL_ADDRESS": "127.0.0.1:9",
        "DURABILL_BOOTSTRAP_KEY": BOOTSTRAP_KEY,
        "DURABILL_SESSION_SECRET": BOOTSTRAP_KEY,
        "DURABILL_HOME": str(directory),
        "DURABILL_PORT": str(ports[0]),
    }
    applications = (["app:create_app", "--factory"], ["bench.noop_api:app"])
    started = []
    try:
        for application, port, log in zip(applications, ports, ("api", "noop"), strict=True):
            options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
            command = [sys.executable, "-m", "uvicorn", *application, *options, "--port", str(port)]
            with (directory / f"{log}.log").open("wb") as output:
                started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output))
        for port, path in zip(ports, ("/livez", "/openapi.json"), strict=True):
            _wait(f"http://127.0.0.1:{port}{path}")
        yield ports
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=20)


def _wait(url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


async def _sell(port: int) -> str:
    """Make an organization with a metric, a plan, customers and subscriptions; returns its key."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        async def made(path: str, body: dict[str, Any]) -> Any:
            answer = await client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            return answer.json()

        client.headers["Authorization"] = f"Bearer {BOOTSTRAP_KEY}"
        key = str((await made("/v1/organizations", {"name": "Bench"}))["api_key"]["key"])
        client.headers["Authorization"] = f"Bearer {key}"
        await made("/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
        tiers = [{"up_to": 1000, "unit_price": 0}, {"up_to": None, "unit_price": 0.001}]
        charges = [{"metric_key": "api_calls", "pricing_model": "tiered", "tiers": tiers}]
        plan = {"id": "plan", "name": "Plan", "currency": "usd", "billing_period": "monthly", "charges": charges}
        await made("/v1/plans", plan)
        for number in range(CUSTOMERS):
            await made("/v1/customers", {"id": f"cust_{number}", "name": f"Customer {number}"})
            body = {"customer_id": f"cust_{number}", "plan_id": "plan", "start_date": "2020-01-01T00:00:00Z"}
            await made("/v1/subscriptions", body)
    return key


if __name__ == "__main__":
    from bench.report import show

    show(asyncio.run(run(quick="--quick" in sys.argv)))
