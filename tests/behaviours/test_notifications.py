"""Notifications over HTTP, on the whole stack (B175)."""

from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def notifications(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/v1/notifications/", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def unread(client: httpx.AsyncClient) -> int:
    return int((await client.get("/v1/notifications/unread_count")).json()["unread_count"])


async def test_b175_what_goes_wrong_is_told_until_it_is_read(stack: Stack, client: httpx.AsyncClient) -> None:
    # Nothing listens there.
    endpoint = await quickstart.made(
        client, "/v1/webhook_endpoints", {"url": "http://127.0.0.1:9/hooks", "events": ["invoice.created"]}
    )
    await quickstart.acme(client, payment_provider_customer_id="cus_decline")
    assert (await notifications(client), await unread(client)) == ([], 0)
    invoice = await quickstart.invoice(client)
    await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})

    async def told() -> list[dict[str, Any]]:
        return await notifications(client)

    found = await eventually(told, until=lambda all_: {one["category"] for one in all_} == {"payment", "webhook"})
    assert await unread(client) == len(found) >= 2
    payment = next(one for one in found if one["category"] == "payment")
    assert (payment["resource_type"], payment["is_read"]) == ("invoice", False)
    assert payment["title"] == f"Payment failed for invoice {invoice['invoice_number']}"
    hook = next(one for one in found if one["category"] == "webhook")
    assert (hook["resource_type"], hook["resource_id"]) == ("webhook_endpoint", endpoint["id"])
    read = await client.post(f"/v1/notifications/{payment['id']}/read")
    assert (read.status_code, read.json()["is_read"]) == (200, True)
    assert await unread(client) == len(found) - 1
    assert [one["id"] for one in await notifications(client, is_read=True)] == [payment["id"]]
    assert [one["id"] for one in await notifications(client, category="payment", is_read=False)] == []
    everything = await client.post("/v1/notifications/read_all")
    assert (everything.status_code, everything.json()) == (200, {"unread_count": 0})
    async with stack.client("Other") as other:
        assert await notifications(other) == []
        assert (await other.post(f"/v1/notifications/{payment['id']}/read")).status_code == 404
    assert (await client.post("/v1/notifications/nothing/read")).status_code == 404
