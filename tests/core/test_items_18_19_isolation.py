"""Items 18 and 19: one bad row stops nobody, and no tenant makes the schema grow."""

import asyncio
import contextlib
from typing import Any

import httpx
import psycopg
import pytest

from adapters.postgres.database import Database, ProjectScope, is_connection_loss
from adapters.temporal.relay import Relay
from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import clock_at, in_test_project, shop, subscribe, use
from tests.support.stack import Stack
from tests.waiting import eventually
from tests.workflows.conftest import Office, office

__all__ = ["office"]


def _partitions(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass").fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.stack
async def test_item_19_events_of_far_months_and_of_clocks_make_no_partitions(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    await in_test_project(client)
    clock = await clock_at(client, "2150-01-01T00:00:00Z")
    await shop(client, test_clock_id=clock)
    subscription = await subscribe(client, start_date="2100-01-01T00:00:00Z")
    before = _partitions(stack.admin_url)
    events: list[dict[str, Any]] = [
        {
            "subscription_id": subscription["id"],
            "metric_key": "u",
            "value": 1,
            "timestamp": f"{2100 + n // 12}-{n % 12 + 1:02}-05T00:00:00Z",
            "idempotency_key": f"far-{n}",
        }
        for n in range(48)
    ]
    answer = await post(client, "/v1/events/batch", events, 202)
    assert answer["accepted"] == 48, answer
    old = [{**event, "timestamp": event["timestamp"].replace("21", "19", 1)} for event in events]
    old = [
        {**event, "idempotency_key": f"old-{n}", "timestamp": f"{1975 + n // 12}-06-01T00:00:00Z"}
        for n, event in enumerate(old)
    ]
    await client.post("/v1/events/batch", json=old)
    assert _partitions(stack.admin_url) == before


@pytest.mark.parametrize("state", ["53100", "53200", "53400"])
def test_item_19_a_resource_error_is_not_a_lost_connection(state: str) -> None:
    """53100 disk full, 53200 out of memory, 53400 configuration limit: waiting for a connection cures none of them."""
    error = psycopg.errors.lookup(state)("no room")
    assert not is_connection_loss(error)


def test_item_19_too_many_connections_still_is_one() -> None:
    assert is_connection_loss(psycopg.errors.lookup("53300")("too many connections"))


@pytest.mark.stack
async def test_item_18_one_bad_mark_does_not_keep_the_others_from_being_told(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    """A quantity that cannot be read (NaN) belongs to one subscription; another one's alert fires all the same."""
    await shop(client)
    await post(client, "/v1/customers", {"id": "d", "name": "d"})
    bad, good = await subscribe(client, start_date=None), await subscribe(client, customer="d", start_date=None)
    for each in (bad, good):
        alert = {"subscription_id": each["id"], "billable_metric_id": "u", "threshold_value": 5}
        await post(client, "/v1/usage_alerts/", alert)
    await use(client, 1)

    def spoil() -> None:
        with psycopg.connect(stack.admin_url) as connection:
            connection.execute("UPDATE usage_rollups SET value_sum = 'NaN' WHERE subscription_id = %s", [bad["uuid"]])
            connection.execute(
                "UPDATE usage_watermarks SET version = version + 1, signalled_at = NULL WHERE subscription_id = %s",
                [bad["uuid"]],
            )

    spoil()
    try:
        await use(client, 9, customer_id="d")
        (watching,) = [each for each in await get(client, "/v1/usage_alerts/") if each["subscription_id"] == good["id"]]

        async def fired() -> list[Any]:
            found: list[Any] = await get(client, f"/v1/usage_alerts/{watching['id']}/triggers")
            return found

        assert len(await eventually(fired, seconds=25)) == 1
    finally:
        with psycopg.connect(stack.admin_url) as connection:
            connection.execute("UPDATE usage_rollups SET value_sum = 1 WHERE subscription_id = %s", [bad["uuid"]])


async def test_item_18_an_error_of_another_type_does_not_end_the_leadership(
    office: Office, database: Database, tenant: ProjectScope
) -> None:
    """A step that raises what nobody listed is logged and tried again; the steps beside it go on."""
    relay = Relay(office.client, database, office.configuration)
    others = asyncio.Event()
    failures = 0

    async def broken() -> bool:
        nonlocal failures
        failures += 1
        raise ZeroDivisionError

    async def fine() -> bool:
        if failures > 1:
            others.set()
        return False

    relay.flush_threshold_hits = broken  # type: ignore[method-assign]
    relay.deliver_due = fine  # type: ignore[method-assign]
    running = asyncio.create_task(relay.run())
    try:
        await asyncio.wait_for(others.wait(), 20)
        assert not running.done()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, ZeroDivisionError, ExceptionGroup):
            await running
