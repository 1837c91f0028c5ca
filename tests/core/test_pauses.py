"""Items 5 and 28: a pause stops fees for its time and loses nothing that was used before it (R14, R21)."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post, sent
from tests.support.core_world import CARD, JANUARY, UNIT, CoreWorld, core_world, fee

pytestmark = pytest.mark.stack


async def _paused(world: CoreWorld, start: str, end: str, **body: Any) -> None:
    """Pause the subscription from one instant to another."""
    await world.to(start)
    await world.tell("pause", body)
    await world.to(end)
    await world.tell("resume")


async def test_item_5_a_pause_over_the_boundary_keeps_the_month(client: httpx.AsyncClient) -> None:
    """868.00 a month and 1.00 a unit; 100 units in January; paused from 31 January to 2 February.

    January: 100.00 + 868.00 x 30/31 = 840.00 -> 940.00. February: 868.00 x 27/28 = 837.00.
    """
    world = await core_world(client, UNIT, fee("868.00"), at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await _paused(world, "2025-01-31T00:00:00Z", "2025-02-02T00:00:00Z")
    assert sum(await world.totals()) == 94000
    await world.to("2025-03-01T00:00:00Z")
    assert sum(await world.totals()) == 94000 + 83700


async def _used_and_paused(client: httpx.AsyncClient, **more: Any) -> CoreWorld:
    """31.00 a month, 1.00 a unit; 100 units in January; paused on the 10th."""
    world = await core_world(client, UNIT, fee("31.00"), at=JANUARY, **more)
    await world.to("2025-01-09T00:00:00Z")
    await world.use(100, "2025-01-08T00:00:00Z")
    await world.to("2025-01-10T00:00:00Z")
    await world.tell("pause")
    return world


@pytest.mark.parametrize("way", ["cancel", "DELETE", "bulk", "ending_at"])
@pytest.mark.parametrize("customer", [{}, CARD], ids=["by hand", "card"])
async def test_item_5_ending_while_paused_bills_what_was_used(
    client: httpx.AsyncClient, way: str, customer: dict[str, Any]
) -> None:
    """Active from the 1st to the 10th: 100.00 + 31.00 x 9/31 = 109.00, once, however it ends."""
    terms = {"ending_at": "2025-01-20T00:00:00Z"} if way == "ending_at" else {}
    world = await _used_and_paused(client, customer=customer, **terms)
    await world.to("2025-01-15T00:00:00Z")
    if way == "cancel":
        await world.tell("cancel")
    elif way == "DELETE":
        await world.end()
    elif way == "bulk":
        await post(client, "/v1/subscriptions/bulk_terminate", {"subscription_ids": [world.subscription]}, 200)
    await world.to("2025-02-01T00:00:00Z", "2025-03-05T00:00:00Z")
    assert sum(await world.totals()) == 10900


async def test_item_5_a_long_pause_bills_each_part_in_its_period(client: httpx.AsyncClient) -> None:
    """30.00 a month, paused from 10 April to 10 June: April 30 x 9/30 = 9.00, May nothing, June 30 x 21/30 = 21.00."""
    world = await core_world(client, fee("30.00"))
    await world.to("2025-04-10T00:00:00Z")
    await world.tell("pause")
    await world.to("2025-05-01T00:00:00Z")
    assert sum(await world.totals()) == 900
    await world.to("2025-06-01T00:00:00Z")
    assert sum(await world.totals()) == 900
    await world.to("2025-06-10T00:00:00Z")
    await world.tell("resume")
    await world.to("2025-07-01T00:00:00Z")
    assert sum(await world.totals()) == 900 + 2100


async def test_item_5_usage_before_the_pause_that_arrives_in_it_is_billed(client: httpx.AsyncClient) -> None:
    """100.00 + 7 late units of 9 January + 9.00 of the fee = 116.00 at the period's end."""
    world = await _used_and_paused(client)
    await world.to("2025-01-12T00:00:00Z")
    await world.use(7, "2025-01-09T12:00:00Z")
    await world.to("2025-02-01T00:00:00Z")
    assert sum(await world.totals()) == 11600


async def _during(client: httpx.AsyncClient, body: dict[str, Any]) -> CoreWorld:
    """1.00 a unit; 100 units before a pause from the 10th to the 20th of April, 7 in it, 5 after it."""
    world = await core_world(client, UNIT)
    await world.to("2025-04-09T00:00:00Z")
    await world.use(100, "2025-04-08T00:00:00Z")
    await world.to("2025-04-10T00:00:00Z")
    await world.tell("pause", body)
    await world.to("2025-04-15T00:00:00Z")
    key = {"customer_id": "cust_acme", "metric_key": "u", "value": 7, "idempotency_key": "during"}
    answer = await client.post("/v1/events", json={**key, "timestamp": "2025-04-14T00:00:00Z"})
    assert answer.status_code in (202, 409, 422), answer.text
    if body.get("behavior", "skip") != "void":
        assert answer.status_code == 202, answer.text
    await world.to("2025-04-20T00:00:00Z")
    await world.tell("resume")
    await world.to("2025-04-25T00:00:00Z")
    await world.use(5, "2025-04-24T00:00:00Z")
    await world.to("2025-05-01T00:00:00Z", "2025-06-01T00:00:00Z")
    return world


@pytest.mark.parametrize(
    ("body", "billed"),
    [
        pytest.param({}, 10500, id="default is skip: 100 + 5"),
        pytest.param({"behavior": "skip"}, 10500, id="skip: 100 + 5"),
        pytest.param({"behavior": "void"}, 10500, id="void: 100 + 5"),
        pytest.param({"behavior": "keep_billing"}, 11200, id="keep_billing: 100 + 7 + 5"),
    ],
)
async def test_item_5_behavior_says_what_becomes_of_usage_in_the_pause(
    client: httpx.AsyncClient, body: dict[str, Any], billed: int
) -> None:
    world = await _during(client, body)
    assert sum(await world.totals()) == billed


@pytest.mark.parametrize("body", [{"behavior": "later"}, {"behavior": 1}, {"behaviour": "skip"}])
async def test_item_5_an_unknown_behavior_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    world = await core_world(client, UNIT)
    answer = await client.post(f"{world.path}/pause", json=body)
    assert (answer.status_code, (await world.shown())["status"]) == (422, "active"), answer.text


async def test_item_5_a_paused_subscriptions_grace_is_kept(client: httpx.AsyncClient) -> None:
    """Grace of 3 days: paused on 10 January, January is 109.00 on 4 February, with nothing before."""
    world = await _used_and_paused(client, customer={"invoice_grace_period": 3})
    await world.to("2025-02-03T00:00:00Z")
    assert await world.totals() == []
    await world.to("2025-02-04T00:00:00Z")
    assert sum(await world.totals()) == 10900


async def test_item_28_two_minutes_over_the_boundary(client: httpx.AsyncClient) -> None:
    """30.00 a month and 100 units in April, paused from 30 April 23:59 to 1 May 00:01.

    April has 43,200 minutes: 30.00 x 43,199/43,200 = 29.9993 -> 30.00, and 100.00. May has 44,640: 29.9993 -> 30.00.
    """
    world = await core_world(client, UNIT, fee("30.00"))
    await world.to("2025-04-15T00:00:00Z")
    await world.use(100, "2025-04-10T00:00:00Z")
    await _paused(world, "2025-04-30T23:59:00Z", "2025-05-01T00:01:00Z")
    assert sum(await world.totals()) == 13000
    await world.to("2025-06-01T00:00:00Z")
    assert sum(await world.totals()) == 13000 + 3000


@pytest.mark.parametrize(
    ("pauses", "due"),
    [
        pytest.param([("2025-04-01T12", "2025-04-30T12")], 100, id="29 days of 30: 30 x 1/30"),
        pytest.param([("2025-04-10T00", "2025-04-25T00")], 1500, id="15 days: 30 x 15/30"),
        pytest.param(
            [("2025-04-05T00", "2025-04-10T00"), ("2025-04-20T00", "2025-04-25T00")], 2000, id="twice 5: 30 x 20/30"
        ),
        pytest.param([("2025-04-10T00", "2025-04-10T12")], 2950, id="half a day: 30 x 59/60"),
    ],
)
async def test_item_28_fees_stop_for_the_paused_time(
    client: httpx.AsyncClient, pauses: list[tuple[str, str]], due: int
) -> None:
    world = await core_world(client, fee("30.00"))
    for start, end in pauses:
        await _paused(world, f"{start}:00:00Z", f"{end}:00:00Z")
    await world.to("2025-05-01T00:00:00Z")
    assert await world.totals() == [due]


async def test_item_28_a_pause_is_measured_in_real_time_across_the_change_of_clocks(client: httpx.AsyncClient) -> None:
    """Berlin's March 2025 has 743 hours. 743.00 a month; a pause of 43 hours around the night of 30 March: 700.00."""
    world = await core_world(client, fee("743.00"), at="2025-02-28T23:00:00Z", customer={"timezone": "Europe/Berlin"})
    await _paused(world, "2025-03-29T21:00:00Z", "2025-03-31T16:00:00Z")
    await world.to("2025-03-31T22:00:00Z")
    assert await world.totals() == [70000]


async def test_item_28_bulk_and_status_pause_the_same_way(client: httpx.AsyncClient) -> None:
    """30.00 a month; 5 days by the bulk form and 10 by the status: 30.00 x 15/30 = 15.00."""
    world = await core_world(client, fee("30.00"))
    ids = {"subscription_ids": [world.subscription]}
    await world.to("2025-04-05T00:00:00Z")
    await post(client, "/v1/subscriptions/bulk_pause", ids, 200)
    await world.to("2025-04-10T00:00:00Z")
    await post(client, "/v1/subscriptions/bulk_resume", ids, 200)
    await world.to("2025-04-15T00:00:00Z")
    await sent(client, "PATCH", world.path, 200, json={"status": "paused"})
    await world.to("2025-04-25T00:00:00Z")
    await sent(client, "PATCH", world.path, 200, json={"status": "active"})
    await world.to("2025-05-01T00:00:00Z")
    assert await world.totals() == [1500]


async def test_item_28_a_preview_knows_of_the_pause(client: httpx.AsyncClient) -> None:
    """R25: paused for 10 of 30 days, April is 20.00 in the preview and on the invoice."""
    world = await core_world(client, fee("30.00"))
    await _paused(world, "2025-04-10T00:00:00Z", "2025-04-20T00:00:00Z")
    body = {"subscription_id": world.subscription, "cutoff_date": "2025-04-30T23:59:59Z"}
    preview = await post(client, "/v1/invoices/preview", body, 200)
    await world.to("2025-05-01T00:00:00Z")
    assert (preview["total_amount"], await world.totals()) == (2000, [2000])
