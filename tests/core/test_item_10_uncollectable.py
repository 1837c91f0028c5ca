"""Item 10, R26: what a provider cannot take is carried to the next invoice and said there; it is no decline."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import MAY, advance, clock_at, fee, in_test_project, invoices, plan, subscribe

pytestmark = pytest.mark.stack

STRIPE = {"payment_provider": "stripe", "payment_provider_customer_id": "cus_ok"}


async def subscribed(client: httpx.AsyncClient, amount: str, currency: str) -> dict[str, Any]:
    """A monthly fee of so much, paid through Stripe (which the sandbox stands in for), in a clock at 1 April 2025."""
    await in_test_project(client)
    clock = await clock_at(client)
    await plan(client, fee(amount), currency=currency)
    await post(client, "/v1/customers", {"id": "c", "name": "c", "test_clock_id": clock, **STRIPE})
    return {**await subscribe(client), "clock": clock}


async def taken(client: httpx.AsyncClient) -> list[int]:
    """Return what was taken from the card, in the order of the invoices."""
    return [
        int(row["amount_cents"])
        for invoice in await invoices(client)
        for row in await get(client, f"/v1/invoices/{invoice['id']}/settlements")
    ]


async def no_declines(client: httpx.AsyncClient, subscription: dict[str, Any]) -> None:
    for invoice in await invoices(client):
        log = [entry["action"] for entry in await get(client, f"/v1/invoices/{invoice['id']}/events")]
        assert "charge_failed" not in log
    assert (await get(client, f"/v1/subscriptions/{subscription['id']}"))["status"] == "active"


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "months"),
    [
        # Stripe's minimum charge: 0.50 USD, 0.30 GBP, 0.50 EUR, 50 JPY. So many months reach it.
        ("0.10", "usd", 10, 5),
        ("0.49", "usd", 49, 2),
        ("0.20", "gbp", 20, 2),
        ("0.25", "eur", 25, 2),
        ("30", "jpy", 30, 2),
    ],
)
async def test_item_10_an_amount_under_the_minimum_is_carried(
    client: httpx.AsyncClient, amount: str, currency: str, minor: int, months: int
) -> None:
    subscription = await subscribed(client, amount, currency)
    await advance(client, subscription["clock"], MAY)
    assert await taken(client) == []
    # 16 days of retries would end in a suspension.
    await advance(client, subscription["clock"], "2025-05-25T00:00:00Z")
    assert await taken(client) == []
    await no_declines(client, subscription)
    first = (await invoices(client))[0]
    assert first["attempt_count"] == 0
    for month in range(6, 5 + months):
        await advance(client, subscription["clock"], f"2025-{month:02}-01T00:00:00Z")
    # 5 x 0.10 = 0.50; 2 x 0.49 = 0.98; 2 x 0.20 = 0.40; 2 x 0.25 = 0.50; 2 x 30 = 60.
    assert sum(await taken(client)) == minor * months
    await no_declines(client, subscription)


@pytest.mark.parametrize(("amount", "currency", "minor"), [("1.235", "kwd", 1235), ("7.001", "bhd", 7001)])
async def test_item_10_three_decimals_are_billed_so_that_the_provider_can_take_them(
    client: httpx.AsyncClient, amount: str, currency: str, minor: int
) -> None:
    subscription = await subscribed(client, amount, currency)
    for month in range(5, 15):
        at = f"2025-{month:02}-01T00:00:00Z" if month < 13 else f"2026-{month - 12:02}-01T00:00:00Z"
        await advance(client, subscription["clock"], at)
    amounts = await taken(client)
    # Stripe takes these currencies in multiples of ten of their thousandths.
    assert [amount for amount in amounts if amount % 10] == []
    # Ten months: 10 x 1.235 = 12.350 and 10 x 7.001 = 70.010, to the thousandth; nothing is lost or made by rounding.
    assert sum(amounts) == 10 * minor
    await no_declines(client, subscription)


async def test_item_10_what_is_carried_is_said_on_both_invoices(client: httpx.AsyncClient) -> None:
    """0.30 USD a month: April's is carried, May's is 0.60, which Stripe takes."""
    subscription = await subscribed(client, "0.30", "usd")
    await advance(client, subscription["clock"], MAY)
    await advance(client, subscription["clock"], "2025-06-01T00:00:00Z")
    april, may = await invoices(client)
    lines = [[(line["type"], line["amount"]) for line in each["line_items"]] for each in (april, may)]
    assert lines == [[("fee", 30), ("carried", -30)], [("fee", 30), ("carried", 30)]]
    assert [(each["total_amount"], each["status"]) for each in (april, may)] == [(0, "paid"), (60, "paid")]
    assert "Carried to the next invoice" in april["line_items"][1]["description"]
    assert await taken(client) == [60]


async def test_item_10_a_one_off_under_the_minimum_is_no_decline(client: httpx.AsyncClient) -> None:
    """0.30 USD by itself stays open and says why; it can be paid in another way."""
    await in_test_project(client)
    await post(client, "/v1/customers", {"id": "c", "name": "c", **STRIPE})
    body = {"customer_id": "c", "currency": "USD", "line_items": [{"description": "x", "amount": "30"}]}
    draft = (await client.post("/v1/invoices/one_off", json=body)).json()
    await post(client, f"/v1/invoices/{draft['id']}/finalize", {}, 200)
    refused = await client.post(f"/v1/invoices/{draft['id']}/charge", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "amount_not_collectable"), refused.text
    assert (await get(client, f"/v1/invoices/{draft['id']}"))["attempt_count"] == 0
    await post(client, f"/v1/invoices/{draft['id']}/pay", {}, 200)
