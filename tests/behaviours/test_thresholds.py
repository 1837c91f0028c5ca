"""Usage thresholds and invoices in the middle of a period (seed 002, behaviours B152-B159, conflicts C26, C29, C30)."""

import asyncio
import random
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.subscriptions.catalogue import get, post, sent
from tests.support.alerting import APRIL, advance, invoices, shop, subscribe, triggers, use, watch
from tests.support.receiver import receiving
from tests.waiting import eventually

PLAN_THRESHOLDS = "/v1/plans/pro_monthly/usage_thresholds"
CARD = {"payment_provider": "sandbox", "payment_provider_customer_id": "cus_card"}


def of(subscription: dict[str, Any]) -> str:
    return f"/v1/subscriptions/{subscription['id']}/usage_thresholds"


def totals(found: list[dict[str, Any]]) -> list[int]:
    return [invoice["total_amount"] for invoice in found]


async def test_b152_b158_b159_b160_owners_defaults_and_deleting(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    of_plan = await post(client, PLAN_THRESHOLDS, {"amount_cents": 50000, "recurring": True})
    of_subscription = await post(client, of(subscription), {"amount_cents": 99999999})
    assert (of_plan["plan_id"], of_plan["subscription_id"], of_plan["recurring"]) == ("pro_monthly", None, True)
    assert (of_subscription["plan_id"], of_subscription["subscription_id"]) == (None, subscription["id"])
    wanted = {"amount_cents": "99999999", "currency": "USD", "recurring": False, "threshold_display_name": None}
    assert {name: of_subscription[name] for name in wanted} == wanted
    assert [str(UUID(each["id"])) for each in (of_plan, of_subscription)] == [of_plan["id"], of_subscription["id"]]
    named = {"amount_cents": "1", "threshold_display_name": "x" * 255}
    assert (await post(client, of(subscription), named))["threshold_display_name"] == "x" * 255
    assert len(await get(client, PLAN_THRESHOLDS)) == 1
    assert len(await get(client, of(subscription))) == 2
    for path, threshold in ((PLAN_THRESHOLDS, of_plan), (of(subscription), of_subscription)):
        await sent(client, "DELETE", f"/v1/usage_thresholds/{threshold['id']}", 204)
        await sent(client, "DELETE", f"/v1/usage_thresholds/{threshold['id']}", 404)
        assert threshold["id"] not in [each["id"] for each in await get(client, path)]


async def test_b153_b154_b155_b156_a_crossing_invoices_the_usage_and_the_rest_follows(
    client: httpx.AsyncClient,
) -> None:
    async with receiving() as receiver:
        await post(client, "/v1/webhook_endpoints", {"url": receiver.url})
        subscription, other = await shop(client, **CARD), await subscribe(client, "cust_other", **CARD)
        await post(client, PLAN_THRESHOLDS, {"amount_cents": 50000, "recurring": True})
        await advance(client, subscription, "2026-03-10T00:00:00Z")
        await use(client, 10251)
        (middle,) = await invoices(client, subscription, 1)

        async def paid() -> dict[str, Any]:
            found: dict[str, Any] = await get(client, f"/v1/invoices/{middle['id']}")
            return found

        # Collected like any other invoice.
        done = await eventually(paid, until=lambda invoice: invoice["status"] == "paid")
        assert (done["total_amount"], done["kind"]) == (51255, "progressive")
        assert [line["amount"] for line in done["line_items"]] == [51255]
        assert await get(client, "/v1/invoices", subscription_id=other["id"]) == []
        await use(client, 9749)
        await advance(client, subscription, APRIL)
        # 20,000 calls at five cents, and the fee once: 1,010 dollars.
        found = await invoices(client, subscription, 2)
        assert totals(found) == [51255, 101000 - 51255]
        assert found[1]["line_items"][1]["description"] == "Base fee"
        # The other subscription crosses on its own count.
        await use(client, 10000, customer="cust_other")
        assert totals(await invoices(client, other, 1)) == [50000]

        async def told() -> list[str]:
            about = [
                one.document for one in receiver.received if one.document["data"].get("invoice_id") == middle["id"]
            ]
            return [each["type"] for each in sorted(about, key=lambda each: each["sequence"])]

        types = await eventually(told, until=lambda types: len(types) >= 4)
        assert types[:3] == ["usage_threshold.reached", "invoice.created", "invoice.issued"]
    notes = await get(client, "/v1/notifications")
    assert [note["title"] for note in notes if note["category"] == "usage_threshold"] == ["Usage threshold reached"] * 2


async def test_b157_once_or_once_in_each_period(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    await post(client, of(subscription), {"amount_cents": 1000, "recurring": True})
    await post(client, of(subscription), {"amount_cents": 2000})
    await use(client, 200)
    assert totals(await invoices(client, subscription, 1)) == [1000]
    await use(client, 200)
    assert totals(await invoices(client, subscription, 2)) == [1000, 1000]
    await use(client, 40)
    await advance(client, subscription, "2026-04-05T00:00:00Z")
    await use(client, 600)
    # March's rest with its fee, then April: only the recurring one, though both amounts are passed.
    assert totals(await invoices(client, subscription, 4)) == [1000, 1000, 1200, 3000]
    await use(client, 1)
    await advance(client, subscription, "2026-05-01T00:00:00Z")
    assert totals(await invoices(client, subscription, 5))[4:] == [1005]


async def test_several_thresholds_crossed_by_one_jump_make_one_invoice(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    for amount in (1000, 2000, 3000):
        await post(client, of(subscription), {"amount_cents": amount, "recurring": True})
    await use(client, 700)
    assert totals(await invoices(client, subscription, 1)) == [3500]
    await advance(client, subscription, APRIL)
    assert totals(await invoices(client, subscription, 2)) == [3500, 1000]


async def test_c29_a_threshold_below_the_present_spend_is_crossed_with_the_next_usage(
    client: httpx.AsyncClient,
) -> None:
    subscription = await shop(client)
    await use(client, 700)
    sentinel = await watch(client, subscription, 700)
    await triggers(client, sentinel, 1)
    await post(client, PLAN_THRESHOLDS, {"amount_cents": 1000})
    await use(client, 1)
    (made,) = await invoices(client, subscription, 1)
    assert (made["total_amount"], made["status"]) == (3505, "issued")


async def test_a_subscription_made_after_its_plans_threshold_is_watched_from_its_start(
    client: httpx.AsyncClient,
) -> None:
    await shop(client)
    await post(client, PLAN_THRESHOLDS, {"amount_cents": 1000})
    later = await subscribe(client, "cust_later")
    await use(client, 200, customer="cust_later")
    assert totals(await invoices(client, later, 1)) == [1000]


async def test_a_plans_threshold_is_an_amount_in_its_own_currency(client: httpx.AsyncClient) -> None:
    """A plan that is priced in another currency now keeps its thresholds for the subscriptions to its old versions."""
    in_dollars = await shop(client)
    await post(client, PLAN_THRESHOLDS, {"amount_cents": 500, "recurring": True})
    yen = [{"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": "5"}]
    repriced = {"name": "Pro", "currency": "JPY", "billing_period": "monthly", "charges": yen}
    await sent(client, "PUT", "/v1/price-plans/pro_monthly", 200, json=repriced)
    refused = await post(client, f"/v1/subscriptions/{in_dollars['id']}/migrate", {}, 409)
    assert refused["code"] == "other_currency"
    in_yen = await subscribe(client, "cust_yen")
    await post(client, PLAN_THRESHOLDS, {"amount_cents": 900, "currency": "JPY"})
    await use(client, 120, customer="cust_yen")
    await use(client, 120)
    assert totals(await invoices(client, in_dollars, 1)) == [600]
    await use(client, 80, customer="cust_yen")
    assert totals(await invoices(client, in_yen, 1)) == [1000]


async def test_a_voided_middle_invoice_is_billed_again_at_the_end(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    await post(client, of(subscription), {"amount_cents": 1000})
    await use(client, 300)
    (middle,) = await invoices(client, subscription, 1)
    await post(client, f"/v1/invoices/{middle['id']}/void", {"rebill": True}, 200)
    await advance(client, subscription, APRIL)
    assert totals(await invoices(client, subscription, 2)) == [1500, 2500]


async def test_a_paused_subscription_is_not_invoiced_until_it_resumes(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    await post(client, of(subscription), {"amount_cents": 1000})
    await post(client, f"/v1/subscriptions/{subscription['id']}/pause", {"behavior": "keep_billing"}, 200)
    await use(client, 300)
    await advance(client, subscription, "2026-03-05T00:00:00Z")
    assert await get(client, "/v1/invoices", subscription_id=subscription["id"]) == []
    await post(client, f"/v1/subscriptions/{subscription['id']}/resume", {}, 200)
    assert totals(await invoices(client, subscription, 1)) == [1500]


async def test_b155_random_periods_add_up_to_one_rating(client: httpx.AsyncClient) -> None:
    await shop(client)
    tiers = [
        {"up_to": 100, "unit_price": "0.133"},
        {"up_to": 400, "unit_price": "0.077"},
        {"up_to": None, "unit_price": "0.021"},
    ]
    charges = [{"metric_key": "api_calls", "pricing_model": "tiered", "tiers": tiers}]
    plan = {"id": "tiered", "name": "Tiered", "currency": "USD", "billing_period": "monthly", "charges": charges}
    await post(client, "/v1/price-plans", plan)
    made = await asyncio.gather(*(random_period(client, f"cust_{seed}", random.Random(seed)) for seed in range(20)))
    assert sum(made) > len(made), "some were invoiced in the middle of their period"


async def random_period(client: httpx.AsyncClient, code: str, chance: random.Random) -> int:
    """Live a month with random thresholds, usage and corrections; returns the number of its invoices."""
    subscription = await subscribe(client, code, plan_id="tiered")
    for _ in range(chance.randint(1, 3)):
        threshold = {"amount_cents": chance.randint(1, 4000), "recurring": chance.random() < 0.5}
        await post(client, of(subscription), threshold)
    used = 0
    for day in sorted(chance.sample(range(2, 29), chance.randint(1, 3))):
        value = chance.randint(-40, 400) if used > 50 else chance.randint(0, 400)
        used += value
        await use(client, value, customer=code)
        await advance(client, subscription, f"2026-03-{day:02}T00:00:00Z")
    await advance(client, subscription, APRIL)
    found = await get(client, "/v1/invoices", subscription_id=subscription["id"])
    lines = sum(line["amount"] for invoice in found for line in invoice["line_items"] if line["type"] == "usage")
    assert lines == rated(used), (code, found)
    return len(found)


def rated(units: int) -> int:
    """Price the month of the random plan by hand: graduated tiers, rounded once, half up."""
    dollars = Decimal(0)
    for low, high, price in ((0, 100, "0.133"), (100, 400, "0.077"), (400, units, "0.021")):
        dollars += max(min(units, high) - low, 0) * Decimal(price)
    return int(dollars * 100 + Decimal("0.5"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_cents": -1},
        {"amount_cents": "much"},
        {},
        {"amount_cents": 1, "currency": "EUR"},
        {"amount_cents": 1, "currency": "dollars"},
        {"amount_cents": 1, "threshold_display_name": "x" * 256},
    ],
)
async def test_a_threshold_that_means_nothing_is_refused(client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    await post(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
    charges = [{"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": "0.05"}]
    await post(
        client,
        "/v1/price-plans",
        {"id": "pro_monthly", "name": "P", "currency": "USD", "billing_period": "monthly", "charges": charges},
    )
    await post(client, PLAN_THRESHOLDS, wrong, 422)


async def test_thresholds_need_a_plan_or_a_live_subscription(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    for path in ("/v1/plans/unknown/usage_thresholds", "/v1/subscriptions/sub_unknown/usage_thresholds"):
        await post(client, path, {"amount_cents": 1}, 404)
        await sent(client, "GET", path, 404)
    await post(client, f"/v1/subscriptions/{subscription['id']}/cancel", {}, 200)
    await advance(client, subscription, APRIL)
    assert (await post(client, of(subscription), {"amount_cents": 1}, 409))["code"] == "subscription_ended"
