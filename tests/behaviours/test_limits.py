"""Hard limits over HTTP, on the whole stack: the worked numbers of docs/limits.md, and their time."""

from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def _subscribed(client: httpx.AsyncClient, **more: Any) -> str:
    await quickstart.catalogue(client, charges=[quickstart.PLAN["charges"][0]])
    await quickstart.customer(client, **more)
    return str((await quickstart.subscription(client))["id"])


async def _standing(client: httpx.AsyncClient, subscription: str) -> list[Any]:
    (limit,) = (await client.get(f"/v1/subscriptions/{subscription}/limits")).json()
    return [limit[name] for name in ("used", "reserved", "left")]


async def test_an_ended_subscription_takes_no_new_cap(client: httpx.AsyncClient) -> None:
    path = f"/v1/subscriptions/{await _subscribed(client)}"
    assert (await client.delete(path)).status_code == 204
    refused = await client.post(f"{path}/limits", json={"metric_key": "api_calls", "cap": 1})
    assert (refused.status_code, refused.json()["code"]) == (409, "subscription_ended")


async def test_a_cap_of_50_calls_as_the_document_tells_it(client: httpx.AsyncClient) -> None:
    subscription = await _subscribed(client)
    reservations = f"/v1/subscriptions/{subscription}/reservations"
    await quickstart.made(client, f"/v1/subscriptions/{subscription}/limits", {"metric_key": "api_calls", "cap": 50})
    event = {"subscription_id": subscription, "metric_key": "api_calls"}
    await quickstart.made(client, "/v1/events", {**event, "value": 20})
    first = await quickstart.made(client, reservations, {"metric": "api_calls", "quantity": 10})
    refused = await client.post(reservations, json={"metric": "api_calls", "quantity": 25})
    assert (refused.status_code, refused.json()["code"]) == (409, "limit_reached")
    assert [refused.json()["limit"][name] for name in ("cap", "used", "reserved", "left")] == [50, 20, 10, 20]
    second = await quickstart.made(client, reservations, {"metric": "api_calls", "quantity": 20})
    assert await _standing(client, subscription) == [20, 30, 0]
    done = await quickstart.made(client, f"/v1/reservations/{first['id']}/commit", {"quantity": 7})
    assert (done["status"], done["committed_quantity"]) == ("committed", 7)
    assert await _standing(client, subscription) == [27, 20, 3]
    await quickstart.made(client, f"/v1/reservations/{second['id']}/release", {})
    await quickstart.made(client, "/v1/events", {**event, "value": 30})
    assert await _standing(client, subscription) == [57, 0, 0]

    async def units() -> Any:
        state = await client.get(f"/v1/subscriptions/{subscription}/current_usage")
        return state.json()["charges"][0]["units"]

    await eventually(units, until=lambda found: str(found) == "57")


async def test_a_cap_starts_again_with_the_period_of_the_test_clock(client: httpx.AsyncClient) -> None:
    clock = await quickstart.made(client, "/v1/test_clocks", {"frozen_time": "2026-04-10T00:00:00Z"})
    subscription = await _subscribed(client, test_clock_id=clock["id"], payment_provider="manual")
    reservations = f"/v1/subscriptions/{subscription}/reservations"
    await quickstart.made(client, f"/v1/subscriptions/{subscription}/limits", {"metric_key": "api_calls", "cap": 5})
    held = await quickstart.made(client, reservations, {"metric": "api_calls", "quantity": 5})
    await quickstart.made(client, f"/v1/reservations/{held['id']}/commit", {})
    assert (await client.post(reservations, json={"metric": "api_calls", "quantity": 1})).status_code == 409
    advance = {"frozen_time": "2026-05-02T00:00:00Z", "wait": 60}
    await quickstart.made(client, f"/v1/test_clocks/{clock['id']}/advance", advance)
    again = await quickstart.made(client, reservations, {"metric": "api_calls", "quantity": 5})
    assert [again["limits"][0][name] for name in ("used", "reserved", "left")] == [0, 5, 0]
    assert again["limits"][0]["period_start"] == "2026-05-01T00:00:00Z"
    (invoice,) = (await client.get("/v1/invoices", params={"subscription_id": subscription})).json()
    assert [line["quantity"] for line in invoice["line_items"] if line["quantity"]] in ([5], ["5"])
