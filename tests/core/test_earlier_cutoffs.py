"""What was billed further than a cutoff reaches, and what was forgiven before a coupon came (C2, R19, R20)."""

import httpx
import pytest

from tests.subscriptions.catalogue import sent
from tests.support.core_world import UNIT, CoreWorld, core_world, fee, off

pytestmark = pytest.mark.stack

CUTOFF = {"cutoff_date": "2025-04-10T00:00:00Z"}


async def _april(client: httpx.AsyncClient) -> CoreWorld:
    """1.00 a unit and a fee of 30.00; 40 units before 10 April, 60 after it; the clock stands on the 15th."""
    world = await core_world(client, UNIT, fee("30.00"))
    await world.to("2025-04-15T00:00:00Z")
    await world.use(40, "2025-04-09T00:00:00Z")
    await world.use(60, "2025-04-14T00:00:00Z")
    return world


async def test_item_23_an_earlier_cutoff_gives_nothing_back(client: httpx.AsyncClient) -> None:
    """Billed on the 15th: 100.00 + 30.00. Up to the 10th nothing is left; 5 late units of the 8th then are 5.00.

    The close has nothing more, and after it an earlier cutoff has nothing either: 135.00 in all, no credit.
    """
    world = await _april(client)
    assert (await world.bill_now()).status_code == 201
    early = await world.bill_now(**CUTOFF)
    assert (early.status_code, early.json()["code"], await world.credits()) == (409, "nothing_to_bill", 0)
    await world.use(5, "2025-04-08T00:00:00Z")
    assert (await world.bill_now(**CUTOFF)).json()["total_amount"] == 500
    await world.to("2025-05-05T00:00:00Z")
    late = await world.bill_now(**CUTOFF)
    assert (late.status_code, await world.totals(), await world.credits()) == (409, [13000, 500, 0], 0)
    await world.end()
    after = await world.bill_now(**CUTOFF)
    # May: 31 days, of which 4 were served: 30.00 x 4/31 = 3.87.
    assert (after.status_code, await world.totals(), await world.credits()) == (409, [13000, 500, 0, 387], 0)


async def test_item_23_an_earlier_cutoff_than_a_thresholds_invoice_gives_nothing_back(
    client: httpx.AsyncClient,
) -> None:
    """A threshold of 50.00 bills 100.00 on the 15th; up to the 10th only the fee of 30.00 is left, then nothing."""
    world = await core_world(client, UNIT, fee("30.00"))
    await sent(client, "POST", f"{world.path}/usage_thresholds", 201, json={"amount_cents": 5000})
    await world.to("2025-04-15T00:00:00Z")
    await world.use(100, "2025-04-15T00:00:00Z")
    await world.to("2025-04-15T00:00:01Z")
    assert await world.totals() == [10000]
    assert (await world.bill_now(**CUTOFF)).json()["total_amount"] == 3000
    await world.to("2025-05-01T00:00:00Z")
    assert (await world.totals(), await world.credits()) == ([10000, 3000, 0], 0)


@pytest.mark.parametrize(("rebill", "owed"), [(False, 1500), (True, 11500)])
async def test_item_33_a_coupon_discounts_what_is_left_of_a_void(
    client: httpx.AsyncClient, rebill: bool, owed: int
) -> None:
    """100.00 are billed, then 50 % off comes, then 10.00 less 5.00. The first is voided; 20.00 more are used.

    Forgiven: 10.00 + 20.00 less 50 % = 15.00. Billed again: 100.00, which the coupon came too late for, + 15.00.
    """
    world = await core_world(client, UNIT)
    await world.to("2025-04-15T00:00:00Z")
    await world.use(100, "2025-04-02T00:00:00Z")
    first = (await world.bill_now()).json()
    await world.coupon(off(percent="50"))
    await world.use(10, "2025-04-03T00:00:00Z")
    assert (await world.bill_now()).json()["total_amount"] == 500
    await sent(client, "POST", f"/v1/invoices/{first['id']}/void", 200, json={"rebill": rebill})
    await world.use(20, "2025-04-04T00:00:00Z")
    await world.to("2025-05-01T00:00:00Z")
    assert sum(await world.totals()) == owed
