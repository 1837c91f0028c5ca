"""Items 4, 26 and 27: an agreed end is never moved later; what is due or in grace at the end is billed, once."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post, sent
from tests.support.core_world import ACME, APRIL, CARD, JANUARY, UNIT, CoreWorld, core_world, fee, off
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def _cancel(world: CoreWorld, way: str) -> None:
    if way == "POST":
        await world.tell("cancel")
    elif way == "action":
        await sent(world.client, "PATCH", world.path, 200, json={"action": "cancel"})
    else:
        await sent(world.client, "PATCH", world.path, 200, json={"status": "canceled"})


@pytest.mark.parametrize("way", ["POST", "action", "status"])
async def test_item_4_cancel_never_extends_an_agreed_end(client: httpx.AsyncClient, way: str) -> None:
    """1 January to 20 January, canceled on the 5th: it ends on the 20th and costs 31.00 x 19/31 = 19.00."""
    world = await core_world(client, fee("31.00"), at=JANUARY, ending_at="2025-01-20T00:00:00Z")
    await world.to("2025-01-05T00:00:00Z")
    await _cancel(world, way)
    assert (await world.shown())["ending_at"] == "2025-01-20T00:00:00Z"
    await world.to("2025-01-21T00:00:00Z", "2025-03-01T00:00:00Z")
    assert ((await world.shown())["ending_at"], await world.totals()) == ("2025-01-20T00:00:00Z", [1900])


async def test_item_4_cancel_brings_a_later_end_forward(client: httpx.AsyncClient) -> None:
    """1 January to 15 March, canceled on 5 January: the period's end, 1 February, is earlier; 31.00."""
    world = await core_world(client, fee("31.00"), at=JANUARY, ending_at="2025-03-15T00:00:00Z")
    await world.to("2025-01-05T00:00:00Z")
    await world.tell("cancel")
    assert (await world.shown())["ending_at"] == "2025-02-01T00:00:00Z"
    await world.to("2025-04-01T00:00:00Z")
    assert await world.totals() == [3100]


async def test_item_4_a_trials_agreed_end_stays(client: httpx.AsyncClient) -> None:
    """A trial of 30 days that was agreed to end on the 10th ends on the 10th; nothing is billed."""
    world = await core_world(client, fee("31.00"), at=JANUARY, ending_at="2025-01-10T00:00:00Z", trial_period_days=30)
    await world.to("2025-01-05T00:00:00Z")
    await world.tell("cancel")
    assert (await world.shown())["ending_at"] == "2025-01-10T00:00:00Z"
    await world.to("2025-02-15T00:00:00Z")
    assert ((await world.shown())["ending_at"], await world.totals()) == ("2025-01-10T00:00:00Z", [])


async def test_item_4_a_paused_subscriptions_agreed_end_stays(client: httpx.AsyncClient) -> None:
    """Paused on the 4th, canceled on the 5th: it still ends on the 20th."""
    world = await core_world(client, fee("31.00"), at=JANUARY, ending_at="2025-01-20T00:00:00Z")
    await world.to("2025-01-04T00:00:00Z")
    await world.tell("pause")
    await world.to("2025-01-05T00:00:00Z")
    await world.tell("cancel")
    await world.to("2025-02-15T00:00:00Z")
    assert (await world.shown())["ending_at"] == "2025-01-20T00:00:00Z"


def _days(first: int, last: int, month: str = "2025-05") -> list[str]:
    return [f"{month}-{day:02}T00:00:00Z" for day in range(first, last + 1)]


async def _april(
    client: httpx.AsyncClient, grace: int, *, customer: dict[str, Any] | None = None, **more: Any
) -> CoreWorld:
    """Subscribe on 1 April to 31.00 a month and 1.00 a unit, use 2 units, and stand on 20 April."""
    owner = {"invoice_grace_period": grace, **(customer or {})}
    world = await core_world(client, fee("31.00"), UNIT, customer=owner, **more)
    await world.to("2025-04-20T00:00:00Z")
    await world.use(2, "2025-04-10T00:00:00Z")
    return world


async def test_item_26_a_canceled_subscription_is_billed_after_its_grace(client: httpx.AsyncClient) -> None:
    """Canceled on 20 April, grace 1 day, clock moved day by day: April is 31.00 + 2 x 1.00 = 33.00, on 2 May."""
    world = await _april(client, 1)
    await world.tell("cancel")
    await world.to(*_days(21, 30, "2025-04"), *_days(1, 1))
    assert await world.totals() == []
    await world.to(*_days(2, 8))
    assert await world.totals() == [3300]
    assert [invoice["issued_at"] for invoice in await world.invoices()] == ["2025-05-02T00:00:00Z"]


@pytest.mark.parametrize("grace", [2, 5, 20])
async def test_item_26_any_grace_is_waited_for(client: httpx.AsyncClient, grace: int) -> None:
    """33.00 when the grace is over, not before."""
    world = await _april(client, grace)
    await world.tell("cancel")
    await world.to(*_days(1, grace))
    assert await world.totals() == []
    await world.to(*_days(grace + 1, grace + 2))
    assert await world.totals() == [3300]


@pytest.mark.parametrize("way", ["DELETE", "bulk", "ending_at", "PATCH"])
async def test_item_26_every_way_to_end_at_the_boundary(client: httpx.AsyncClient, way: str) -> None:
    """Ended at exactly 1 May with one day of grace: April is 33.00, and nothing of May is billed."""
    terms: dict[str, Any] = {"ending_at": "2025-05-01T00:00:00Z"} if way == "ending_at" else {}
    world = await _april(client, 1, **terms)
    await world.to("2025-05-01T00:00:00Z")
    if way == "DELETE":
        await world.end()
    elif way == "bulk":
        await post(client, "/v1/subscriptions/bulk_terminate", {"subscription_ids": [world.subscription]}, 200)
    elif way == "PATCH":
        await sent(client, "PATCH", world.path, 200, json={"status": "terminated"})
    await world.to(*_days(2, 8))
    assert sum(await world.totals()) == 3300


async def _mark_paid(world: CoreWorld) -> None:
    for invoice in await world.invoices():
        if invoice["status"] == "issued":
            await post(world.client, f"/v1/invoices/{invoice['id']}/pay", {}, 200)


@pytest.mark.parametrize("payer", ["card", "wallet", "marked", "coupon"])
async def test_item_26_an_end_without_an_open_invoice(client: httpx.AsyncClient, payer: str) -> None:
    """33.00 of April, in grace when the subscription ends in the middle of May, is billed whoever paid March.

    In the clock: 1 March start; grace 3; March (33.00) is paid; ended on 2 May, when April waits: two whole months.
    31.00 + 2.00 in March, 31.00 in April (0.00 under a coupon of 100 %), and 1/31 of May's fee: 1.00.
    """
    owner = {"invoice_grace_period": 3, **(CARD if payer == "card" else {})}
    coupon = off(percent="100") if payer == "coupon" else None
    world = await core_world(client, fee("31.00"), UNIT, at="2025-03-01T00:00:00Z", customer=owner, coupon=coupon)
    if payer == "wallet":
        body = {"customer_id": ACME, "currency": "USD", "initial_granted_credits": "100000"}
        await post(client, "/v1/wallets", body)
    await world.to("2025-03-20T00:00:00Z")
    await world.use(2, "2025-03-10T00:00:00Z")
    await world.to("2025-04-05T00:00:00Z")
    if payer == "marked":
        await _mark_paid(world)
    await world.to("2025-05-02T00:00:00Z")
    await world.end()
    if payer == "marked":
        await _mark_paid(world)
    await world.to(*_days(3, 8))
    billed = sorted(await world.totals(), reverse=True)
    assert billed == ([0, 0, 0] if payer == "coupon" else [3300, 3100, 100])


async def test_item_26_a_final_of_nothing_leaves_the_period_in_grace(client: httpx.AsyncClient) -> None:
    """Usage alone: April's 2.00 waits in its grace when May ends unused on the 1st; 2.00 is billed on the 4th."""
    world = await core_world(client, UNIT, customer={"invoice_grace_period": 3})
    await world.to("2025-04-20T00:00:00Z")
    await world.use(2, "2025-04-10T00:00:00Z")
    await world.to("2025-05-02T00:00:00Z")
    await world.end()
    await world.to(*_days(3, 8))
    assert sum(await world.totals()) == 200


async def test_item_26_a_suspended_subscription_that_ends_is_billed(client: httpx.AsyncClient) -> None:
    """Suspended on 20 April, canceled, grace 1: 33.00."""
    world = await _april(client, 1)
    await world.tell("suspend")
    await world.tell("cancel")
    await world.to(*_days(1, 5))
    assert await world.totals() == [3300]


async def test_item_26_grace_is_honoured_for_the_final_invoice_too(client: httpx.AsyncClient) -> None:
    """30.00 a month, terminated on 11 April with 3 days of grace; 2 units before, 5 more come late within the grace.

    One invoice on 14 April: 30.00 x 10/30 + 7 x 1.00 = 17.00.
    """
    world = await core_world(client, fee("30.00"), UNIT, customer={"invoice_grace_period": 3})
    await world.to("2025-04-11T00:00:00Z")
    await world.use(2, "2025-04-10T00:00:00Z")
    await world.end()
    assert await world.totals() == []
    await world.to("2025-04-12T00:00:00Z")
    await world.use(5, "2025-04-10T12:00:00Z")
    await world.to(*_days(13, 16, "2025-04"))
    assert await world.totals() == [1700]


async def _ended(client: httpx.AsyncClient) -> tuple[CoreWorld, str]:
    """Use 10 units of April and end on the 16th: a final invoice of 10.00, paid by card."""
    world = await core_world(client, UNIT, customer=CARD)
    await world.to("2025-04-16T00:00:00Z")
    event = await world.use(10, "2025-04-10T00:00:00Z")
    await world.end()
    await eventually(world.totals, until=lambda found: found == [1000])
    return world, event


async def test_item_27_ready_means_that_late_usage_is_billed(client: httpx.AsyncClient) -> None:
    """5 units before the end arrive after it: once the clock is ready, the adjustment of 5.00 is there."""
    world, _ = await _ended(client)
    await world.use(5, "2025-04-11T00:00:00Z")
    await world.to("2025-04-20T00:00:00Z")
    assert await world.totals() == [1000, 500]


async def test_item_27_ready_means_that_a_correction_is_given_back(client: httpx.AsyncClient) -> None:
    """The 10 units are voided after the end: once the clock is ready, the 10.00 that were paid are credited."""
    world, event = await _ended(client)
    await world.void_event(event)
    await world.to("2025-04-20T00:00:00Z")
    assert await world.credits() == 1000


async def test_item_27_ready_means_that_the_adjustment_is_collected(client: httpx.AsyncClient) -> None:
    """The adjustment of 5.00 is paid by the card when the clock says ready, in the clock's time."""
    world, _ = await _ended(client)
    await world.use(5, "2025-04-11T00:00:00Z")
    await world.to("2025-04-20T00:00:00Z")
    found = await get(client, "/v1/invoices", subscription_id=world.subscription)
    assert sorted((bill["total_amount"], bill["status"]) for bill in found) == [(500, "paid"), (1000, "paid")]


async def test_item_27_ready_waits_for_the_ended_beside_the_running(client: httpx.AsyncClient) -> None:
    """Two subscriptions of one clock: the running one reaches 1 May; the ended one's 5.00 is there as well."""
    world, _ = await _ended(client)
    body = {"customer_id": ACME, "plan_id": "plan_core", "start_date": APRIL, "external_reference": "second"}
    other = CoreWorld(client, world.clock, (await post(client, "/v1/subscriptions", body))["id"])
    event = {"subscription_id": world.subscription, "metric_key": "u", "value": 5, "idempotency_key": "late"}
    await post(client, "/v1/events", {**event, "timestamp": "2025-04-11T00:00:00Z"}, 202)
    await world.to("2025-05-01T00:00:00Z")
    assert (await world.totals(), (await other.shown())["current_period_start"]) == (
        [1000, 500],
        "2025-05-01T00:00:00Z",
    )
