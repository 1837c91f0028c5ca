"""B106, B108: what is late or corrected, in open, closed and ended subscriptions: nothing is lost or rewritten."""

from typing import Any

import httpx
import pytest

from tests.behaviours.test_clocks import CARD, advance, clock_at, invoices
from tests.subscriptions.catalogue import get, growth_plan, post, sent, stocked, subscribed
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def use(client: httpx.AsyncClient, key: str, calls: int, at: str) -> None:
    body = {"customer_id": "cust_acme", "metric_key": "api_calls", "value": calls, "idempotency_key": key}
    await post(client, "/v1/events", {**body, "timestamp": at}, 202)


async def lines_of(client: httpx.AsyncClient, invoice: dict[str, Any]) -> list[tuple[str, int]]:
    document = await get(client, f"/v1/invoices/{invoice['id']}")
    return [(line["reason"], line["amount"]) for line in document["line_items"]]


async def test_b108_corrections_of_a_closed_period_are_on_the_next_invoice(client: httpx.AsyncClient) -> None:
    """1,200,000 calls cost 100.00; amended to 500,000 they cost 40.00, so the next invoice takes 60.00 off."""
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date="2026-01-01T00:00:00Z")
    await advance(client, clock, "2026-01-15T00:00:00Z")
    await use(client, "january", 1_200_000, "2026-01-10T00:00:00Z")
    await advance(client, clock, "2026-02-10T00:00:00Z")
    await use(client, "february", 200_000, "2026-02-05T00:00:00Z")
    await post(client, "/v1/events/january/amend", {"value": 500_000, "reason": "meter drift"}, 200)
    # An open period just changes.
    await post(client, "/v1/events/february/amend", {"value": 300_000}, 200)
    await advance(client, clock, "2026-03-10T00:00:00Z")
    first, second = await invoices(client, subscription["id"])
    assert await lines_of(client, first) == [("period", 10000), ("period", 4900)]
    carried = 6000 - 2000 - 4900
    assert await lines_of(client, second) == [("adjustment", -6000), ("period", 2000), ("period", 4900)]
    assert (second["status"], second["total_amount"]) == ("paid", -carried)
    (why,) = await get(client, f"/v1/invoices/{second['id']}/adjustments")
    assert (why["reasons"], why["quantity"], why["total_quantity"]) == (["amended"], -700_000, 500_000)
    assert [(c["old_value"], c["new_value"], c["reason"]) for c in why["corrections"]] == [
        (1_200_000, 500_000, "meter drift")
    ]
    # What was looked at once is settled: the third invoice says nothing of it.
    await advance(client, clock, "2026-04-10T00:00:00Z")
    *_, third = await invoices(client, subscription["id"])
    assert await lines_of(client, third) == [("period", 0), ("period", 4900)]


async def test_b108_an_ended_subscription_gets_a_final_adjustment_and_a_credit(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date="2026-01-01T00:00:00Z")
    await advance(client, clock, "2026-01-16T12:00:00Z")
    await use(client, "first", 200_000, "2026-01-10T00:00:00Z")
    await sent(client, "DELETE", f"/v1/subscriptions/{subscription['id']}", 204)
    await use(client, "late", 1_000_000, "2026-01-11T00:00:00Z")

    async def bills() -> list[tuple[str, int, str]]:
        found = await invoices(client, subscription["id"])
        return sorted((bill["kind"], bill["total_amount"], bill["status"]) for bill in found)

    final = ("final", 1000 + 2450, "paid")
    await eventually(bills, until=lambda found: found == [("adjustment", 9000, "paid"), final])
    # Less usage is a credit: 100.00 was billed for the calls, nothing is left of them.
    await post(client, "/v1/events/late/void", {"reason": "a test run"}, 200)
    await post(client, "/v1/events/first/void", {"reason": "a test run"}, 200)

    async def credits() -> Any:
        return sum(float(wallet["credits_balance"]) for wallet in await get(client, "/v1/wallets"))

    assert await eventually(credits, until=lambda found: found == 100) == 100
    assert {bill[1] for bill in await bills() if bill[0] == "adjustment"} == {9000, 0}


async def test_b106_late_usage_of_an_ended_subscription_is_billed_when_asked_for(client: httpx.AsyncClient) -> None:
    await stocked(client, payment_provider="sandbox", payment_provider_customer_id="cus_card")
    subscription = await subscribed(client)
    start = subscription["start_date"] if "start_date" in subscription else subscription["current_period_start"]
    await use(client, "first", 200_000, start)
    await sent(client, "DELETE", f"/v1/subscriptions/{subscription['id']}", 204)

    async def over() -> Any:
        found = await invoices(client, subscription["id"])
        return [bill["status"] for bill in found]

    await eventually(over, until=lambda found: found == ["paid"])
    await use(client, "late", 1_000_000, start)
    body = {"subscription_id": subscription["id"]}
    asked = await post(client, "/v1/invoices", body)
    assert (asked["total_amount"], asked["kind"], asked["status"]) == (9000, "adjustment", "issued")
    assert (await post(client, "/v1/invoices", body, 409))["code"] == "nothing_to_bill"
    paid = await post(client, f"/v1/invoices/{asked['id']}/charge", {}, 200)
    assert paid["status"] == "paid"


async def test_a_period_in_its_grace_stays_under_the_version_it_was_served_with(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, invoice_grace_period=10, **CARD)
    subscription = await subscribed(client, start_date="2026-01-01T00:00:00Z")
    await advance(client, clock, "2026-02-03T00:00:00Z")
    raised = growth_plan(fee="99.00")
    await sent(client, "PATCH", "/v1/price-plans/plan_growth", 200, json={"charges": raised["charges"]})
    await post(client, f"/v1/subscriptions/{subscription['id']}/migrate", {"plan_version": 2}, 200)
    cutoff = {"subscription_id": subscription["id"], "cutoff_date": "2026-02-02T00:00:00Z"}
    preview = await post(client, "/v1/invoices/preview", cutoff, 200)
    billed = await post(client, "/v1/invoices", cutoff)
    assert [line["amount"] for line in billed["line_items"] if line["amount"]] == [4900, 4900]
    assert preview["total_amount"] == billed["total_amount"]
    await advance(client, clock, "2026-04-15T00:00:00Z")
    totals = [invoice["total_amount"] for invoice in await invoices(client, subscription["id"])]
    assert totals.count(9900) == 1, totals


async def test_past_usage_and_activity_keep_the_price_of_their_period(client: httpx.AsyncClient) -> None:
    """January by version 1: 100,000 calls free and 100,000 at 0.0001 are 10.00, whatever is charged now."""
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date="2026-01-01T00:00:00Z")
    await advance(client, clock, "2026-01-20T00:00:00Z")
    await use(client, "january", 200_000, "2026-01-10T00:00:00Z")
    await advance(client, clock, "2026-02-03T00:00:00Z")
    dearer = growth_plan()
    dearer["charges"][0]["tiers"] = [{"up_to": None, "unit_price": 1}]
    await sent(client, "PATCH", "/v1/price-plans/plan_growth", 200, json={"charges": dearer["charges"]})
    await post(client, f"/v1/subscriptions/{subscription['id']}/migrate", {"plan_version": 2}, 200)
    (january,) = await get(client, "/v1/customers/cust_acme/past_usage", periods_count=3)
    assert january["amount_cents"] == "1000"
    (counted,) = await get(client, "/v1/activity", type="event")
    assert counted["amount_cents"] == "1000"


async def test_b106_what_was_used_at_the_instant_of_the_end_is_billed(client: httpx.AsyncClient) -> None:
    """A clock that stands still: usage, an invoice, more usage and the end have one time; all of it is billed once."""
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date="2026-01-01T00:00:00Z")
    at = "2026-01-10T00:00:00Z"
    await advance(client, clock, at)
    await use(client, "first", 200_000, at)
    await post(client, "/v1/invoices", {"subscription_id": subscription["id"]})
    await use(client, "second", 100_000, at)
    await sent(client, "DELETE", f"/v1/subscriptions/{subscription['id']}", 204)
    billed = [await lines_of(client, invoice) for invoice in await invoices(client, subscription["id"])]
    usage = [amount for lines in billed for reason, amount in lines if amount in (1000, -1000)]
    assert usage == [1000, 1000], billed


async def test_current_usage_is_priced_as_its_period_is_billed(client: httpx.AsyncClient) -> None:
    """A period that was billed in part stays under its plan version, and so does what is shown of it."""
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date="2026-01-01T00:00:00Z")
    await advance(client, clock, "2026-01-20T00:00:00Z")
    await use(client, "january", 200_000, "2026-01-10T00:00:00Z")
    await post(client, "/v1/invoices", {"subscription_id": subscription["id"]})
    dearer = growth_plan()
    dearer["charges"][0]["tiers"] = [{"up_to": None, "unit_price": 1}]
    await sent(client, "PATCH", "/v1/price-plans/plan_growth", 200, json={"charges": dearer["charges"]})
    await post(client, f"/v1/subscriptions/{subscription['id']}/migrate", {"plan_version": 2}, 200)
    await use(client, "more", 100_000, "2026-01-20T00:00:00Z")
    shown = await get(client, f"/v1/subscriptions/{subscription['id']}/current_usage")
    preview = await post(client, "/v1/invoices/preview", {"subscription_id": subscription["id"]}, 200)
    assert (shown["amount_cents"], preview["total_amount"]) == ("2000", 1000)
    entries = await get(client, "/v1/activity", type="event")
    assert [each["amount_cents"] for each in entries] == ["1000", "1000"]
