"""Test clocks as a user of the API meets them: a year in seconds, independent clocks, forward only (issue item 9)."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, growth_plan, post, sent, stocked, subscribed
from tests.waiting import eventually

JANUARY = "2026-01-01T00:00:00Z"
NEXT_JANUARY = "2027-01-01T00:00:00Z"
CARD = {"payment_provider": "sandbox", "payment_provider_customer_id": "cus_card"}


async def clock_at(client: httpx.AsyncClient, frozen_time: str = JANUARY) -> str:
    made = await post(client, "/v1/test_clocks", {"name": "A year", "frozen_time": frozen_time})
    assert (made["status"], made["frozen_time"]) == ("ready", frozen_time)
    return str(made["id"])


async def advance(client: httpx.AsyncClient, clock: str, to: str, wait: int = 60) -> dict[str, Any]:
    body = {"frozen_time": to, "wait": wait}
    document: dict[str, Any] = await post(client, f"/v1/test_clocks/{clock}/advance", body, 200)
    return document


async def invoices(client: httpx.AsyncClient, subscription: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await get(client, "/v1/invoices", subscription_id=subscription)
    return sorted(found, key=lambda invoice: invoice["period_start"])


async def test_a_year_of_monthly_billing_by_one_advance(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date=JANUARY)
    began = time.perf_counter()
    arrived = await advance(client, clock, NEXT_JANUARY)
    print(f"a year of monthly billing took {time.perf_counter() - began:.2f} s")
    assert (arrived["status"], arrived["frozen_time"]) == ("ready", NEXT_JANUARY)
    assert arrived["progress"] == {"subscriptions": 1, "reached": 1}
    billed = await invoices(client, subscription["id"])
    assert [invoice["total_amount"] for invoice in billed] == [4900] * 12
    assert [invoice["status"] for invoice in billed] == ["paid"] * 12
    assert [invoice["period_start"] for invoice in billed] == [
        f"2026-{month:02}-01T00:00:00Z" for month in range(1, 13)
    ]
    # Everything happened in the clock's time (C11).
    assert [invoice["issued_at"] for invoice in billed[:11]] == [
        f"2026-{month:02}-01T00:00:00Z" for month in range(2, 13)
    ]
    period = await get(client, f"/v1/subscriptions/{subscription['id']}")
    assert period["current_period_start"] == NEXT_JANUARY


async def test_usage_of_each_month_is_on_its_invoice(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date=JANUARY)
    for month, calls in ((1, 150_000), (2, 1_200_000)):
        at = f"2026-{month:02}-10T00:00:00Z"
        await advance(client, clock, at)
        event = {"customer_id": "cust_acme", "metric_key": "api_calls", "value": calls, "idempotency_key": at}
        await post(client, "/v1/events", event, 202)
    await advance(client, clock, "2026-03-01T00:00:00Z")
    billed = await invoices(client, subscription["id"])
    assert [invoice["total_amount"] for invoice in billed] == [500 + 4900, 10000 + 4900]


async def test_a_future_subscription_begins_when_the_clock_reaches_it(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock)
    subscription = await subscribed(client, start_date="2026-02-15T00:00:00Z")
    assert subscription["status"] == "pending"
    await advance(client, clock, "2026-02-16T00:00:00Z")
    begun = await get(client, f"/v1/subscriptions/{subscription['id']}")
    assert (begun["status"], begun["started_at"]) == ("active", "2026-02-15T00:00:00Z")


async def test_a_declined_card_recovers_by_the_retry_schedule(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    card = {"payment_provider": "sandbox", "payment_provider_customer_id": "cus_decline_once"}
    await stocked(client, test_clock_id=clock, **card)
    subscription = await subscribed(client, start_date=JANUARY)
    await advance(client, clock, "2026-02-01T00:00:00Z")
    (declined,) = await invoices(client, subscription["id"])
    assert (declined["status"], declined["attempt_count"]) == ("issued", 1)
    await advance(client, clock, "2026-02-03T00:00:00Z")
    (paid,) = await invoices(client, subscription["id"])
    assert (paid["status"], paid["attempt_count"]) == ("paid", 2)
    assert paid["paid_at"] == "2026-02-02T00:00:00Z"


async def test_clocks_move_independently_and_forward_only(client: httpx.AsyncClient) -> None:
    first, second = await clock_at(client), await clock_at(client)
    await stocked(client, customer="cust_acme", test_clock_id=first)
    await post(client, "/v1/customers", {"id": "cust_other", "name": "Other", "test_clock_id": second})
    one = await subscribed(client, start_date=JANUARY)
    other = await subscribed(client, start_date=JANUARY, customer_id="cust_other")
    await advance(client, first, "2026-03-01T00:00:00Z")
    assert len(await invoices(client, one["id"])) == 2
    assert await invoices(client, other["id"]) == []
    assert (await get(client, f"/v1/test_clocks/{second}"))["frozen_time"] == JANUARY
    refused = await post(client, f"/v1/test_clocks/{first}/advance", {"frozen_time": "2026-02-28T00:00:00Z"}, 422)
    assert refused["code"] == "clock_backwards"
    too_far = await post(client, f"/v1/test_clocks/{first}/advance", {"frozen_time": "2040-01-01T00:00:00Z"}, 422)
    assert too_far["code"] == "clock_too_far"
    same = await advance(client, first, "2026-03-01T00:00:00Z")
    assert same["status"] == "ready"
    assert len(await invoices(client, one["id"])) == 2


async def test_one_advance_at_a_time_and_nothing_new_meanwhile(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock, **CARD)
    subscription = await subscribed(client, start_date=JANUARY)
    started = await advance(client, clock, "2030-01-01T00:00:00Z", wait=0)
    assert started["status"] == "advancing"
    assert (started["frozen_time"], started["target_time"]) == (JANUARY, "2030-01-01T00:00:00Z")
    again, created, deleted = await asyncio.gather(
        client.post(f"/v1/test_clocks/{clock}/advance", json={"frozen_time": "2031-01-01T00:00:00Z"}),
        client.post("/v1/subscriptions", json={"customer_id": "cust_acme", "plan_id": "plan_growth"}),
        client.delete(f"/v1/test_clocks/{clock}"),
    )
    assert [answer.status_code for answer in (again, created, deleted)] == [409, 409, 409]
    assert created.json()["code"] == "test_clock_advancing"

    async def read() -> dict[str, Any]:
        document: dict[str, Any] = await get(client, f"/v1/test_clocks/{clock}")
        return document

    await eventually(read, seconds=60, until=lambda clock: clock["status"] == "ready")
    billed = await invoices(client, subscription["id"])
    assert len(billed) == 48
    assert {invoice["status"] for invoice in billed} == {"paid"}


async def test_several_subscriptions_of_a_clock_arrive_together(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock)
    await post(client, "/v1/price-plans", growth_plan("plan_small", "5.00"))
    made = [await subscribed(client, start_date=JANUARY, plan_id="plan_small") for _ in range(5)]
    arrived = await advance(client, clock, "2026-04-01T00:00:00Z")
    assert (arrived["status"], arrived["progress"]) == ("ready", {"subscriptions": 5, "reached": 5})
    for one in made:
        assert [invoice["total_amount"] for invoice in await invoices(client, one["id"])] == [500] * 3


async def test_a_cancellation_ends_with_its_period_and_the_clock_goes_on(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock)
    subscription = await subscribed(client, start_date=JANUARY)
    path = f"/v1/subscriptions/{subscription['id']}"
    canceled = await post(client, f"{path}/cancel", {}, 200)
    assert (canceled["status"], canceled["ending_at"]) == ("canceled", "2026-02-01T00:00:00Z")
    arrived = await advance(client, clock, "2026-06-01T00:00:00Z")
    assert (arrived["status"], arrived["progress"]["subscriptions"]) == ("ready", 0)
    assert [invoice["total_amount"] for invoice in await invoices(client, subscription["id"])] == [4900]


async def test_a_trial_ends_in_the_clocks_time(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock)
    subscription = await subscribed(client, start_date=JANUARY, trial={"days": 14})
    assert subscription["status"] == "trialing"
    await advance(client, clock, "2026-01-20T00:00:00Z")
    assert (await get(client, f"/v1/subscriptions/{subscription['id']}"))["status"] == "active"
    await advance(client, clock, "2026-02-15T00:00:00Z")
    billed = await invoices(client, subscription["id"])
    assert [(invoice["period_start"], invoice["total_amount"]) for invoice in billed] == [
        ("2026-01-15T00:00:00Z", 4900)
    ]


async def test_deleting_a_clock_ends_what_lives_in_it(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await stocked(client, test_clock_id=clock)
    subscription = await subscribed(client, start_date=JANUARY)
    await advance(client, clock, "2026-02-01T00:00:00Z")
    await sent(client, "DELETE", f"/v1/test_clocks/{clock}", 204)
    await sent(client, "GET", f"/v1/test_clocks/{clock}", 404)
    await sent(client, "GET", "/v1/customers/cust_acme", 404)
    ended = await get(client, f"/v1/subscriptions/{subscription['id']}")
    assert (ended["status"], ended["ending_at"]) == ("terminated", "2026-02-01T00:00:00Z")
    assert len(await invoices(client, subscription["id"])) == 1
    assert await get(client, "/v1/test_clocks") == []
    again = await post(client, "/v1/customers", {"id": "cust_acme", "name": "Acme, again"})
    assert again["id"] == "cust_acme"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"frozen_time": "soon"},
        {"frozen_time": JANUARY, "speed": 2},
        {"frozen_time": JANUARY, "name": "x" * 256},
        {"frozen_time": 1767225600},
    ],
)
async def test_a_clock_needs_a_time(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    refused = await post(client, "/v1/test_clocks", body, 422)
    assert refused["code"] == "validation_failed"


async def test_waits_are_bounded_and_unknown_clocks_unknown(client: httpx.AsyncClient) -> None:
    clock = await clock_at(client)
    await post(client, f"/v1/test_clocks/{clock}/advance", {"frozen_time": NEXT_JANUARY, "wait": 61}, 422)
    await post(client, "/v1/test_clocks/clock_unknown/advance", {"frozen_time": NEXT_JANUARY}, 404)
    await post(client, "/v1/customers", {"id": "cust_x", "name": "X", "test_clock_id": "clock_unknown"}, 404)
    later = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await advance(client, clock, later))["frozen_time"] == later
