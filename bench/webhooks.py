"""Deliveries/s of webhooks to a local receiver while another endpoint hangs, beside posts of the same bodies alone.

The sender is a process of its own on a durable Postgres, as in the worker: outbox rows become messages, are signed and
posted over a connection each, and the attempts are recorded. Its limit posts the same bodies in the same way, with no
database. What nobody wants is measured by itself: every closed period writes two such rows.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.migrate import create_database, upgrade
from adapters.postgres.webhooks import webhook_fanout_store
from adapters.webhooks.sign import new_secret, signed_headers
from bench.report import Row
from devstack.embedded_postgres import EmbeddedPostgres
from models.identifiers import new_id

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "bench_webhooks"
MESSAGES = 1200
UNWANTED = 5000
RESOURCES = 200
ROUNDS = 3
AT_ONCE = 4
PATIENCE_SECONDS = 60.0

_SAY = """
    INSERT INTO outbox (project_id, topic, ordering_key, payload)
    SELECT %(project)s, 'webhook', 'webhook/invoice/' || n %% %(resources)s, jsonb_build_object('type', 'invoice.paid',
        'data', jsonb_build_object('invoiceId', 'inv_' || n, 'amount', 120, 'currency', 'usd', 'status', 'paid'))
    FROM generate_series(1, %(messages)s) n
"""


class Counter:
    """A receiver that counts what comes, and answers 200 unless it hangs."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.hangs = hangs
        self.received = 0
        self.wanted = 0
        self.enough = asyncio.Event()

    def expect(self, number: int) -> None:
        """Start to count anew."""
        self.received, self.wanted = 0, number
        self.enough.clear()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            if self.hangs:
                await reader.read()
            else:
                self.received += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                await writer.drain()
                if self.received == self.wanted:
                    self.enough.set()
        writer.close()


@contextlib.asynccontextmanager
async def listening(counter: Counter) -> AsyncIterator[str]:
    """Serve a receiver on a free port; returns its address."""
    server = await asyncio.start_server(counter.handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hooks"
    finally:
        server.close()


async def run(*, quick: bool = False) -> list[Row]:
    """Measure deliveries with one endpoint hanging, and rows that nobody wants."""
    rounds, messages = (1, MESSAGES // 3) if quick else (ROUNDS, MESSAGES)
    quick_one, hanging = Counter(), Counter(hangs=True)
    figures, limits = [], []
    with tempfile.TemporaryDirectory(prefix="durabill-bench-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres", durable=True)
        postgres.start()
        try:
            create_database(postgres.url(), DATABASE)
            upgrade(postgres.url(DATABASE))
            unwanted = [await unwanted_round(postgres) for _ in range(rounds)]
            async with listening(quick_one) as url, listening(hanging) as slow_url:
                register(postgres, [url, slow_url])
                async with sending(postgres, Path(directory)):
                    await delivery_round(postgres, quick_one, messages // 3)  # warms it up
                    for _ in range(rounds):
                        limits.append(await post_round(quick_one, url, messages))
                        figures.append(await delivery_round(postgres, quick_one, messages))
        finally:
            postgres.stop()
    aim = "at least 200 a second on 2 cores"
    return [
        Row(
            "webhooks, one endpoint hanging", "deliveries/s", tuple(figures), "the same posts alone", tuple(limits), aim
        ),
        Row("webhook rows that nobody wants", "rows/s", tuple(unwanted)),
    ]


PROJECT = new_id()


def register(postgres: EmbeddedPostgres, urls: list[str]) -> None:
    """Make a project with an endpoint for each address."""
    with psycopg.connect(postgres.url(DATABASE), autocommit=True) as connection:
        organization = new_id()
        connection.execute(
            "INSERT INTO organizations (id, name, slug) VALUES (%s, 'Bench', %s)", (organization, str(organization))
        )
        connection.execute(
            "INSERT INTO projects (id, organization_id, name, is_default) VALUES (%s, %s, 'Bench', true)",
            (PROJECT, organization),
        )
        for url in urls:
            connection.execute(
                "INSERT INTO webhook_endpoints (id, project_id, url, secrets) VALUES (%s, %s, %s, %s)",
                (new_id(), PROJECT, url, [new_secret()]),
            )


def say(postgres: EmbeddedPostgres, messages: int) -> None:
    """Write outbox rows."""
    with psycopg.connect(postgres.url(DATABASE), autocommit=True) as connection:
        connection.execute(_SAY, {"project": PROJECT, "resources": RESOURCES, "messages": messages})


@contextlib.asynccontextmanager
async def sending(postgres: EmbeddedPostgres, directory: Path) -> AsyncIterator[None]:
    """Run the process that sends."""
    environment = {
        **os.environ,
        "DATABASE_URL": postgres.url(DATABASE, user="durabill"),
        "DURABILL_WEBHOOK_ALLOW_PRIVATE": "true",
    }
    process = _started(environment, directory / "sender.log")
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _started(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "bench.webhook_sender"]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


async def delivery_round(postgres: EmbeddedPostgres, counter: Counter, messages: int) -> float:
    """Say something, and wait until the endpoint that does not hang has heard all of it; gives deliveries/s."""
    counter.expect(messages)
    began = time.perf_counter()
    await asyncio.to_thread(say, postgres, messages)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await counter.enough.wait()
    return messages / (time.perf_counter() - began)


async def post_round(counter: Counter, url: str, messages: int) -> float:
    """Sign and post as many bodies, as many at once, without a database; gives posts/s."""
    counter.expect(messages)
    secret = new_secret()
    transport = httpx.AsyncHTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
    numbers = iter(range(messages))

    async def post() -> None:
        for number in numbers:
            data = {"invoiceId": f"inv_{number}", "amount": 120, "currency": "usd", "status": "paid"}
            body = json.dumps(
                {"id": f"msg_{number}", "type": "invoice.paid", "sequence": number, "data": data}
            ).encode()
            headers = signed_headers(f"msg_{number}", body, [secret], at=datetime.now(UTC))
            answer = await transport.handle_async_request(httpx.Request("POST", url, headers=headers, content=body))
            await answer.aclose()

    began = time.perf_counter()
    await asyncio.gather(*(post() for _ in range(AT_ONCE)))
    taken = time.perf_counter() - began
    await transport.aclose()
    return messages / taken


async def unwanted_round(postgres: EmbeddedPostgres) -> float:
    """Take rows off the outbox that no endpoint asks for; gives rows/s."""
    await asyncio.to_thread(say, postgres, UNWANTED)
    database = Database(postgres.url(DATABASE, user="durabill"), pool_size=2)
    began, done = time.perf_counter(), 0
    while done < UNWANTED:
        async with database.transaction(SYSTEM) as connection:
            done += (await webhook_fanout_store.fan_out(connection, limit=500)).rows
    taken = time.perf_counter() - began
    await database.close()
    return UNWANTED / taken
