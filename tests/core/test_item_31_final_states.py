"""Item 31: what is terminated, canceled or ended refuses every change (409); only a subscription's notes stay notes."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post, sent
from tests.support.core_world import ACME, UNIT, core_world, fee, off

pytestmark = pytest.mark.stack


async def _wallet(client: httpx.AsyncClient, credits: str, **more: Any) -> dict[str, Any]:
    body = {"customer_id": ACME, "currency": "USD", "initial_granted_credits": credits, **more}
    document: dict[str, Any] = await post(client, "/v1/wallets", body)
    return document


@pytest.mark.parametrize(
    "change",
    [
        {"name": "New"},
        {"priority": 2},
        {"expiration_at": "2026-01-01T00:00:00Z"},
        {"expires_at": None},
        {"name": None},
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_item_31_a_terminated_wallet_refuses_every_change(
    client: httpx.AsyncClient, method: str, change: dict[str, Any]
) -> None:
    """409, and the wallet is as it was."""
    await core_world(client, fee("10.00"))
    path = f"/v1/wallets/{(await _wallet(client, '500', name='Old'))['id']}"
    await sent(client, "DELETE", path, 204)
    before = await get(client, path)
    answer = await client.request(method, path, json=change)
    assert (answer.status_code, await get(client, path)) == (409, before), answer.text


async def test_item_31_an_alert_on_an_ended_subscription_is_refused(client: httpx.AsyncClient) -> None:
    """Nothing will ever fire it: 409 at creation and at a change."""
    world = await core_world(client, UNIT)
    alert = {"subscription_id": world.subscription, "billable_metric_id": "u", "threshold_value": 10}
    known = await post(client, "/v1/usage_alerts", alert)
    await world.end()
    created = await client.post("/v1/usage_alerts", json={**alert, "threshold_value": 20})
    changed = await client.patch(f"/v1/usage_alerts/{known['id']}", json={"threshold_value": 20})
    assert (created.status_code, changed.status_code) == (409, 409), created.text


@pytest.mark.parametrize("change", [{"name": "New"}, {"status": "active"}, {"description": "New"}])
async def test_item_31_a_terminated_coupon_refuses_changes(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    """409, and it stays terminated."""
    await post(client, "/v1/coupons", off(percent="10"))
    await sent(client, "DELETE", "/v1/coupons/OFF", 204)
    answer = await client.patch("/v1/coupons/OFF", json=change)
    assert (answer.status_code, (await get(client, "/v1/coupons/OFF"))["status"]) == (409, "terminated"), answer.text


async def test_item_31_the_notes_of_an_ended_subscription_may_change(client: httpx.AsyncClient) -> None:
    """`metadata` and `external_reference` are the caller's own; what was sent back as it was read is no change."""
    world = await core_world(client, fee("10.00"))
    await world.end()
    notes = {
        "metadata": {"moved": "to plan b"},
        "external_reference": "crm-2",
        "on_termination_action": "generate_invoice",
    }
    changed = await sent(client, "PATCH", world.path, 200, json=notes)
    assert (changed["metadata"], changed["external_reference"]) == ({"moved": "to plan b"}, "crm-2")
