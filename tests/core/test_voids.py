"""Items 6, 7 and 33: void says what becomes of the usage; what a deleted draft held is billed (R20)."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post, sent
from tests.support.core_world import JANUARY, UNIT, CoreWorld, core_world, fee, off

pytestmark = pytest.mark.stack

MARCH, APRIL = "2025-03-01T00:00:00Z", "2025-04-01T00:00:00Z"


async def _void(world: CoreWorld, index: int, body: dict[str, Any] | None = None, *, way: str = "void") -> int:
    """Void one of the invoices, counted from the oldest; gives what it was for."""
    invoice = (await world.invoices())[index]
    path = f"/v1/invoices/{invoice['id']}"
    if way == "bulk":
        ids = {"invoice_ids": [invoice["id"]], **(body or {})}
        assert (await post(world.client, "/v1/invoices/bulk_void", ids, 200))["voided_count"] == 1
    elif way == "PUT":
        await sent(world.client, "PUT", path, 200, json={"status": "voided", **(body or {})})
    else:
        voided = await sent(world.client, "POST", f"{path}/void", 200, **({} if body is None else {"json": body}))
        assert voided["status"] == "voided"
    return int(invoice["total_amount"])


async def _january(client: httpx.AsyncClient, **more: Any) -> CoreWorld:
    """49.00 a month, 1.00 a unit; January: 100 units, an open invoice of 149.00; the clock stands on 5 February."""
    world = await core_world(client, fee("49.00"), UNIT, at=JANUARY, **more)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-05T00:00:00Z")
    assert await world.totals() == [14900]
    return world


@pytest.mark.parametrize(
    ("body", "march"),
    [
        pytest.param(None, 4900, id="no body is false"),
        pytest.param({}, 4900, id="default is false"),
        pytest.param({"rebill": False}, 4900, id="false: forgiven"),
        pytest.param({"rebill": True}, 4900 + 14900, id="true: 149.00 again"),
    ],
)
@pytest.mark.parametrize("late", [True, False], ids=["late event", "none late"])
async def test_item_6_void_in_march_says_whether_january_comes_again(
    client: httpx.AsyncClient, body: dict[str, Any] | None, march: int, late: bool
) -> None:
    """January 149.00 unpaid. 10 late units of January make February 49.00 + 10.00 = 59.00 (without them: 49.00).

    January is voided in March. March: 49.00, with `rebill` and the 149.00 of January 198.00, late event or not.
    """
    world = await _january(client)
    if late:
        await world.use(10, "2025-01-20T00:00:00Z")
    await world.to("2025-03-10T00:00:00Z")
    assert await world.totals() == [14900, 5900 if late else 4900]
    await _void(world, 0, body)
    await world.to(APRIL)
    assert (await world.totals())[1:] == [march]
    # It is settled: the next one brings nothing back.
    await world.to("2025-05-01T00:00:00Z")
    assert (await world.totals())[2:] == [4900]


@pytest.mark.parametrize(("rebill", "february"), [(False, 4900 + 1000), (True, 4900 + 14900 + 1000)])
async def test_item_6_late_usage_after_the_void_is_new(client: httpx.AsyncClient, rebill: bool, february: int) -> None:
    """January's 149.00 is voided, then 10 units of January come late: 10.00 was never forgiven.

    February: 49.00 + 10.00 = 59.00; with `rebill` 49.00 + 159.00 = 208.00.
    """
    world = await _january(client)
    await _void(world, 0, {"rebill": rebill})
    await world.use(10, "2025-01-20T00:00:00Z")
    await world.to(MARCH)
    assert await world.totals() == [february]


@pytest.mark.parametrize(("rebill", "february"), [(False, 4900), (True, 4900 + 10900)])
@pytest.mark.parametrize("first", ["void", "amend"])
async def test_item_6_a_correction_of_what_was_forgiven_gives_nothing_back(
    client: httpx.AsyncClient, rebill: bool, february: int, first: str
) -> None:
    """January's 149.00 is voided and its event amended from 100 to 60, in either order. Nobody paid: no credit.

    February: 49.00; with `rebill` January's 60.00 + 49.00 = 109.00 more.
    """
    world = await core_world(client, fee("49.00"), UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    event = await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-05T00:00:00Z")
    if first == "amend":
        await world.amend(event, 60)
    await _void(world, 0, {"rebill": rebill})
    if first == "void":
        await world.amend(event, 60)
    await world.to(MARCH)
    assert (await world.totals(), await world.credits()) == ([february], 0)


@pytest.mark.parametrize("way", ["bulk", "PUT"])
@pytest.mark.parametrize(("rebill", "february"), [(False, 4900), (True, 4900 + 14900)])
async def test_item_6_every_way_to_void_asks(client: httpx.AsyncClient, way: str, rebill: bool, february: int) -> None:
    """February is 49.00, with `rebill` 49.00 + 149.00 = 198.00."""
    world = await _january(client)
    await _void(world, 0, {"rebill": rebill}, way=way)
    await world.to(MARCH)
    assert await world.totals() == [february]


@pytest.mark.parametrize("rebill", ["perhaps", 2, {}])
async def test_item_6_rebill_is_true_or_false(client: httpx.AsyncClient, rebill: Any) -> None:
    """Anything else is 422 and the invoice stands."""
    world = await _january(client)
    (january,) = await world.invoices()
    answer = await client.post(f"/v1/invoices/{january['id']}/void", json={"rebill": rebill})
    assert (answer.status_code, await world.totals()) == (422, [14900]), answer.text


async def test_item_6_rebilled_under_the_discount_of_its_period(client: httpx.AsyncClient) -> None:
    """10 % off once, in January: 134.10. Voided with `rebill`: 134.10 again, and February's 49.00 undiscounted."""
    world = await core_world(client, fee("49.00"), UNIT, at=JANUARY, coupon=off(frequency="once", percent="10"))
    await world.to("2025-01-15T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await world.to("2025-02-05T00:00:00Z")
    assert await world.totals() == [13410]
    await _void(world, 0, {"rebill": True})
    await world.to(MARCH)
    assert await world.totals() == [13410 + 4900]


async def test_item_6_a_forgiven_final_invoice_is_not_billed_on_demand(client: httpx.AsyncClient) -> None:
    """Ended on 16 January with 100.00 + 49.00 x 15/31 = 23.71 (23.7097); voided: asking again finds nothing."""
    world = await core_world(client, fee("49.00"), UNIT, at=JANUARY)
    await world.to("2025-01-16T00:00:00Z")
    await world.use(100, "2025-01-10T00:00:00Z")
    await world.end()
    assert await _void(world, 0, {"rebill": False}) == 12371
    answer = await world.bill_now()
    assert (answer.status_code, answer.json().get("code")) == (409, "nothing_to_bill"), answer.text
    assert await world.totals() == []


async def test_item_6_forgiving_what_was_corrected_creates_no_money(client: httpx.AsyncClient) -> None:
    """30.00, amended to 25.00: February (nothing else) gives 5.00 back to a wallet. January's 30.00 is voided then.

    Nothing was paid and nothing is owed, so the 5.00 are billed again; the live invoices are 0.00 and 5.00.
    """
    world = await core_world(client, UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    event = await world.use(30, "2025-01-10T00:00:00Z")
    await world.to("2025-02-05T00:00:00Z")
    await world.amend(event, 25)
    await world.to(MARCH)
    assert (await world.totals(), await world.credits()) == ([3000, 0], 500)
    await _void(world, 0)
    await world.to(APRIL)
    assert (await world.totals(), await world.credits()) == ([0, 500], 0)


async def test_item_6_rebill_is_refused_where_it_has_no_effect(client: httpx.AsyncClient) -> None:
    """On a one-off invoice, which has no next one, and beside another status than voided."""
    world = await _january(client)
    (january,) = await world.invoices()
    put = await client.put(f"/v1/invoices/{january['id']}", json={"status": "paid", "rebill": True})
    line = {"description": "Set-up", "amount": "500"}
    fee_alone = await post(client, "/v1/invoices/one_off", {"customer_id": "cust_acme", "line_items": [line]})
    void = await client.post(f"/v1/invoices/{fee_alone['id']}/void", json={"rebill": True})
    for answer in (put, void):
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "rebill"), answer.text
    assert await world.totals() == [14900]


@pytest.mark.parametrize("rebill", [False, True])
async def test_item_6_an_add_on_goes_with_its_invoice(client: httpx.AsyncClient, rebill: bool) -> None:
    """January has a set-up fee of 25.00 beside 31.00; voided: February is 31.00, or 31.00 + 56.00 = 87.00."""
    world = await core_world(client, fee("31.00"), at=JANUARY)
    add_on = {"code": "setup", "name": "Set-up", "amount_cents": 2500, "amount_currency": "USD"}
    await post(client, "/v1/add_ons", add_on)
    await post(client, "/v1/add_ons/apply", {"add_on_code": "setup", "customer_id": "cust_acme"})
    await world.to("2025-02-05T00:00:00Z")
    assert await world.totals() == [5600]
    await _void(world, 0, {"rebill": rebill})
    await world.to(MARCH)
    assert await world.totals() == [8700 if rebill else 3100]


@pytest.mark.parametrize("which", ["first", "second", "both"])
@pytest.mark.parametrize("rebill", [False, True])
async def test_item_33_the_live_invoices_are_what_was_used_and_not_forgiven(
    client: httpx.AsyncClient, which: str, rebill: bool
) -> None:
    """1.00 a unit. January 30, February 15, and 10 late ones of January: invoices of 30.00 and 10.00 + 15.00 = 25.00.

    With `rebill` the live invoices add up to 55.00 after March (unused), else to 55.00 less what was voided.
    """
    world = await core_world(client, UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(30, "2025-01-10T00:00:00Z")
    await world.to("2025-02-15T00:00:00Z")
    await world.use(10, "2025-01-20T00:00:00Z")
    await world.use(15, "2025-02-10T00:00:00Z")
    await world.to("2025-03-10T00:00:00Z")
    assert await world.totals() == [3000, 2500]
    voided = {"first": (0,), "second": (1,), "both": (0, 1)}[which]
    forgiven = sum([await _void(world, index, {"rebill": rebill}) for index in voided])
    await world.to(APRIL, "2025-05-01T00:00:00Z")
    assert sum(await world.totals()) == 5500 - (0 if rebill else forgiven)


@pytest.mark.parametrize("rebill", [False, True])
async def test_item_33_void_before_the_late_event(client: httpx.AsyncClient, rebill: bool) -> None:
    """January 30 voided, then 10 of January come late, February 15: 55.00 with `rebill`, else 25.00."""
    world = await core_world(client, UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(30, "2025-01-10T00:00:00Z")
    await world.to("2025-02-15T00:00:00Z")
    await _void(world, 0, {"rebill": rebill})
    await world.use(10, "2025-01-20T00:00:00Z")
    await world.use(15, "2025-02-10T00:00:00Z")
    await world.to(MARCH, APRIL)
    assert sum(await world.totals()) == (5500 if rebill else 2500)


@pytest.mark.parametrize("rebill", [False, True])
async def test_item_33_a_rebilled_invoice_can_be_voided_again(client: httpx.AsyncClient, rebill: bool) -> None:
    """January's 30.00, voided with `rebill`, is on February's invoice (45.00); voiding that forgives or rebills all."""
    world = await core_world(client, UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(30, "2025-01-10T00:00:00Z")
    await world.to("2025-02-15T00:00:00Z")
    await _void(world, 0, {"rebill": True})
    await world.use(15, "2025-02-10T00:00:00Z")
    await world.to(MARCH)
    assert await world.totals() == [4500]
    await _void(world, 1, {"rebill": rebill})
    await world.to(APRIL)
    assert sum(await world.totals()) == (4500 if rebill else 0)


async def _draft(world: CoreWorld) -> str:
    answer = await world.bill_now(draft=True)
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "draft"
    return str(answer.json()["id"])


async def _drafted(client: httpx.AsyncClient, *, units: int = 0, more: int = 0, **world_of: Any) -> CoreWorld:
    """31.00 a month, 1.00 a unit: a draft on 15 January of `units`; `more` units come before January closes."""
    world = await core_world(client, fee("31.00"), UNIT, at=JANUARY, **world_of)
    await world.to("2025-01-15T00:00:00Z")
    if units:
        await world.use(units, "2025-01-10T00:00:00Z")
    draft = await _draft(world)
    if more:
        await world.to("2025-01-20T00:00:00Z")
        await world.use(more, "2025-01-18T00:00:00Z")
    await world.to("2025-02-02T00:00:00Z")
    await sent(client, "DELETE", f"/v1/invoices/{draft}", 204)
    return world


async def test_item_7_a_deleted_drafts_fee_is_on_the_next_invoice(client: httpx.AsyncClient) -> None:
    """The draft held January's 31.00; January closed without usage; deleted: February is 31.00 + 31.00 = 62.00."""
    world = await _drafted(client)
    await world.to(MARCH, APRIL)
    assert sum(await world.totals()) == 6200 + 3100


async def test_item_7_a_deleted_drafts_usage_is_too(client: httpx.AsyncClient) -> None:
    """The draft held 31.00 + 10.00, January's close 5.00; deleted: 5.00, then 31.00 + 41.00 = 72.00."""
    world = await _drafted(client, units=10, more=5)
    await world.to(MARCH)
    assert await world.totals() == [500, 7200]


async def test_item_7_under_the_coupon_of_its_period(client: httpx.AsyncClient) -> None:
    """10 % for ever: 62.00 less 6.20 = 55.80."""
    world = await _drafted(client, coupon=off(percent="10"))
    await world.to(MARCH)
    assert sum(await world.totals()) == 5580


async def test_item_7_deleted_before_the_close_comes_with_the_close(client: httpx.AsyncClient) -> None:
    """Deleted on 16 January: January's close has the fee, 31.00."""
    world = await core_world(client, fee("31.00"), UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    draft = await _draft(world)
    await sent(client, "DELETE", f"/v1/invoices/{draft}", 204)
    await world.to("2025-02-01T00:00:00Z")
    assert await world.totals() == [3100]


async def test_item_7_of_an_ended_subscription_too(client: httpx.AsyncClient) -> None:
    """Canceled, ended on 1 February; the draft is deleted after it: 31.00 + 10.00 are there when asked for."""
    world = await core_world(client, fee("31.00"), UNIT, at=JANUARY)
    await world.to("2025-01-15T00:00:00Z")
    await world.use(10, "2025-01-10T00:00:00Z")
    draft = await _draft(world)
    await world.tell("cancel")
    await world.to("2025-02-02T00:00:00Z")
    await sent(client, "DELETE", f"/v1/invoices/{draft}", 204)
    await world.to("2025-02-03T00:00:00Z")
    if sum(await world.totals()) == 0:
        assert (await world.bill_now()).status_code == 201
    assert sum(await world.totals()) == 4100
