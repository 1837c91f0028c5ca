"""Items 3, 24 and 25: a version change starts a period or is refused; it never re-rates what was used before."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post, sent
from tests.support.core_world import CoreWorld, core_world, fee, unit

pytestmark = pytest.mark.stack

MAY, JUNE = "2025-05-01T00:00:00Z", "2025-06-01T00:00:00Z"
MID_APRIL = "2025-04-16T00:00:00Z"


async def _moved(world: CoreWorld, body: dict[str, Any]) -> httpx.Response:
    return await world.client.post(f"{world.path}/migrate", json=body)


def _refused(answer: httpx.Response) -> bool:
    """Tell whether a request was refused with a problem that says why."""
    if answer.status_code == 200:
        return False
    assert answer.status_code in (409, 422), answer.text
    assert answer.json()["detail"], answer.text
    return True


@pytest.mark.parametrize("interval", ["yearly", "quarterly", "weekly"])
async def test_item_3_another_interval_is_refused(client: httpx.AsyncClient, interval: str) -> None:
    """A month costs 10.00 before and after the refusal; the other interval's 1200.00 is never billed by the month."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(billing_period=interval, charges=[fee("1200.00")])
    answer = await _moved(world, {"plan_version": 2})
    assert answer.status_code == 409, answer.text
    assert interval in answer.json()["detail"]
    await world.to(JUNE)
    assert await world.totals() == [1000, 1000]
    assert ((await world.shown())["plan_version"], (await world.shown())["interval"]) == (1, "monthly")


@pytest.mark.parametrize("method", ["next_period", "newest", "PATCH", "PUT", "collection"])
async def test_item_3_it_is_refused_by_every_way_to_migrate(client: httpx.AsyncClient, method: str) -> None:
    """April and May cost 10.00 each, however the yearly version was asked for."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(billing_period="yearly", charges=[fee("1200.00")])
    if method == "next_period":
        answer = await _moved(world, {"plan_version": 2, "effective": "next_period"})
    elif method == "newest":
        answer = await _moved(world, {})
    elif method == "collection":
        body = {"id": world.subscription, "plan_id": "plan_core"}
        answer = await client.patch("/v1/subscriptions", json=body)
    else:
        answer = await client.request(method, world.path, json={"plan_id": "plan_core"})
    assert answer.status_code == 409, answer.text
    await world.to(JUNE)
    assert await world.totals() == [1000, 1000]


async def test_item_3_the_same_interval_still_moves(client: httpx.AsyncClient) -> None:
    """Version 3 is monthly again: from the next period 30.00, after version 2, yearly, was refused."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(billing_period="yearly", charges=[fee("1200.00")])
    await world.new_version(billing_period="monthly", charges=[fee("30.00")])
    assert (await _moved(world, {"plan_version": 2})).status_code == 409
    assert (await _moved(world, {"plan_version": 3, "effective": "next_period"})).status_code == 200
    await world.to(JUNE)
    assert await world.totals() == [1000, 3000]


async def test_item_24_effective_at_the_next_period_leaves_this_one_alone(client: httpx.AsyncClient) -> None:
    """10.00 a month; 20.00 from 1 May. April 10.00, May 20.00; if `effective_at` is refused, 10.00 and 10.00."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(charges=[fee("20.00")])
    answer = await _moved(world, {"plan_version": 2, "effective_at": MAY})
    refused = _refused(answer)
    if refused:
        assert [error["field"] for error in answer.json()["errors"]] == ["effective_at"]
    await world.to(MAY, JUNE)
    assert await world.totals() == [1000, 1000 if refused else 2000]


async def test_item_24_effective_at_a_later_period_waits_for_it(client: httpx.AsyncClient) -> None:
    """20.00 from 1 June: April 10.00, May 10.00, June 20.00; refused: three times 10.00."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(charges=[fee("20.00")])
    refused = _refused(await _moved(world, {"plan_version": 2, "effective_at": JUNE}))
    await world.to(MAY, JUNE, "2025-07-01T00:00:00Z")
    assert await world.totals() == [1000, 1000, 1000 if refused else 2000]


async def test_item_24_effective_at_and_effective_now_contradict_each_other(client: httpx.AsyncClient) -> None:
    """Refused: April stays at 10.00."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(charges=[fee("20.00")])
    assert (await _moved(world, {"plan_version": 2, "effective": "now", "effective_at": MAY})).status_code == 422
    await world.to(MAY)
    assert await world.totals() == [1000]


async def test_item_24_effective_at_that_has_passed_is_refused(client: httpx.AsyncClient) -> None:
    """Nothing is re-rated backwards: 422, and April stays at 10.00."""
    world = await core_world(client, fee("10.00"))
    await world.new_version(charges=[fee("20.00")])
    await world.to(MID_APRIL)
    answer = await _moved(world, {"plan_version": 2, "effective_at": "2025-04-02T00:00:00Z"})
    assert answer.status_code == 422, answer.text
    await world.to(MAY)
    assert await world.totals() == [1000]


@pytest.mark.parametrize("way", ["now", "default", "PATCH"])
@pytest.mark.parametrize(("old", "new"), [("10.00", "20.00"), ("100.00", "200.00")])
async def test_item_25_half_way_is_never_the_whole_new_price(
    client: httpx.AsyncClient, old: str, new: str, way: str
) -> None:
    """On 16 April, 15 of 30 days before its end, the fee doubles.

    Refused, or from the next period: April is the old price (10.00; 100.00). Prorated by R15: old - old/2 + new/2,
    10 - 5 + 10 = 15.00 (100 - 50 + 100 = 150.00). Never 20.00 (200.00).
    """
    world = await core_world(client, fee(old))
    await world.new_version(charges=[fee(new)])
    await world.to(MID_APRIL)
    if way == "PATCH":
        answer = await client.patch(world.path, json={"plan_id": "plan_core"})
    else:
        answer = await _moved(world, {"plan_version": 2, **({"effective": "now"} if way == "now" else {})})
    refused = _refused(answer)
    before, after = (round(float(amount) * 100) for amount in (old, new))
    await world.to(MAY, JUNE)
    april, may = await world.totals()
    assert april in ((before,) if refused else (before, before + (after - before) // 2))
    assert may == (before if refused else after)


async def test_item_25_preview_and_execution_are_one_number(client: httpx.AsyncClient) -> None:
    """R25. The preview of a change on 16 April says its net (5.00, or 0 if it waits); April is then 10.00 + net.

    R15: -10.00 x 15/30 + 20.00 x 15/30 = +5.00.
    """
    world = await core_world(client, fee("10.00"))
    await world.new_version(charges=[fee("20.00")])
    await world.to(MID_APRIL)
    asked = await client.post(f"{world.path}/change_plan_preview", json={"new_plan_id": "plan_core"})
    if _refused(asked):
        return
    net = int(asked.json()["proration"]["net_amount_cents"])
    refused = _refused(await _moved(world, {"plan_version": 2}))
    await world.to(MAY)
    assert await world.totals() == [1000 + (0 if refused else net)]


@pytest.mark.parametrize("way", [{}, {"effective": "now"}, {"effective": "next_period"}])
@pytest.mark.parametrize(("old", "new"), [("3.00", "2.00"), ("1.00", "5.00")])
async def test_item_25_usage_before_the_change_keeps_its_price(
    client: httpx.AsyncClient, old: str, new: str, way: dict[str, str]
) -> None:
    """30 units at 3.00 are 90.00 (at 1.00: 30.00), whatever a unit costs from 16 April on."""
    world = await core_world(client, unit(old))
    await world.to("2025-04-10T00:00:00Z")
    await world.use(30, "2025-04-09T00:00:00Z")
    await world.new_version(charges=[unit(new)])
    await world.to(MID_APRIL)
    _refused(await _moved(world, {"plan_version": 2, **way}))
    await world.to(MAY)
    assert await world.totals() == [round(float(old) * 30 * 100)]


async def test_item_25_a_preview_of_the_invoice_is_not_re_rated_either(client: httpx.AsyncClient) -> None:
    """30 units at 3.00 are 90.00 in the preview, in the current usage and on the invoice of April."""
    world = await core_world(client, unit("3.00"))
    await world.to("2025-04-10T00:00:00Z")
    await world.use(30, "2025-04-09T00:00:00Z")
    await world.new_version(charges=[unit("2.00")])
    _refused(await _moved(world, {"plan_version": 2}))
    preview = await post(client, "/v1/invoices/preview", {"subscription_id": world.subscription}, 200)
    usage = await sent(client, "GET", f"{world.path}/current_usage", 200)
    await world.to(MAY)
    assert (preview["total_amount"], usage["amount_cents"], await world.totals()) == (9000, "9000", [9000])
