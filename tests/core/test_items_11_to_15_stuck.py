"""Items 11 to 15: nothing that a caller can ask for stops a subscription's billing for good, or loses an invoice."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post, sent
from tests.support.core_edges import (
    APRIL,
    MAY,
    UNIT,
    advance,
    clock_at,
    fee,
    in_test_project,
    invoices,
    shop,
    subscribe,
    use,
)
from tests.waiting import eventually

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


async def test_item_12_a_deleted_trial_with_a_held_coupon_has_nothing_to_bill(client: httpx.AsyncClient) -> None:
    await in_test_project(client)
    clock = await clock_at(client, "2025-01-01T00:00:00Z")
    await shop(client, UNIT, fee("30.00"), test_clock_id=clock)
    coupon = {"code": "T", "name": "T", "coupon_type": "percentage", "percentage_rate": "10", "frequency": "once"}
    await post(client, "/v1/coupons", coupon)
    await post(client, "/v1/coupons/apply", {"coupon_code": "T", "customer_id": "c"})
    start = "2025-01-01T00:00:00Z"
    subscription = await subscribe(client, start_date=start, trial_ends_at="2025-02-01T00:00:00Z")
    await advance(client, clock, "2025-01-10T00:00:00Z")
    await client.delete(f"/v1/subscriptions/{subscription['id']}")
    body = {"subscription_id": subscription["id"], "cutoff_date": "2025-03-15T00:00:00Z"}
    refused = await client.post("/v1/invoices", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_bill"), refused.text


async def test_item_12_nor_has_one_that_is_canceled_or_paused_before_its_trial_is_over(
    client: httpx.AsyncClient,
) -> None:
    await in_test_project(client)
    clock = await clock_at(client, "2025-01-01T00:00:00Z")
    await shop(client, UNIT, fee("30.00"), test_clock_id=clock)
    start = "2025-01-01T00:00:00Z"
    for command in ("cancel", "pause"):
        own = await subscribe(client, start_date=start, trial_ends_at="2025-02-01T00:00:00Z", external_id=command)
        await post(client, f"/v1/subscriptions/{own['id']}/{command}", {}, 200)
        body = {"subscription_id": own["id"], "cutoff_date": "2025-01-15T00:00:00Z"}
        refused = await client.post("/v1/invoices", json=body)
        assert refused.status_code in (409, 422), refused.text
        assert refused.json()["code"] in ("nothing_to_bill", "cutoff_before_open_period"), refused.text


@pytest.mark.parametrize("end", ["delete", "cancel"])
async def test_item_14_a_finalized_draft_of_an_ended_subscription_is_charged(
    client: httpx.AsyncClient, end: str
) -> None:
    await in_test_project(client)
    clock = await clock_at(client)
    card = {"payment_provider": "sandbox", "payment_provider_customer_id": "cus_ok"}
    await shop(client, test_clock_id=clock, **card)
    subscription = await subscribe(client)
    await use(client, 5, APRIL)
    await advance(client, clock, "2025-04-10T00:00:00Z")
    body = {"subscription_id": subscription["id"], "cutoff_date": "2025-04-10T00:00:00Z", "draft": True}
    draft = await post(client, "/v1/invoices", body)
    path = f"/v1/subscriptions/{subscription['id']}"
    if end == "cancel":
        await post(client, f"{path}/cancel", {}, 200)
        await advance(client, clock, "2025-05-02T00:00:00Z")
    else:
        answer = await client.delete(path)
        assert answer.status_code < 300, answer.text
    final = await sent(client, "POST", f"/v1/invoices/{draft['id']}/finalize", 200, json={})
    # Five units at 1.00.
    assert final["total_cents"] == "500"

    async def charged() -> httpx.Response:
        return await client.post(f"/v1/invoices/{draft['id']}/charge", json={})

    # It may have been collected by itself already.
    answer = await eventually(charged, seconds=10, until=lambda got: got.json().get("code") != "subscription_ended")
    assert (await get(client, f"/v1/invoices/{draft['id']}"))["status"] == "paid", answer.text


async def test_item_15_a_new_threshold_in_the_same_period_makes_its_own_invoice(client: httpx.AsyncClient) -> None:
    """UNIT; a threshold of 10.00 is crossed by 12 units, and deleted; a second one of 20.00 is crossed by 11 more.

    The first progressive invoice is 12.00, the second 11.00 (23 - 12), and the period's close has nothing left.
    """
    await in_test_project(client)
    clock = await clock_at(client)
    await shop(client, test_clock_id=clock)
    subscription = await subscribe(client)
    path = f"/v1/subscriptions/{subscription['id']}/usage_thresholds"

    async def totals() -> list[str]:
        found = await invoices(client, subscription_id=subscription["id"])
        return [each["total_cents"] for each in found]

    first = await post(client, path, {"amount_cents": 1000})
    await use(client, 12, APRIL)
    assert await eventually(totals, until=lambda found: len(found) >= 1) == ["1200"]
    await sent(client, "DELETE", f"/v1/usage_thresholds/{first['id']}", 204)
    # Usage stops being watched: an event that no alert and no threshold waits for.
    await use(client, 0, APRIL)
    await advance(client, clock, "2025-04-02T00:00:00Z")
    await use(client, 0, APRIL)
    await advance(client, clock, "2025-04-03T00:00:00Z")
    await post(client, path, {"amount_cents": 2000})
    await use(client, 11, APRIL)
    assert await eventually(totals, seconds=20, until=lambda found: len(found) >= 2) == ["1200", "1100"]
    await advance(client, clock, MAY)
    assert sum(int(total) for total in await totals()) == 2300
