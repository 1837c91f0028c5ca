"""Suspended subscriptions over HTTP, on the whole stack: B93, B136, B161 (conflicts C23)."""

from typing import Any

import httpx
import pytest

from tests.behaviours.test_clocks import advance, clock_at
from tests.subscriptions.catalogue import get, post, sent, stocked, subscribed
from tests.support.receiver import Receiver, receiving
from tests.waiting import eventually

pytestmark = pytest.mark.stack

TYPES = ["invoice.failed", "subscription.suspended", "subscription.reinstated"]


async def told(receiver: Receiver, kind: str) -> dict[str, Any]:
    """Wait for a message of that type, and give its data."""

    async def find() -> dict[str, Any] | None:
        return next((one.document["data"] for one in receiver.received if one.document["type"] == kind), None)

    found = await eventually(find)
    assert found is not None
    return found


async def test_b161_a_suspension_is_told_and_withholds_the_service(client: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        await post(client, "/v1/webhook_endpoints", {"url": receiver.url, "events": ["subscription.suspended"]})
        await stocked(client)
        made = await subscribed(client)
        path = f"/v1/subscriptions/{made['id']}"
        refused = await post(client, f"{path}/reinstate", {}, 409)
        assert refused["code"] == "illegal_transition"
        assert (refused["status"], refused["subscription_status"]) == (409, "active")
        assert refused["detail"].endswith("it can pause, suspend, cancel, terminate.")
        await post(client, f"{path}/suspend", {"reason": "x" * 501}, 422)
        held = await post(client, f"{path}/suspend", {"reason": "Chargeback under review"}, 200)
        assert held["status"] == "suspended"
        data = await told(receiver, "subscription.suspended")
        shown = {"subscription_id": made["id"], "status": "suspended", "reason": "Chargeback under review"}
        assert shown.items() <= data.items()
        await post(client, f"{path}/pause", {}, 409)
        reservation = {"metric": "api_calls", "quantity": 1}
        assert (await post(client, f"{path}/reservations", reservation, 409))["code"] == "subscription_suspended"
        event = {"subscription_id": made["id"], "metric_key": "api_calls", "value": 5, "idempotency_key": "held"}
        assert (await post(client, "/v1/events", event, 202))["status"] == "accepted"
        assert (await sent(client, "PATCH", path, 200, json={"status": "active"}))["status"] == "active"
        await post(client, f"{path}/reservations", reservation)
        assert (await sent(client, "PATCH", path, 200, json={"action": "suspend"}))["status"] == "suspended"
        assert (await client.post(f"{path}/reinstate")).json()["status"] == "active"
        lived = (await get(client, f"{path}/lifecycle"))["events"]
    assert [one["metadata"].get("reason") for one in lived if one["status"] == "suspended"] == [
        "Chargeback under review",
        None,
    ]
    statuses = [one["status"] for one in lived if one["status"] in ("suspended", "active")]
    assert statuses[-4:] == ["suspended", "active"] * 2


async def test_b93_b136_a_card_that_never_pays_suspends_and_a_payment_reinstates(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    async with receiving() as receiver:
        await post(client, "/v1/webhook_endpoints", {"url": receiver.url, "events": TYPES})
        await stocked(
            client, test_clock_id=clock, payment_provider="sandbox", payment_provider_customer_id="cus_decline"
        )
        path = f"/v1/subscriptions/{(await subscribed(client, start_date='2026-01-01T00:00:00Z'))['id']}"
        await advance(client, clock, "2026-02-17T00:00:00Z")
        assert (await get(client, path))["status"] == "suspended"
        (unpaid,) = await get(client, "/v1/invoices", customer_id="cust_acme")
        data = await told(receiver, "subscription.suspended")
        assert data["reason"] == f"Every scheduled payment attempt failed for {unpaid['invoice_number']}."
        # A clock lets 16 days pass at once, so only the messages about one resource keep their order.
        assert receiver.types()[0] == "invoice.failed"
        notices = await get(client, "/v1/notifications/", category="billing")
        assert [one["resource_type"] for one in notices] == ["subscription"]
        await post(client, f"/v1/invoices/{unpaid['id']}/pay", {}, 200)
        assert (await told(receiver, "subscription.reinstated"))["status"] == "active"
    assert (await get(client, path))["status"] == "active"
