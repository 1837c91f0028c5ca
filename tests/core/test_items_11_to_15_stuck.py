"""Items 11 to 15: nothing that a caller can ask for stops a subscription's billing for good, or loses an invoice."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get
from tests.support.core_edges import (
    MAY,
    advance,
    clock_at,
    fee,
    in_test_project,
    invoices,
    shop,
    subscribe,
)

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"external_id": "x", "start_date": None}, id="without a start"),
        pytest.param({"external_id": "x", "start_date": None, "trial_period_days": 60}, id="without a start, in trial"),
        pytest.param({"trial_ends_at": "2025-06-01T00:00:00Z"}, id="ends in its trial"),
        pytest.param({"start_date": None, "subscription_at": "2025-04-10T00:00:00Z"}, id="starts and ends ahead"),
    ],
)
async def test_item_11_an_agreed_end_comes_whatever_the_status(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    await in_test_project(client)
    clock = await clock_at(client)
    await shop(client, fee("30.00"), test_clock_id=clock)
    subscription = await subscribe(client, ending_at="2025-04-20T00:00:00Z", **more)
    moved = await advance(client, clock, "2025-07-01T00:00:00Z")
    assert moved["status"] == "ready", moved
    assert (await get(client, f"/v1/subscriptions/{subscription['id']}"))["status"] == "canceled"
    totals = [invoice["total_cents"] for invoice in await invoices(client)]
    # Nothing began, or only the trial ran: no invoice. From 10 to 20 April: 30.00 x 10/30 = 10.00.
    assert totals == (["1000"] if "subscription_at" in more else [])


async def test_item_11_what_waits_to_be_activated_refuses_it_after_its_end(client: httpx.AsyncClient) -> None:
    await in_test_project(client)
    clock = await clock_at(client)
    await shop(client, fee("30.00"), test_clock_id=clock)
    waiting = await subscribe(client, external_id="x", start_date=None, ending_at="2025-04-20T00:00:00Z")
    await advance(client, clock, MAY)
    refused = await client.post(f"/v1/subscriptions/{waiting['id']}/activate", json={})
    assert (refused.status_code, refused.json()["code"]) in {(409, "illegal_transition"), (409, "subscription_ended")}
