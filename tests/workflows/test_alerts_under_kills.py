"""Fifty parallel events over the line, thirty times, while the worker is killed at random: each fires once."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from tests.conftest import make_database
from tests.subscriptions.catalogue import get, post
from tests.support.alerting import invoices, shop, subscribe, triggers, use, watch
from tests.support.receiver import Receiver, receiving
from tests.support.stack import Stack, running
from tests.waiting import eventually

TIMES = 30
EVENTS = 50
KILLS = 4


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_worker_killed_at_random_fires_and_tells_once(
    postgres: EmbeddedPostgres, temporal_server: TemporalServer, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    fresh = make_database(postgres)
    own = Stack(
        database_url=fresh.url,
        admin_url=fresh.admin_url,
        temporal_address=temporal_server.address,
        directory=tmp_path,
    )
    with running(own) as stack:
        async with stack.client() as client, receiving() as receiver:
            await post(client, "/v1/webhook_endpoints", {"url": receiver.url, "events": ["usage_alert.triggered"]})
            await shop(client, at=None)
            watched = await asyncio.gather(*(_watched(client, f"cust_{number}") for number in range(TIMES)))
            using = asyncio.create_task(_use(client))
            for _ in range(KILLS):
                await eventually(lambda: _fired(client), seconds=60, until=_at_least(chance.randrange(TIMES)))
                stack.kill_worker()
                stack.start_worker()
            await using
            context = f"seed {seed}"
            for subscription, alert in watched:
                (fired,) = await triggers(client, alert, 1)
                assert int(fired["current_usage"]) >= EVENTS // 2, context
                middle = await invoices(client, subscription, 1)
                assert [invoice["kind"] for invoice in middle] == ["progressive"], context
            told = await eventually(lambda: _told(receiver), seconds=60, until=lambda told: len(told) >= TIMES)
            assert Counter(alert_id for _, alert_id in told) == {alert["id"]: 1 for _, alert in watched}, context
            alerts = await get(client, "/v1/usage_alerts", limit=1000)
            assert {alert["times_triggered"] for alert in alerts} == {1}, context


async def _watched(client: httpx.AsyncClient, customer: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a subscription with an alert at half of its calls, and a threshold that all of them reach."""
    subscription = await subscribe(client, customer, at=None)
    path = f"/v1/subscriptions/{subscription['id']}/usage_thresholds"
    await post(client, path, {"amount_cents": EVENTS * 5})
    return subscription, await watch(client, subscription, EVENTS // 2)


async def _use(client: httpx.AsyncClient) -> None:
    """Send every subscription's calls, all of one at the same time."""
    for number in range(TIMES):
        await asyncio.gather(*(use(client, 1, customer=f"cust_{number}") for _ in range(EVENTS)))


async def _fired(client: httpx.AsyncClient) -> int:
    alerts = await get(client, "/v1/usage_alerts", limit=1000)
    return sum(alert["times_triggered"] for alert in alerts)


def _at_least(wanted: int) -> Any:
    return lambda fired: fired >= wanted


async def _told(receiver: Receiver) -> set[tuple[str, str]]:
    """Return the id of each message, however often it was delivered, with its alert."""
    return {(one.headers["webhook-id"], one.document["data"]["alert_id"]) for one in receiver.received}
