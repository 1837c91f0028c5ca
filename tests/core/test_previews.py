"""Item 29: a preview says what the wallets pay, as the invoice does (R25)."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post
from tests.support.core_world import ACME, core_world, fee, off

pytestmark = pytest.mark.stack

MAY = "2025-05-01T00:00:00Z"


async def _wallet(client: httpx.AsyncClient, credits: str, **more: Any) -> dict[str, Any]:
    body = {"customer_id": ACME, "currency": "USD", "initial_granted_credits": credits, **more}
    document: dict[str, Any] = await post(client, "/v1/wallets", body)
    return document


@pytest.mark.parametrize(
    ("wallets", "prepaid"),
    [
        pytest.param([("300", {})], 300, id="3.00 of 46.71"),
        pytest.param([("10000", {})], 4671, id="more than the total: 46.71"),
        pytest.param([("300", {}), ("1000", {"priority": 2})], 1300, id="two wallets: 13.00"),
        pytest.param([("3", {"rate_amount": "100"})], 300, id="3 credits at 1.00"),
        pytest.param([("300", {"currency": "EUR"}), ("200", {})], 200, id="the EUR one pays no USD: 2.00"),
    ],
)
async def test_item_29_a_preview_has_the_wallet(
    client: httpx.AsyncClient, wallets: list[tuple[str, dict[str, Any]]], prepaid: int
) -> None:
    """51.90 less 10 % = 46.71; the preview says what the wallets pay, and the invoice takes just that (R22, R25)."""
    world = await core_world(client, fee("51.90"), coupon=off(percent="10"))
    for credits, more in wallets:
        await _wallet(client, credits, **more)
    body = {"subscription_id": world.subscription, "cutoff_date": "2025-04-30T23:59:59Z"}
    preview = await post(client, "/v1/invoices/preview", body, 200)
    await world.to(MAY)
    (invoice,) = await world.invoices()
    assert (invoice["total_amount"], invoice["prepaid_credit_amount_cents"]) == (4671, str(prepaid))
    assert (preview["total_amount"], preview["prepaid_credit_amount_cents"]) == (4671, str(prepaid))


async def test_item_29_a_preview_of_a_customer_spends_the_wallet_once(client: httpx.AsyncClient) -> None:
    """Two subscriptions of 20.00 and a wallet of 30.00: 30.00 is prepaid of 40.00, not 20.00 + 20.00."""
    world = await core_world(client, fee("20.00"))
    body = {"customer_id": ACME, "plan_id": "plan_core", "start_date": "2025-04-01T00:00:00Z"}
    await post(client, "/v1/subscriptions", body)
    await _wallet(client, "3000")
    cutoff = {"customer_id": ACME, "cutoff_date": "2025-04-30T23:59:59Z"}
    preview = await post(client, "/v1/invoices/preview", cutoff, 200)
    await world.to(MAY)
    assert (preview["total_amount"], preview["prepaid_credit_amount_cents"]) == (4000, "3000")
