"""Items 2 and 23: a correction gives back what was paid for a period, never its list price (R19)."""

from typing import Any

import httpx
import pytest

from tests.support.core_world import CARD, JANUARY, UNIT, CoreWorld, core_world, fee, off
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def test_item_2_a_full_coupon_is_not_given_back(client: httpx.AsyncClient) -> None:
    """January 100 x 1.00 less 100 % (once) = 0.00. Voided: 0.00 - 0.00 = 0.00. February: 30 x 1.00 = 30.00."""
    world = await core_world(client, UNIT, at=JANUARY, coupon=off(frequency="once", percent="100"))
    await world.to("2025-01-15T00:00:00Z")
    event = await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-10T00:00:00Z")
    assert await world.totals() == [0]
    await world.void_event(event)
    await world.use(30, "2025-02-05T00:00:00Z")
    await world.to("2025-03-01T00:00:00Z")
    assert (await world.totals(), await world.credits()) == ([0, 3000], 0)


async def test_item_2_an_ended_subscription_gets_back_what_it_paid(client: httpx.AsyncClient) -> None:
    """100.00 less 10 % (forever) = 90.00 paid. Voided: 0.00 is due, 90.00 comes back."""
    world = await core_world(client, UNIT, at=JANUARY, customer=CARD, coupon=off(percent="10"))
    await world.to("2025-01-20T00:00:00Z")
    event = await world.use(100, "2025-01-10T00:00:00Z")
    await world.end()
    await eventually(world.totals, until=lambda found: found == [9000])
    await world.void_event(event)
    assert await eventually(world.credits) == 9000


async def test_item_2_more_usage_of_an_ended_subscription_keeps_its_discount(client: httpx.AsyncClient) -> None:
    """100.00 less 10 % = 90.00; 50 units come late: 150.00 less 10 % = 135.00, so 45.00 more."""
    world = await core_world(client, UNIT, at=JANUARY, customer=CARD, coupon=off(frequency="once", percent="10"))
    await world.to("2025-01-20T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await world.end()
    await eventually(world.totals, until=lambda found: found == [9000])
    await world.use(50, "2025-01-11T00:00:00Z")
    assert await eventually(world.totals, until=lambda found: len(found) == 2) == [9000, 4500]


@pytest.mark.parametrize("frequency", ["once", "forever"])
async def test_item_2_a_later_coupon_leaves_earlier_usage_alone(client: httpx.AsyncClient, frequency: str) -> None:
    """January 100.00 without a coupon. 50 % from February on; 20 units of January come late.

    March's invoice of February: 20.00 (January, no discount) + 30.00 less 50 % = 15.00 -> 35.00.
    """
    world = await core_world(client, UNIT, at=JANUARY, customer=CARD)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-10T00:00:00Z")
    await world.coupon(off(frequency=frequency, percent="50"))
    await world.use(20, "2025-01-20T00:00:00Z")
    await world.use(30, "2025-02-05T00:00:00Z")
    await world.to("2025-03-01T00:00:00Z")
    assert await world.totals() == [10000, 3500]


async def test_item_2_late_usage_has_the_coupon_of_its_period(client: httpx.AsyncClient) -> None:
    """January less 100 % (once): 0.00. 20 late units of January: 120.00 less 100 % = 0.00. February: 30.00."""
    world = await core_world(client, UNIT, at=JANUARY, coupon=off(frequency="once", percent="100"))
    await world.to("2025-01-15T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-10T00:00:00Z")
    await world.use(20, "2025-01-20T00:00:00Z")
    await world.use(30, "2025-02-05T00:00:00Z")
    await world.to("2025-03-01T00:00:00Z")
    assert await world.totals() == [0, 3000]


async def test_item_2_a_fixed_coupon_covers_late_usage_up_to_its_amount(client: httpx.AsyncClient) -> None:
    """January 40.00 less 50.00 (once) = 0.00. 20 late: 60.00 less 50.00 = 10.00 more. February 30.00 -> 40.00."""
    world = await core_world(client, UNIT, at=JANUARY, coupon=off(frequency="once", cents="5000"))
    await world.to("2025-01-15T00:00:00Z")
    await world.use(40, "2025-01-10T00:00:00Z")
    await world.to("2025-02-10T00:00:00Z")
    await world.use(20, "2025-01-20T00:00:00Z")
    await world.use(30, "2025-02-05T00:00:00Z")
    await world.to("2025-03-01T00:00:00Z")
    assert await world.totals() == [0, 4000]


async def test_item_2_a_recurring_coupon_that_is_used_up_still_counts_for_its_periods(
    client: httpx.AsyncClient,
) -> None:
    """50 % in January and February: 50.00 and 50.00 paid. January voided in March, whose usage is 30.00, undiscounted.

    March: 30.00 - 50.00 = -20.00: nothing is due and 20.00 comes back.
    """
    coupon = off(frequency="recurring", duration=2, percent="50")
    world = await core_world(client, UNIT, at=JANUARY, customer=CARD, coupon=coupon)
    await world.to("2025-01-15T00:00:00Z")
    event = await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-15T00:00:00Z")
    await world.use(100, "2025-02-10T00:00:00Z")
    await world.to("2025-03-15T00:00:00Z")
    await world.void_event(event)
    await world.use(30, "2025-03-10T00:00:00Z")
    await world.to("2025-04-01T00:00:00Z")
    assert (await world.totals(), await world.credits()) == ([5000, 5000, 0], 2000)


async def test_item_2_a_correction_beside_a_fee_is_split_by_the_discount(client: httpx.AsyncClient) -> None:
    """January 100.00 + 50.00 fee less 20 % (once) = 120.00. Voided: 50.00 less 20 % = 40.00, so -80.00.

    February: fee 50.00 - 80.00 = -30.00: nothing is due and 30.00 comes back.
    """
    coupon = off(frequency="once", percent="20")
    world = await core_world(client, UNIT, fee("50.00"), at=JANUARY, customer=CARD, coupon=coupon)
    await world.to("2025-01-15T00:00:00Z")
    event = await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-10T00:00:00Z")
    await world.void_event(event)
    await world.to("2025-03-01T00:00:00Z")
    assert (await world.totals(), await world.credits()) == ([12000, 0], 3000)


async def _corrected_in_may(client: httpx.AsyncClient, *coupons: dict[str, Any], to: int | None) -> CoreWorld:
    """Bill 100 units of April under the coupons, change the event to `to` (None: void it), and close May."""
    world = await core_world(client, UNIT, customer=CARD)
    for coupon in coupons:
        await world.coupon(coupon)
    await world.to("2025-04-15T00:00:00Z")
    event = await world.use(100, "2025-04-10T00:00:00Z")
    await world.to("2025-05-01T00:00:00Z")
    await (world.void_event(event) if to is None else world.amend(event, to))
    await world.to("2025-06-01T00:00:00Z")
    return world


async def test_item_23_nothing_paid_is_nothing_back(client: httpx.AsyncClient) -> None:
    """100.00 less 100 % = 0.00; amended to 0: 0.00 back."""
    world = await _corrected_in_may(client, off(percent="100"), to=0)
    assert ((await world.totals())[0], await world.credits()) == (0, 0)


@pytest.mark.parametrize(
    ("coupons", "to", "invoiced", "credited"),
    [
        pytest.param([off(percent="50")], None, 5000, 5000, id="half, voided: 50 % of 100 paid, 50 back"),
        pytest.param([off(cents="5000")], None, 5000, 5000, id="fixed 50.00, voided: 50 paid, 50 back"),
        pytest.param([off(cents="5000")], 30, 5000, 5000, id="fixed 50.00, to 30: 30 - 30 = 0 due, 50 back"),
        pytest.param([off(percent="50")], 40, 5000, 3000, id="half, to 40: 20 due, 30 back"),
        pytest.param([off(percent="50", frequency="once")], 40, 5000, 3000, id="half once, to 40: 20 due, 30 back"),
        pytest.param(
            [off("TEN", percent="10"), off("FIVE", cents="500")],
            50,
            8500,
            4500,
            id="10 % and 5.00: 90 - 5 = 85 paid; 50: 45 - 5 = 40 due, 45 back",
        ),
    ],
)
async def test_item_23_what_was_paid_comes_back(
    client: httpx.AsyncClient, coupons: list[dict[str, Any]], to: int | None, invoiced: int, credited: int
) -> None:
    world = await _corrected_in_may(client, *coupons, to=to)
    assert ((await world.totals())[0], await world.credits()) == (invoiced, credited)


async def test_item_23_two_corrections_give_back_each_part_once(client: httpx.AsyncClient) -> None:
    """100.00 less 50 % = 50.00 paid. To 60: 30.00 due, 20.00 back; then void: 0.00 due, 30.00 more; 50.00 in all."""
    world = await core_world(client, UNIT, customer=CARD, coupon=off(percent="50", frequency="once"))
    await world.to("2025-04-15T00:00:00Z")
    event = await world.use(100, "2025-04-10T00:00:00Z")
    await world.to("2025-05-01T00:00:00Z")
    await world.amend(event, 60)
    await world.to("2025-06-01T00:00:00Z")
    assert await world.credits() == 2000
    await world.void_event(event)
    await world.to("2025-07-01T00:00:00Z")
    assert await world.credits() == 5000
