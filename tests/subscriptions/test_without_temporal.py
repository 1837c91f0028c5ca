"""With Temporal down subscriptions are still made and read; commands say to come back, and nothing is lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from devstack.embedded_postgres import EmbeddedPostgres
from devstack.processes import free_port
from tests.conftest import make_database
from tests.subscriptions.catalogue import get, post, stocked, subscribed
from tests.support.stack import Stack
from tests.waiting import eventually


@pytest.fixture
async def lonely(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[Stack]:
    """An API whose Temporal server does not exist."""
    fresh = make_database(postgres)
    stack = Stack(
        database_url=fresh.url,
        admin_url=fresh.admin_url,
        temporal_address=f"127.0.0.1:{free_port()}",
        directory=tmp_path,
        extra_environment={"DURABILL_COMMAND_TIMEOUT_SECONDS": "3"},
    )
    stack.start_api()
    try:

        async def answers() -> bool:
            try:
                async with stack.caller() as client:
                    return (await client.get("/livez")).status_code == 200
            except httpx.HTTPError:
                return False

        await eventually(answers, seconds=60)
        yield stack
    finally:
        stack.stop()


async def test_subscriptions_are_made_and_commands_ask_to_come_back(lonely: Stack) -> None:
    async with lonely.client() as client:
        await stocked(client)
        made = await subscribed(client)
        assert made["status"] == "active"
        assert (await get(client, f"/v1/subscriptions/{made['id']}"))["id"] == made["id"]
        refused = await client.post(f"/v1/subscriptions/{made['id']}/pause")
        assert (refused.status_code, refused.json()["code"]) == (503, "commands_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        illegal = await post(client, f"/v1/subscriptions/{made['id']}/resume", {}, 409)
        assert illegal["code"] == "illegal_transition"
        assert (await get(client, f"/v1/subscriptions/{made['id']}"))["status"] == "active"
