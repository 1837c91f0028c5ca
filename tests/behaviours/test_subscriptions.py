"""B8, B37, B38, B80-B90, B92, B109: subscriptions as a user of the API meets them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, growth_plan, month_start, post, sent, stocked, subscribed
from tests.support.stack import Stack
from tests.waiting import eventually

APRIL = {"start_date": "2026-04-01T00:00:00Z"}


async def usage(client: httpx.AsyncClient, key: str, value: int, **more: Any) -> None:
    event = {"customer_id": "cust_acme", "metric_key": "api_calls", "value": value, "idempotency_key": key, **more}
    await post(client, "/v1/events", event, 202)


async def units(client: httpx.AsyncClient, subscription: str) -> int:
    found = await get(client, f"/v1/subscriptions/{subscription}/current_usage")
    return sum(int(float(charge["units"])) for charge in found["charges"])


def cutoff() -> str:
    return (datetime.now(UTC) + timedelta(minutes=4)).isoformat()


async def test_b8_a_subscription_links_the_organization_to_a_plan(stack: Stack) -> None:
    organization = await stack.new_organization("Flow")
    key = {"x-usageflow-api-key": organization["api_key"]["key"]}
    async with stack.caller(headers=key) as client:
        await post(client, "/api/metrics", {"name": "API Calls", "key": "API_CALL", "unit": "calls"})
        plan = await post(
            client, "/api/plans", {"name": "Pro", "basePrice": 100, "billingCycle": "MONTHLY", "currency": "usd"}
        )
        await post(
            client,
            f"/api/plans/{plan['id']}/metrics",
            {"metric": "API_CALL", "includedUnits": 10000, "overagePrice": 0.01},
        )
        body = {"organizationId": organization["id"], "planId": plan["id"], "billingCycle": "MONTHLY"}
        subscription = await post(client, "/api/subscriptions", body)
        assert (subscription["status"], subscription["billingCycle"]) == ("ACTIVE", "MONTHLY")
        assert subscription["organizationId"] == organization["id"]
        assert subscription["customerId"] is None
        assert (await get(client, f"/api/subscriptions/{subscription['id']}"))["status"] == "ACTIVE"
        assert [one["id"] for one in await get(client, "/api/subscriptions")] == [subscription["id"]]
        for number, customer in enumerate(("user_1", "user_2")):
            event = {"metric": "API_CALL", "amount": 500, "customerId": customer}
            await sent(client, "POST", "/api/track", 202, json=event, headers={"Idempotency-Key": f"b8-{number}"})
        assert await units(client, subscription["id"]) == 1000
        await post(client, "/api/subscriptions", {**body, "billingCycle": "YEARLY"}, 422)


async def test_b37_a_plan_change_leaves_existing_subscriptions_alone(client: httpx.AsyncClient) -> None:
    await stocked(client)
    old = await subscribed(client)
    changed = await sent(
        client, "PATCH", "/v1/price-plans/plan_growth", 200, json={"charges": growth_plan(fee="99.00")["charges"]}
    )
    assert changed["version"] == 2
    assert (await get(client, f"/v1/subscriptions/{old['id']}"))["plan_version"] == 1
    assert (await subscribed(client))["plan_version"] == 2
    invoice = await post(client, "/v1/invoices", {"subscription_id": old["id"], "cutoff_date": cutoff()})
    assert invoice["total_amount"] == 4900


async def test_b38_migration_is_explicit_and_the_next_invoice_uses_the_version(client: httpx.AsyncClient) -> None:
    await stocked(client)
    subscription = await subscribed(client)
    path = f"/v1/subscriptions/{subscription['id']}"
    await sent(
        client, "PATCH", "/v1/price-plans/plan_growth", 200, json={"charges": growth_plan(fee="99.00")["charges"]}
    )
    moved = await post(client, f"{path}/migrate", {"plan_version": 2}, 200)
    assert moved["plan_version"] == 2
    assert (await get(client, path))["plan_version"] == 2
    invoice = await post(client, "/v1/invoices", {"subscription_id": subscription["id"], "cutoff_date": cutoff()})
    assert invoice["total_amount"] == 9900
    await post(client, f"{path}/migrate", {"plan_version": 3}, 404)


async def test_b80_a_customer_may_hold_several_active_subscriptions(client: httpx.AsyncClient) -> None:
    await stocked(client)
    await post(client, "/v1/price-plans", growth_plan("plan_second", "10.00"))
    first, second = await subscribed(client), await subscribed(client, plan_id="plan_second")
    listed = await get(client, "/v1/subscriptions", customer_id="cust_acme", status="active")
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    totals = []
    for one in (first, second):
        invoice = await post(client, "/v1/invoices", {"subscription_id": one["id"], "cutoff_date": cutoff()})
        totals.append(invoice["total_amount"])
    assert totals == [4900, 1000]


async def test_b82_starts_at_is_a_date_and_the_external_reference_is_kept(client: httpx.AsyncClient) -> None:
    await stocked(client)
    made = await subscribed(
        client,
        starts_at="2024-05-01",
        external_reference="crm-789",
        contract={"term": "P2Y"},
    )
    shown = await get(client, f"/v1/subscriptions/{made['id']}")
    assert shown["starts_at"] == "2024-05-01"
    assert shown["start_date"] == "2024-05-01T00:00:00Z"
    assert shown["external_reference"] == "crm-789"
    assert shown["contract"] == {"term": "P2Y"}
    for name in ("crm-789", made["uuid"], made["ingest_key"], "sub.crm-789", "sub.crm_789"):
        assert (await get(client, f"/v1/subscriptions/{name}"))["id"] == made["id"]
    listed = await get(client, "/api/v1/subscriptions", external_reference="crm-789")
    assert [one["id"] for one in listed] == [made["id"]]


async def test_b83_the_answer_repeats_what_was_asked_for(client: httpx.AsyncClient) -> None:
    await stocked(client)
    made = await subscribed(client, **APRIL)
    assert made["id"].startswith("sub_")
    expected = {
        "customer_id": "cust_acme",
        "plan_id": "plan_growth",
        "plan_version": 1,
        "status": "active",
        "start_date": "2026-04-01T00:00:00Z",
    }
    assert {name: made[name] for name in expected} == expected


async def test_b84_a_past_start_is_active_and_a_future_one_pending(client: httpx.AsyncClient) -> None:
    await stocked(client)
    assert (await subscribed(client, **APRIL))["status"] == "active"
    soon = (datetime.now(UTC) + timedelta(days=20)).isoformat()
    pending = await subscribed(client, start_date=soon)
    assert (pending["status"], pending["started_at"]) == ("pending", None)
    activated = await post(client, f"/v1/subscriptions/{pending['id']}/activate", {}, 200)
    assert activated["status"] == "active"
    assert datetime.fromisoformat(activated["started_at"]) <= datetime.now(UTC)
    assert activated["starts_at"] == activated["start_date"] == activated["started_at"]


async def test_b85_pausing_and_resuming_keep_historical_usage(client: httpx.AsyncClient) -> None:
    await stocked(client)
    subscription = await subscribed(client)
    path = f"/v1/subscriptions/{subscription['id']}"
    await usage(client, "b85", 100)
    assert (await sent(client, "PATCH", path, 200, json={"status": "paused"}))["status"] == "paused"
    body = {"id": subscription["id"], "status": "active", "external_reference": "crm-1"}
    resumed = await sent(client, "PATCH", "/api/v1/subscriptions", 200, json=body)
    assert (resumed["status"], resumed["external_reference"]) == ("active", "crm-1")
    assert await units(client, subscription["id"]) == 100


async def test_b86_legal_changes_are_made_and_illegal_ones_refused(client: httpx.AsyncClient) -> None:
    await stocked(client)
    one = f"/v1/subscriptions/{(await subscribed(client))['id']}"
    await post(client, f"{one}/resume", {}, 409)
    await post(client, f"{one}/activate", {}, 409)
    assert (await post(client, f"{one}/pause", {}, 200))["status"] == "paused"
    refused = await post(client, f"{one}/pause", {}, 409)
    assert refused["code"] == "illegal_transition"
    assert (await post(client, f"{one}/resume", {}, 200))["status"] == "active"
    canceled = await post(client, f"{one}/cancel", {}, 200)
    assert canceled["status"] == "canceled"
    assert canceled["canceled_at"] is not None
    next_month = (month_start() + timedelta(days=32)).replace(day=1)
    assert canceled["ending_at"] == next_month.strftime("%Y-%m-%dT%H:%M:%SZ")
    await post(client, f"{one}/cancel", {}, 409)
    await sent(client, "DELETE", one, 204)
    ended = await get(client, one)
    assert ended["status"] == "terminated"
    await sent(client, "DELETE", one, 409)
    await post(client, f"{one}/resume", {}, 409)


async def test_b86_termination_bills_at_once_unless_it_is_to_skip(client: httpx.AsyncClient) -> None:
    await stocked(client)
    billed, skipped = await subscribed(client), await subscribed(client)
    await sent(client, "DELETE", f"/v1/subscriptions/{billed['id']}", 204)
    await sent(client, "DELETE", f"/v1/subscriptions/{skipped['id']}", 204, params={"on_termination_action": "skip"})
    invoices = await get(client, "/v1/invoices")
    assert [invoice["subscription_id"] for invoice in invoices] == [billed["id"]]
    assert 0 < invoices[0]["total_amount"] <= 4900


async def test_b86_bulk_forms_tell_each_result(client: httpx.AsyncClient) -> None:
    await stocked(client)
    ids = [(await subscribed(client))["id"] for _ in range(3)]
    paused = await post(client, "/v1/subscriptions/bulk_pause", {"subscription_ids": ids}, 200)
    assert (paused["succeeded_count"], paused["failed_count"]) == (3, 0)
    mixed = await post(client, "/v1/subscriptions/bulk_resume", {"subscription_ids": [ids[0], "sub_unknown"]}, 200)
    assert [result["success"] for result in mixed["results"]] == [True, False]
    assert (mixed["succeeded_count"], mixed["failed_count"]) == (1, 1)
    ended = await post(client, "/v1/subscriptions/bulk_terminate", {"subscription_ids": ids}, 200)
    assert ended["succeeded_count"] == 3
    await post(client, "/v1/subscriptions/bulk_pause", {"subscription_ids": []}, 422)


async def test_b86_one_of_many_simultaneous_pauses_wins(client: httpx.AsyncClient) -> None:
    await stocked(client)
    path = f"/v1/subscriptions/{(await subscribed(client))['id']}"
    answers = await asyncio.gather(*(client.post(f"{path}/pause") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_b86_one_idempotency_key_may_serve_two_commands(client: httpx.AsyncClient) -> None:
    await stocked(client)
    path = f"/v1/subscriptions/{(await subscribed(client))['id']}"
    key = {"Idempotency-Key": "same"}
    for _ in range(2):
        assert (await sent(client, "POST", f"{path}/pause", 200, headers=key))["status"] == "paused"
    for _ in range(2):
        assert (await sent(client, "POST", f"{path}/resume", 200, headers=key))["status"] == "active"


async def test_b87_the_timeline_tells_what_happened_in_order(client: httpx.AsyncClient) -> None:
    await stocked(client)
    path = f"/v1/subscriptions/{(await subscribed(client))['id']}"
    await post(client, f"{path}/pause", {}, 200)
    await post(client, f"{path}/resume", {}, 200)
    events = (await get(client, f"{path}/lifecycle"))["events"]
    assert [(event["event_type"], event["status"]) for event in events] == [
        ("subscription", "active"),
        ("status_change", "paused"),
        ("status_change", "active"),
    ]
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)


async def test_b88_a_plan_change_preview_shows_both_prices_and_changes_nothing(client: httpx.AsyncClient) -> None:
    await stocked(client)
    await post(client, "/v1/price-plans", growth_plan("plan_100", "100.00"))
    await post(client, "/v1/price-plans", growth_plan("plan_200", "200.00"))
    made = await subscribed(client, plan_id="plan_100", **APRIL)
    path = f"/v1/subscriptions/{made['id']}"
    question = {"new_plan_id": "plan_200", "effective_date": "2026-04-16T00:00:00Z"}
    preview = await post(client, f"{path}/change_plan_preview", question, 200)
    assert preview["proration"] == {
        "days_remaining": 15,
        "total_days": 30,
        "current_plan_credit_cents": 5000,
        "new_plan_charge_cents": 10000,
        "net_amount_cents": 5000,
    }
    assert (preview["current_plan"]["amount_cents"], preview["new_plan"]["amount_cents"]) == (10000, 20000)
    assert (await get(client, path))["plan_id"] == "plan_100"


async def test_b90_the_next_billing_date_is_the_next_first_of_a_month(client: httpx.AsyncClient) -> None:
    await stocked(client)
    made = await subscribed(client, **APRIL)
    found = await get(client, f"/v1/subscriptions/{made['id']}/next_billing_date")
    at = datetime.fromisoformat(found["next_billing_date"])
    assert (at.day, at.hour) == (1, 0)
    assert datetime.now(UTC) < at <= datetime.now(UTC) + timedelta(days=32)
    assert found["interval"] == "monthly"
    assert 0 <= found["days_until_next_billing"] <= 31


async def test_b92_a_trial_costs_nothing(client: httpx.AsyncClient) -> None:
    await stocked(client)
    ends = (datetime.now(UTC) + timedelta(days=14)).replace(microsecond=0)
    made = await subscribed(client, start_date=datetime.now(UTC).isoformat(), trial={"ends_at": ends.isoformat()})
    assert (made["status"], made["trial_ends_at"]) == ("trialing", ends.strftime("%Y-%m-%dT%H:%M:%SZ"))
    await post(client, "/v1/invoices", {"subscription_id": made["id"], "cutoff_date": cutoff()}, 422)


async def test_b109_a_backdated_subscription_is_not_invoiced_for_past_periods(client: httpx.AsyncClient) -> None:
    await stocked(client)
    made = await subscribed(client, **APRIL)
    path = f"/v1/subscriptions/{made['id']}"
    # A command is answered by the running workflow after everything that was due before it.
    await post(client, f"{path}/pause", {}, 200)
    await post(client, f"{path}/resume", {}, 200)
    assert await get(client, "/v1/invoices") == []
    body = {"customer_id": "cust_acme", "cutoff_date": "2026-04-30T23:59:59Z"}
    assert (await post(client, "/v1/invoices", body))["total_amount"] == 4900


async def test_b109_unless_it_asks_for_it(client: httpx.AsyncClient) -> None:
    await stocked(client)
    start = (month_start() - timedelta(days=40)).replace(day=1)
    made = await subscribed(client, start_date=start.isoformat(), backdate_billing="automatic")

    async def billed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await get(client, "/v1/invoices", subscription_id=made["id"])
        return found

    invoices = await eventually(billed, until=lambda found: len(found) == 2)
    assert {invoice["total_amount"] for invoice in invoices} == {4900}


async def test_b39_the_subscription_lists_what_its_plan_entitles_to(client: httpx.AsyncClient) -> None:
    await stocked(client)
    plan = {**growth_plan("plan_entitled"), "entitlements": {"sso": True, "seats": 10}}
    await post(client, "/v1/plans", plan)
    made = await subscribed(client, plan_id="plan_entitled", external_id="ent-1", started_at=month_start().isoformat())
    listed = await get(client, f"/v1/subscriptions/{made['external_id']}/entitlements")
    assert {one["feature_code"]: one["value"] for one in listed} == {"sso": "true", "seats": "10"}


async def test_boxbilling_bodies_wait_for_activate_and_have_calendar_periods(client: httpx.AsyncClient) -> None:
    await stocked(client)
    made = await subscribed(client, external_id="box-1")
    assert (made["status"], made["billing_time"], made["started_at"]) == ("pending", "calendar", None)
    assert (await post(client, "/v1/subscriptions/box-1/activate", {}, 200))["status"] == "active"
    period = await get(client, "/v1/subscriptions/box-1/next_billing_date")
    assert period["next_billing_date"].endswith("-01T00:00:00Z")
    await post(
        client, "/v1/subscriptions", {"external_id": "box-1", "customer_id": "cust_acme", "plan_id": "plan_growth"}, 409
    )
    changed = await sent(client, "PUT", "/v1/subscriptions/box-1", 200, json={"on_termination_action": "skip"})
    assert changed["on_termination_action"] == "skip"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"customer_id": "cust_unknown"}, 404, "customer_not_found"),
        ({"plan_id": "plan_unknown"}, 404, "plan_not_found"),
        ({"start_date": "2026-04-31T00:00:00Z"}, 422, "validation_failed"),
        ({"start_date": "2026-04-01", "ending_at": "2026-03-01"}, 422, "end_before_start"),
        ({"timezone": "Mars/Olympus"}, 422, "validation_failed"),
        ({"external_id": "bulk_pause"}, 422, "reserved_id"),
        ({"trial_period_days": -1}, 422, "validation_failed"),
        ({"customer_id": "x" * 300}, 422, "validation_failed"),
    ],
)
async def test_what_cannot_be_subscribed_is_refused_with_a_code(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    await stocked(client)
    refused = await post(
        client, "/v1/subscriptions", {"customer_id": "cust_acme", "plan_id": "plan_growth", **body}, status
    )
    assert refused["code"] == code
    assert await get(client, "/v1/subscriptions") == []


async def test_another_organization_sees_nothing(client: httpx.AsyncClient, stack: Stack) -> None:
    await stocked(client)
    made = await subscribed(client)
    async with stack.client("Stranger") as stranger:
        assert await get(stranger, "/v1/subscriptions") == []
        await sent(stranger, "GET", f"/v1/subscriptions/{made['uuid']}", 404)
        await post(stranger, f"/v1/subscriptions/{made['id']}/pause", {}, 404)


async def test_metadata_and_contract_are_kept_exactly_and_can_be_changed(client: httpx.AsyncClient) -> None:
    await stocked(client)
    text = '{"ratio":0.1,"big":12345678901234567890.123,"nested":{"list":[1,null,true,"ü"]}}'
    body = f'{{"customer_id":"cust_acme","plan_id":"plan_growth","metadata":{text}}}'
    answer = await client.post("/v1/subscriptions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    path = f"/v1/subscriptions/{answer.json()['id']}"
    shown = (await client.get(path)).text
    for number in ("0.1", "12345678901234567890.123"):
        assert f":{number}," in shown
    changed = await sent(client, "PATCH", path, 200, json={"metadata": {"seats": 3}, "contract": {"po": "17"}})
    assert (changed["metadata"], changed["contract"]) == ({"seats": 3}, {"po": "17"})
    emptied = await sent(client, "PATCH", path, 200, json={"contract": None})
    assert emptied["contract"] is None
    await sent(client, "PATCH", path, 422, json={"billing_time": "calendar"})
    await sent(client, "PATCH", path, 200, json={"billing_time": "anniversary", "trial_period_days": 0})
    await sent(client, "PATCH", path, 422, json={"status": "sleeping"})
    await sent(client, "PATCH", "/v1/subscriptions", 422, json={"status": "paused"})


async def test_lists_filter_page_and_order(client: httpx.AsyncClient) -> None:
    await stocked(client)
    made = [(await subscribed(client, external_reference=f"crm-{number}"))["id"] for number in range(5)]
    page = await client.get("/v1/subscriptions", params={"limit": 2})
    assert page.headers["x-total-count"] == "5"
    assert [one["id"] for one in page.json()] == made[:2:-1]
    rest = await client.get(page.links["next"]["url"])
    assert [one["id"] for one in rest.json()] == made[2:0:-1]
    await sent(client, "DELETE", f"/v1/subscriptions/{made[0]}", 204, params={"on_termination_action": "skip"})
    assert [one["id"] for one in await get(client, "/v1/subscriptions", status="TERMINATED")] == [made[0]]
    assert len(await get(client, "/v1/subscriptions", status="active", plan_id="plan_growth")) == 4
    assert await get(client, "/v1/subscriptions", customer_id="nobody") == []
    await sent(client, "GET", "/v1/subscriptions", 422, params={"status": "sleeping"})
    await sent(client, "GET", "/v1/subscriptions", 422, params={"order_by": "bogus"})
    oldest = await get(client, "/v1/subscriptions", order_by="created_at:asc", limit=1)
    assert [one["id"] for one in oldest] == [made[0]]
