"""Postgres or Temporal go away and come back: what was acknowledged stays, what cannot be done now says so (503)."""

import asyncio
import functools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from adapters.postgres.migrate import create_database, upgrade
from devstack.embedded_postgres import EmbeddedPostgres
from devstack.processes import free_port
from devstack.temporal_server import TemporalServer
from tests.behaviours.test_platform import billable, event, quantity
from tests.support.stack import Stack, running
from tests.waiting import eventually


@dataclass
class Fragile:
    """A stack and the servers that a test may take away from it."""

    stack: Stack
    postgres: EmbeddedPostgres
    temporal: TemporalServer


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Fragile]:
    """A whole stack on servers of its own."""
    postgres = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    temporal = TemporalServer(tmp_path / "temporal", port=free_port())
    with ExitStack() as servers:
        for server in (postgres, temporal):
            servers.callback(server.stop)
            server.start()
        create_database(postgres.url(), "durabill")
        upgrade(postgres.url("durabill"))
        stack = Stack(
            database_url=postgres.url("durabill", user="durabill"),
            admin_url=postgres.url("durabill"),
            temporal_address=temporal.address,
            directory=tmp_path,
            extra_environment={"DURABILL_COMMAND_TIMEOUT_SECONDS": "5"},
        )
        servers.enter_context(running(stack))
        yield Fragile(stack, postgres, temporal)


async def test_without_temporal_usage_and_reads_go_on_commands_say_503_and_everything_catches_up(
    fragile: Fragile,
) -> None:
    async with fragile.stack.client() as client:
        subscription = await billable(client)
        fragile.temporal.stop()
        for number in range(10):
            assert (await client.post("/v1/events", json=event(f"without-{number}"))).status_code == 202
        assert await quantity(client, subscription) == 10
        made_meanwhile = await billable(client, customer="cust_q")
        assert (await client.post("/v1/events", json=event("q", customer="cust_q"))).status_code == 202
        refused = await client.post(f"/v1/subscriptions/{subscription}/pause")
        assert (refused.status_code, refused.json()["code"]) == (503, "commands_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await client.get(f"/v1/subscriptions/{subscription}")).json()["status"] == "active"

        fragile.temporal.start()
        fragile.stack.wait_until_ready()

        async def paused(name: str) -> int:
            return (await client.post(f"/v1/subscriptions/{name}/pause")).status_code

        for name in (subscription, made_meanwhile):
            await eventually(functools.partial(paused, name), seconds=60, until=lambda code: code == 200)
        for customer, total in (("cust_p", 1000), ("cust_q", 100)):
            answer = await client.post("/v1/invoices", json={"customer_id": customer})
            assert (answer.status_code, answer.json().get("total_amount")) == (201, total), answer.text


async def test_without_postgres_the_answer_is_503_and_nothing_acknowledged_is_lost(fragile: Fragile) -> None:
    """Postgres is killed in the middle of a stream of events; what was answered 202 is there when it is back."""
    acknowledged: set[str] = set()
    statuses: set[int] = set()
    async with fragile.stack.client() as client:
        subscription = await billable(client)
        enough = asyncio.Event()

        async def send(lane: int) -> None:
            number = 0
            while not enough.is_set():
                key, number = f"{lane}-{number}", number + 1
                try:
                    answer = await client.post("/v1/events", json=event(key))
                except httpx.HTTPError:
                    continue
                statuses.add(answer.status_code)
                if answer.status_code == 202:
                    acknowledged.add(key)

        async def seen() -> set[int]:
            return statuses if len(acknowledged) >= 50 else set()

        sending = [asyncio.create_task(send(lane)) for lane in range(4)]
        await eventually(seen)
        fragile.postgres.process.kill()
        await eventually(seen, until=lambda codes: 503 in codes)
        refused = await client.get(f"/v1/subscriptions/{subscription}")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        before = len(acknowledged)
        fragile.postgres.start()

        async def acknowledges_again() -> bool:
            return len(acknowledged) > before

        await eventually(acknowledges_again, seconds=60)
        enough.set()
        await asyncio.gather(*sending)
        assert statuses == {202, 503}
        fragile.stack.wait_until_ready()
        for key in acknowledged:
            again = await client.post("/v1/events", json=event(key))
            assert again.status_code == 202, again.text
        counted = await quantity(client, subscription)
        found = await client.get("/v1/events", params={"limit": 1})
        assert counted == int(found.headers["x-total-count"]) >= len(acknowledged)
