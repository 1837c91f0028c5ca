"""Items 4, 26 and 27: an agreed end is never moved later; what is due or in grace at the end is billed, once."""

import httpx
import pytest

from tests.subscriptions.catalogue import sent
from tests.support.core_world import JANUARY, CoreWorld, core_world, fee

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
