"""B52-B71: usage as a user of the API sends it, in every shape, and what becomes of it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.quickstart import made
from tests.support.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.stack

APRIL = "2026-04-03T09:30:00Z"


def month_start() -> str:
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).isoformat()


async def subscribed(client: httpx.AsyncClient) -> dict[str, Any]:
    """Subscribe Acme to the quickstart's plan from the start of this month."""
    await quickstart.catalogue(client)
    await quickstart.customer(client)
    return await quickstart.subscription(client, start_date=month_start())


async def units(client: httpx.AsyncClient, subscription: str) -> str:
    answer = await client.get(f"/v1/subscriptions/{subscription}/current_usage")
    assert answer.status_code == 200, answer.text
    (charge,) = [charge for charge in answer.json()["charges"] if charge["billable_metric"]["code"] == "api_calls"]
    return str(charge["units"])


def event(key: str, value: Any = 1, **more: Any) -> dict[str, Any]:
    return {"customer_id": "cust_acme", "metric_key": "api_calls", "value": value, "idempotency_key": key, **more}


def track(amount: int = 1000, **more: Any) -> dict[str, Any]:
    return {"metric": "API_CALL", "amount": amount, "customerId": "user_123", **more}


async def activity(client: httpx.AsyncClient) -> list[tuple[str, Any, Any]]:
    """Return status, quantity and reason of the events, the oldest first."""
    entries = (await client.get("/api/v1/activity", params={"type": "event"})).json()
    return [(entry["status"], entry["quantity"], entry["reason"]) for entry in reversed(entries)]


async def test_b52_a_batch_is_accepted_and_counts(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    batch = [{"subscription": subscription["ingest_key"], "product_item": "item.x", "meter": "api_calls", "value": 42}]
    answer = await client.post("/api/v1/usage", json=batch)
    assert (answer.status_code, "Usage batch accepted" in answer.text) == (200, True)

    async def counted() -> str:
        return await units(client, subscription["id"])

    await eventually(counted, until=lambda found: found == "42")


async def test_b53_unknown_ingest_keys_are_accepted_and_skipped(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    good = {"subscription": subscription["ingest_key"], "meter": "meter.api-calls", "value": 5}
    unknown = {"subscription": "sub.nobody", "meter": "meter.api-calls", "value": 7}
    answer = await client.post("/api/v1/usage", json=[good, unknown])
    assert answer.status_code == 200, answer.text
    assert await units(client, subscription["id"]) == "5"
    assert sorted(await activity(client)) == [("counted", 5, None), ("skipped", 7, "unknown_subscription")]


async def test_b54_one_request_to_an_empty_organization_is_enough(client: httpx.AsyncClient) -> None:
    batch = [{"subscription": "sub.x", "product_item": "item.x", "meter": "meter.x", "value": 42}]
    answer = await client.post("/api/v1/usage", json=batch)
    assert answer.status_code == 200, answer.text
    assert await activity(client) == [("skipped", 42, "unknown_metric")]


async def test_b55_events_from_before_the_catalogue_count_once_when_reprocessed(client: httpx.AsyncClient) -> None:
    sent = await made(client, "/v1/events", event("early", 3, timestamp=month_start()))
    assert sent["skip_reason"] == "unknown_metric"
    subscription = await subscribed(client)
    assert await units(client, subscription["id"]) == "0"
    for _ in range(2):
        assert (await made(client, f"/v1/events/{sent['id']}/reprocess", {}))["status"] == "counted"
        assert await units(client, subscription["id"]) == "3"


async def test_b56_events_name_meter_subscription_and_quantity(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    one = {"meter_id": "api_calls", "subscription_id": subscription["id"], "occurred_at": month_start()}
    answer = await client.post("/v1/usage", json={"events": [{**one, "quantity": 10}, {**one, "quantity": 32}]})
    assert answer.status_code == 200, answer.text
    assert await units(client, subscription["id"]) == "42"


async def test_b57_both_shapes_are_taken_on_both_prefixes(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    by_keys = {"subscription": subscription["ingest_key"], "product_item": "item.x", "meter": "api_calls", "value": 1}
    by_ids = {"meter_id": "api_calls", "subscription_id": subscription["id"], "quantity": 1}
    for prefix in ("/v1", "/api/v1"):
        for body in ([by_keys], {"events": [by_ids]}):
            answer = await client.post(f"{prefix}/usage", json=body)
            assert answer.status_code == 200, answer.text
    assert await units(client, subscription["id"]) == "4"


async def test_b58_events_are_answered_with_202(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    assert (await client.post("/v1/events", json=event("one"))).status_code == 202
    assert (await client.post("/v1/events/batch", json={"events": [event("two")]})).status_code == 202


async def test_b59_the_bodys_idempotency_key_makes_a_retry_safe(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    answers = [await client.post("/v1/events", json=event("evt_1", 7)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert await units(client, subscription["id"]) == "7"


async def test_b60_the_headers_idempotency_key_names_the_event(client: httpx.AsyncClient) -> None:
    await usageflow(client)
    for _ in range(2):
        answer = await client.post("/api/track", json=track(), headers={"Idempotency-Key": "unique-event-id"})
        assert 200 <= answer.status_code < 300, answer.text
    assert [record["total"] for record in (await client.get("/api/usage")).json()] == [1000]


async def test_b61_a_key_is_of_one_tenant_and_its_first_event_stays(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        for client in (a, b):
            subscription = await subscribed(client)
            assert (await client.post("/v1/events", json=event("shared", 5))).status_code == 202
            assert await units(client, subscription["id"]) == "5"
        other = await a.post("/v1/events", json=event("shared", 6))
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
        (mine,) = (await a.get("/v1/subscriptions")).json()
        assert await units(a, mine["id"]) == "5"


async def test_b62_concurrent_duplicates_count_once(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    answers = await asyncio.gather(*(client.post("/v1/events", json=event("same", 3)) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await units(client, subscription["id"]) == "3"


async def test_b63_a_batch_holds_at_most_a_thousand(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    batch = [event(f"b63-{number}") for number in range(1001)]
    refused = await client.post("/v1/events/batch", json={"events": batch})
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_events")
    assert (await client.get("/v1/events")).json() == []
    assert (await client.post("/v1/events/batch", json={"events": batch[:1000]})).status_code == 202
    assert await units(client, subscription["id"]) == "1000"


async def test_b64_each_track_request_is_one_raw_event_beside_one_aggregate(client: httpx.AsyncClient) -> None:
    await usageflow(client)
    for number in range(3):
        answer = await client.post("/api/track", json=track(), headers={"Idempotency-Key": f"event-{number}"})
        assert answer.status_code == 202, answer.text
    assert (await client.get("/v1/events")).headers["x-total-count"] == "3"
    records = (await client.get("/api/usage")).json()
    assert [(record["metric"], record["events"], record["total"]) for record in records] == [("API_CALL", 3, 3000)]


async def test_b65_usage_is_summed_by_metric_and_billing_period(client: httpx.AsyncClient) -> None:
    await usageflow(client)
    for number in range(12):
        answer = await client.post("/api/track", json=track(), headers={"Idempotency-Key": f"event-{number}"})
        assert answer.status_code == 202, answer.text

    async def records() -> Any:
        return (await client.get("/api/usage", params={"metric": "API_CALL"})).json()

    (record,) = await eventually(records, until=lambda found: found and found[0]["total"] == 12000)
    assert (record["metric"], record["events"]) == ("API_CALL", 12)
    begin, end = (datetime.fromisoformat(record[name]) for name in ("periodStart", "periodEnd"))
    assert begin <= datetime.now(UTC) <= end
    assert timedelta(days=27) < end - begin < timedelta(days=31)
    raw = await client.get("/v1/events")
    assert (raw.headers["x-total-count"], {entry["value"] for entry in raw.json()}) == ("12", {1000})


async def test_b66_the_events_own_time_decides_its_period(client: httpx.AsyncClient) -> None:
    subscription = await quickstart.acme(client, calls=0)
    await made(client, "/v1/events", event("april", 200_000, timestamp="2026-04-30T23:59:59.5Z"))
    shape = {"meter_id": "api_calls", "subscription_id": subscription["id"], "quantity": 300_000}
    await made(client, "/v1/usage", {"events": [{**shape, "occurred_at": "2026-05-01T00:00:00Z"}]})
    assert await units(client, subscription["id"]) == "0"
    april = await quickstart.invoice(client)
    may = await quickstart.invoice(client, cutoff_date="2026-05-31T23:59:59Z")
    assert [invoice["line_items"][0]["quantity"] for invoice in (april, may)] == [200_000, 300_000]
    assert [invoice["total_amount"] for invoice in (april, may)] == [1000 + 4900, 2000 + 4900]


async def test_b67_an_event_counts_on_one_subscription_only(client: httpx.AsyncClient) -> None:
    oldest = await quickstart.acme(client, calls=0)
    second = await quickstart.subscription(client)
    await made(client, "/v1/events", event("unnamed", 1, timestamp=APRIL))
    await made(client, "/v1/events", event("named", 10, timestamp=APRIL, subscription_id=second["id"]))
    billed = {}
    for subscription in (oldest, second):
        body = {"subscription_id": subscription["id"], "cutoff_date": "2026-04-30T23:59:59Z"}
        invoice = await made(client, "/v1/invoices", body)
        lines = [line for line in invoice["line_items"] if line["description"].startswith("API Calls")]
        billed[subscription["id"]] = [line["quantity"] for line in lines]
    assert billed == {oldest["id"]: [1], second["id"]: [10]}


async def test_b68_an_event_of_a_customer_reaches_its_subscription(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    before = await units(client, subscription["id"])
    await made(client, "/v1/events", event("only-the-customer", 2))
    assert (before, await units(client, subscription["id"])) == ("0", "2")


async def test_b69_quantities_are_any_measurable_number(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    for number in range(4):
        await made(client, "/v1/events", event(f"quarter-{number}", 0.25))
    assert await units(client, subscription["id"]) == "1"


async def test_b70_metadata_is_kept_with_the_event(client: httpx.AsyncClient) -> None:
    body = track(metadata={"endpoint": "/v1/chat", "nested": {"list": [1, None, 0.1]}})
    sent = await client.post("/api/track", json=body, headers={"Idempotency-Key": "unique-event-id"})
    shown = (await client.get(f"/v1/events/{sent.json()['id']}")).json()
    assert shown["metadata"] == shown["properties"] == body["metadata"]


async def test_b71_activity_shows_quantity_and_rated_amount(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, calls=0)
    await made(client, "/v1/events", event("one", 250_000, timestamp=APRIL))
    (entry,) = (await client.get("/api/v1/activity", params={"type": "event"})).json()
    assert (entry["status"], entry["quantity"], entry["metric_key"]) == ("counted", 250_000, "api_calls")
    # 100,000 are free, 150,000 cost 0.0001 each.
    assert (entry["amount"], entry["amount_cents"], entry["currency"]) == (15, "1500", "usd")
    invoice = await quickstart.invoice(client)
    kinds = (await client.get("/api/v1/activity")).json()
    assert {"event", "rating"} <= {each["type"] for each in kinds}
    assert invoice["id"] in {each["invoice_id"] for each in kinds}
    rated = next(each for each in kinds if each["type"] == "rating")
    assert rated["customer_id"] == "cust_acme"
    own = await client.get("/v1/activity", params={"subscription_id": rated["subscription_id"]})
    assert (own.json(), own.headers["X-Total-Count"]) == (kinds, str(len(kinds)))
    await made(client, f"/v1/invoices/{invoice['id']}/charge", {})
    (charge,) = (await client.get("/api/v1/activity", params={"type": "charge"})).json()
    assert (charge["invoice_id"], charge["amount"]) == (invoice["id"], 64)


async def usageflow(client: httpx.AsyncClient) -> None:
    """Make the catalogue of seed 003 and subscribe the organization itself."""
    organization = (await client.get("/v1/organizations/current")).json()["id"]
    await made(client, "/api/metrics", {"name": "API Calls", "key": "API_CALL", "unit": "calls"})
    pro = {"name": "Pro", "basePrice": 100, "billingCycle": "MONTHLY", "currency": "usd"}
    plan = (await made(client, "/api/plans", pro))["id"]
    attached = {"metric": "API_CALL", "includedUnits": 10000, "overagePrice": 0.01}
    await made(client, f"/api/plans/{plan}/metrics", attached)
    wanted = {"organizationId": organization, "planId": plan, "billingCycle": "MONTHLY"}
    await made(client, "/api/subscriptions", wanted)
