"""SIGKILL of the API in the middle of ingestion: what was acknowledged counts once, and a retry makes the rest one."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from devstack.processes import free_port
from tests.conftest import FreshDatabase
from tests.support.stack import ROOT, Stack
from tests.usage.conftest import Shop
from tests.waiting import eventually

KILLS = 20
CLIENTS = 8
BATCH = 25


@dataclass
class Killer:
    """Kills the serving process some answers after it began to answer, until it has done so often enough."""

    process: asyncio.subprocess.Process
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    kills: int = 0
    answers: int = 0
    serving: int | None = None
    next_kill: int = 0

    async def follow(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.next_kill = self.answers + self.chance.randrange(3, 20)
            self.serving = int(line)

    def answered(self) -> None:
        self.answers += 1
        if self.serving is not None and self.answers >= self.next_kill and self.kills < KILLS:
            os.kill(self.serving, signal.SIGKILL)
            self.serving = None
            self.kills += 1


@contextlib.asynccontextmanager
async def forking_api(stack: Stack) -> AsyncIterator[Killer]:
    command = [sys.executable, "-m", "tests.support.forking_api", str(stack.port)]
    with (stack.directory / "api.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=stack.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    killer = Killer(process)
    following = asyncio.create_task(killer.follow())
    try:
        yield killer
    finally:
        following.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@dataclass
class Client:
    """Sends single events and batches, each with keys of its own, and remembers which were acknowledged."""

    http: httpx.AsyncClient
    killer: Killer
    name: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    unanswered: list[list[dict[str, Any]]] = field(default_factory=list)

    async def run(self) -> None:
        number = 0
        while self.killer.kills < KILLS:
            number += 1
            size = BATCH if number % 4 == 0 else 1
            events = [
                {
                    "customer_id": "acme",
                    "metric_key": "api_calls",
                    "value": number + place,
                    "idempotency_key": f"{self.name}-{number}-{place}",
                }
                for place in range(size)
            ]
            try:
                await self.send(events)
            except httpx.TransportError:
                self.unanswered.append(events)

    async def send(self, events: list[dict[str, Any]]) -> None:
        path, body = ("/v1/events", events[0]) if len(events) == 1 else ("/v1/events/batch", {"events": events})
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 202, answer.text
        self.acknowledged |= {event["idempotency_key"]: event["value"] for event in events}
        self.killer.answered()


def stored(database: FreshDatabase) -> tuple[dict[str, int], int, int]:
    """Return the stored events with their values, and number and sum in the rollups."""
    with psycopg.connect(database.admin_url) as connection:
        rows = connection.execute("SELECT idempotency_key, value FROM events WHERE status = 'counted'").fetchall()
        totals = connection.execute("SELECT sum(event_count), sum(value_sum) FROM usage_rollups").fetchone()
    assert totals is not None
    assert len(rows) == len(dict(rows)), "no key is stored twice"
    return dict(rows), *totals


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_sigkill_loses_and_doubles_nothing(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    stack = Stack(fresh_database.url, fresh_database.admin_url, "127.0.0.1:9", tmp_path, port=free_port())
    async with forking_api(stack) as killer:
        await eventually(lambda: _alive(stack), seconds=60)
        key = (await stack.new_organization())["api_key"]["key"]
        limits = httpx.Limits(max_connections=CLIENTS + 1)
        headers = {"Authorization": f"Bearer {key}"}
        async with stack.caller(headers=headers, limits=limits) as http:
            await Shop(http).ready()
            clients = [Client(http, killer, f"client{number}") for number in range(CLIENTS)]
            await asyncio.gather(*(client.run() for client in clients))
            sent = {key: value for client in clients for key, value in client.acknowledged.items()}
            unanswered = [events for client in clients for events in client.unanswered]
            doubtful = {event["idempotency_key"] for events in unanswered for event in events}
            found, count, total = stored(fresh_database)
            assert killer.kills == KILLS
            assert unanswered, "a kill left requests without an answer"
            assert sent.items() <= found.items(), "what was acknowledged is stored"
            assert found.keys() <= sent.keys() | doubtful
            assert (count, total) == (len(found), sum(found.values())), "and counted once"
            for events in unanswered:
                await clients[0].send(events)
            found, count, total = stored(fresh_database)
            assert found.keys() == sent.keys() | doubtful, "a retry makes it one"
            assert (count, total) == (len(found), sum(found.values()))


async def _alive(stack: Stack) -> bool:
    async with stack.caller(timeout=5) as http:
        try:
            return (await http.get("/livez")).status_code == 200
        except httpx.TransportError:
            return False
