"""Webhooks over HTTP, on the whole stack: B161, B162, B164-B168, B182 (B163: test_alerts)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from standardwebhooks import WebhookVerificationError

from tests.support import quickstart
from tests.support.odd_receiver import odd
from tests.support.receiver import Received, Receiver, receiving
from tests.support.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.stack

TYPES = ["invoice.created", "invoice.paid", "invoice.failed", "subscription.suspended"]


async def registered(client: httpx.AsyncClient, receiver: Receiver, events: list[str] = TYPES) -> dict[str, Any]:
    return await quickstart.made(client, "/api/webhooks", {"url": receiver.url, "events": events})


async def arrived(receiver: Receiver, kind: str, invoice_id: str) -> dict[str, Any]:
    """Wait for a message about an invoice, and give its body."""

    async def find() -> dict[str, Any] | None:
        documents = [one.document for one in receiver.received]
        return next((d for d in documents if d["type"] == kind and d["data"]["invoiceId"] == invoice_id), None)

    found = await eventually(find)
    assert found is not None
    return found


async def hooks(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/webhook_endpoints/hooks/list", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def hook(client: httpx.AsyncClient, status: str, **query: str) -> dict[str, Any]:
    """Wait for the first delivery with that status."""

    async def find() -> list[dict[str, Any]]:
        return await hooks(client, status=status, **query)

    return (await eventually(find))[-1]


async def test_b161_b162_b166_b167_an_invoice_is_told_when_it_is_created_and_paid(client: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        endpoint = await registered(client, receiver)
        await quickstart.acme(client)
        invoice = await quickstart.invoice(client)
        created = await arrived(receiver, "invoice.created", invoice["id"])
        await quickstart.made(client, f"/v1/invoices/{invoice['id']}/charge", {})
        paid = await arrived(receiver, "invoice.paid", invoice["id"])
        assert set(receiver.types()) == {"invoice.created", "invoice.paid"}
        for one in receiver.received:
            assert one.verified(endpoint["secret"])["type"] == one.document["type"]
            forged = Received(one.path, one.headers, one.body.replace(b'"amount":149', b'"amount":148'))
            with pytest.raises(WebhookVerificationError):
                forged.verified(endpoint["secret"])
    assert {"type", "data"} < set(created)
    assert {"amount": 149, "amount_cents": "14900", "currency": "usd", "customer_id": "cust_acme"}.items() <= created[
        "data"
    ].items()
    assert created["data"]["invoiceId"] == created["data"]["invoice_id"] == invoice["id"]
    assert created["sequence"] < paid["sequence"]


async def test_b161_a_declined_card_is_told(client: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        await registered(client, receiver)
        await quickstart.acme(client, payment_provider_customer_id="cus_decline")
        invoice = await quickstart.invoice(client)
        await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
        failed = await arrived(receiver, "invoice.failed", invoice["id"])
        assert receiver.types().index("invoice.created") < receiver.types().index("invoice.failed")
    assert failed["data"]["amount"] == 149


async def test_b164_b165_attempts_are_on_record_and_a_failed_delivery_is_sent_again(client: httpx.AsyncClient) -> None:
    async with receiving(answers=[500, 503]) as receiver:
        endpoint = await registered(client, receiver, ["invoice.created"])
        await quickstart.acme(client)
        await quickstart.invoice(client)
        delivered = await hook(client, "succeeded")
    assert (delivered["endpoint_id"], delivered["attempts"], delivered["retries"]) == (endpoint["id"], 3, 2)
    assert (delivered["http_status"], delivered["next_retry_at"]) == (200, None)
    assert delivered["object_type"] == "invoice"
    assert str(UUID(delivered["object_id"])) == delivered["object_id"]
    path = f"/v1/webhook_endpoints/hooks/{delivered['id']}"
    assert (await client.get(path)).json() == delivered
    attempts = (await client.get(f"{path}/delivery_attempts")).json()
    assert [(one["attempt_number"], one["http_status"], one["success"]) for one in attempts] == [
        (3, 200, True),
        (2, 503, False),
        (1, 500, False),
    ]
    assert {one.headers["webhook-id"] for one in receiver.received} == {delivered["message_id"]}
    refused = await client.post(f"{path}/retry")
    assert (refused.status_code, refused.json()["code"]) == (400, "webhook_not_failed")
    (stats,) = (await client.get("/v1/webhook_endpoints/delivery_stats")).json()
    assert stats | {"endpoint_id": endpoint["id"], "total": 1, "succeeded": 1, "attempts": 3} == stats
    assert (stats["failed"], stats["pending"], stats["success_rate"]) == (0, 0, 100)


async def test_b164_a_retry_delivers_at_once_and_answers_with_the_result(client: httpx.AsyncClient) -> None:
    # Nothing listens there.
    nowhere = {"url": "http://127.0.0.1:9/hooks", "events": ["invoice.created"]}
    endpoint = await quickstart.made(client, "/v1/webhook_endpoints", nowhere)
    await quickstart.acme(client)
    await quickstart.invoice(client)
    failed = await hook(client, "failed", endpoint_id=endpoint["id"])
    assert failed["http_status"] is None
    assert failed["error_message"]
    path = f"/v1/webhook_endpoints/hooks/{failed['id']}"
    again = await client.post(f"{path}/retry")
    assert (again.status_code, again.json()["status"]) == (200, "failed")
    assert again.json()["attempts"] > failed["attempts"]
    (stats,) = (await client.get("/v1/webhook_endpoints/delivery_stats")).json()
    assert (stats["total"], stats["failed"], stats["success_rate"]) == (1, 1, 0)
    assert stats["failing_since"] is not None
    async with receiving() as receiver:
        moved = await client.put(f"/v1/webhook_endpoints/{endpoint['id']}", json={"url": receiver.url})
        assert moved.json()["url"] == receiver.url
        await client.post(f"{path}/retry")
        # Either the retry or the next automatic attempt succeeded.
        assert (await hook(client, "succeeded"))["id"] == failed["id"]
        assert receiver.received[0].verified(endpoint["secret"])["id"] == failed["message_id"]


async def test_b164_only_so_many_are_sent_by_hand_to_one_endpoint_at_the_same_time(client: httpx.AsyncClient) -> None:
    async with odd(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n") as receiver:
        body = {"url": receiver.url, "events": ["customer.created"]}
        await quickstart.made(client, "/v1/webhook_endpoints", body)
        await quickstart.customer(client)
        failed = await hook(client, "failed")
        receiver.gate.clear()
        path = f"/v1/webhook_endpoints/hooks/{failed['id']}/retry"
        answers = [asyncio.create_task(client.post(path)) for _ in range(6)]

        async def refused() -> list[int]:
            return [answer.result().status_code for answer in answers if answer.done()]

        assert await eventually(refused, until=lambda codes: len(codes) == 2) == [409, 409]
        receiver.gate.set()
        codes = [(await answer).status_code for answer in answers]
    assert sorted(codes) == [200, 200, 200, 200, 409, 409]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://[fe80::1]/",
        "ftp://example.com/",
        "http://a:b@example.com/",
        "hooks",
        "http://",
    ],
)
async def test_b168_some_addresses_are_refused(client: httpx.AsyncClient, url: str) -> None:
    for path in ("/v1/webhook_endpoints", "/api/webhooks"):
        answer = await client.post(path, json={"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_refused"), answer.text
        assert answer.json()["errors"][0]["field"] == "url"


async def test_an_endpoint_is_shown_changed_and_deleted_and_its_secret_shown_once(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    body = {"url": "http://127.0.0.1:9/hooks", "signature_algo": "hmac"}
    made = await quickstart.made(client, "/v1/webhook_endpoints/", body)
    assert made["secret"].startswith("whsec_")
    assert (made["events"], made["status"], made["signature_algo"]) == ([], "active", "hmac")
    path = f"/v1/webhook_endpoints/{UUID(made['id'])}"
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert (await client.get(path)).json() == shown
    assert (await client.get("/v1/webhook_endpoints")).json() == [shown]
    changed = await client.patch(path, json={"status": "disabled", "events": ["invoice.paid", "coupon.*"]})
    assert (changed.json()["status"], changed.json()["events"]) == ("disabled", ["coupon.*", "invoice.paid"])
    async with stack.client("Other") as other:
        for method in ("GET", "PUT", "DELETE"):
            answer = await other.request(method, path, json={} if method == "PUT" else None)
            assert answer.status_code == 404
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404
    assert (await client.get("/v1/webhook_endpoints")).json() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": None},
        {"url": 7},
        {"url": "http://127.0.0.1/" + "a" * 2048},
        {"url": "http://127.0.0.1/", "events": ["invoice created"]},
        {"url": "http://127.0.0.1/", "events": "invoice.created"},
        {"url": "http://127.0.0.1/", "events": ["invoice.creatd"]},
        {"url": "http://127.0.0.1/", "events": ["invoices.*"]},
        {"url": "http://127.0.0.1/", "events": ["*.created"]},
        {"url": "http://127.0.0.1/", "signature_algo": "jwt"},
        {"url": "http://127.0.0.1/", "status": "sleeping"},
    ],
)
async def test_a_wrong_body_is_a_422(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.post("/v1/webhook_endpoints", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), answer.text


async def test_b182_the_pipeline_of_usageflow(stack: Stack) -> None:
    """Seed 003 in one run: event, aggregation, invoice, webhook, payment."""
    organization = await stack.new_organization("CloudAI")
    headers = {"Authorization": f"Bearer {organization['api_key']['key']}"}
    async with (
        stack.caller(headers=headers) as client,
        receiving() as receiver,
    ):
        endpoint = await registered(client, receiver)
        subscription = await _pro_plan(client, organization["id"])
        key = (await quickstart.made(client, "/api/api-keys", {"name": "backend"}))["key"]
        for number in range(12):
            event = {"metric": "API_CALL", "amount": 1000, "customerId": "user_123"}
            sent = {"x-usageflow-api-key": key, "Idempotency-Key": f"event-{number}"}
            answer = await client.post("/api/track", json=event, headers=sent)
            assert answer.status_code in (200, 201, 202), answer.text

        async def total() -> Any:
            (usage,) = (await client.get("/api/usage", params={"metric": "API_CALL"})).json()
            return usage["total"]

        await eventually(total, until=lambda found: found == 12000)
        cutoff = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        window = {"subscription_id": subscription, "cutoff_date": cutoff}
        invoice = await quickstart.made(client, "/v1/invoices", window)
        assert invoice["total_amount"] == 12000
        created = await arrived(receiver, "invoice.created", invoice["id"])
        assert b'"amount":120,' in receiver.received[0].body
        assert (created["data"]["amount"], created["data"]["invoiceId"]) == (120, invoice["id"])
        payment = await client.post(f"/v1/invoices/{invoice['id']}/pay", json={})
        assert payment.status_code == 200, payment.text
        paid = await arrived(receiver, "invoice.paid", invoice["id"])
        assert created["sequence"] < paid["sequence"]
        assert receiver.received[-1].verified(endpoint["secret"])["data"]["status"] == "paid"
        assert (await client.get(f"/api/invoices/{invoice['id']}")).json()["status"] == "PAID"


async def test_b161_b167_every_message_is_in_the_catalogue_and_counts_within_its_resource(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    """One endpoint hears everything: created comes before active, nothing twice, each resource numbered from 1."""
    webhooks = (await client.get("/openapi.json")).json()["webhooks"]
    async with receiving() as receiver:
        endpoint = await quickstart.made(client, "/v1/webhook_endpoints", {"url": receiver.url})
        subscribed = await quickstart.acme(client)
        invoice = await quickstart.invoice(client)
        await quickstart.made(client, f"/v1/invoices/{invoice['id']}/charge", {})
        await arrived(receiver, "invoice.paid", invoice["id"])
        about = {"subscription_id": subscribed["id"], "billable_metric_id": "api_calls", "threshold_value": 10**9}
        alert = await quickstart.made(client, "/v1/usage_alerts", about)
        await client.patch(f"/v1/usage_alerts/{alert['id']}", json={"name": "Many"})
        await quickstart.made(client, f"/v1/subscriptions/{subscribed['id']}/limits", {"kind": "spend", "cap": 10**9})
        threshold = await quickstart.made(client, "/v1/plans/plan_growth/usage_thresholds", {"amount_cents": 10**9})
        await client.delete(f"/v1/usage_thresholds/{threshold['id']}")
        await client.delete(f"/v1/usage_alerts/{alert['id']}")

        async def started() -> bool:
            return {"subscription.started", "usage_alert.deleted"} <= set(receiver.types())

        await eventually(started)
        for one in receiver.received:
            document = one.verified(endpoint["secret"])
            schema = webhooks[document["type"]]["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert set(schema["required"]) <= set(document)
            assert set(schema["properties"]["data"]["required"]) <= set(document["data"]), document
    assert {"customer.created", "plan.created", "subscription.created", "invoice.issued"} <= set(receiver.types())
    told = [one.document for one in receiver.received]
    watched = [(d["type"].partition(".")[2], d["sequence"]) for d in told if d["data"].get("alert_id") == alert["id"]]
    assert watched == [("created", 1), ("updated", 2), ("deleted", 3)]
    assert {"usage_limit.created", "usage_threshold.created", "usage_threshold.deleted"} <= set(receiver.types())
    assert len({document["id"] for document in told}) == len(told)
    lives = [d for d in told if d["type"].startswith("subscription.")]
    assert [d["sequence"] for d in lives] == list(range(1, len(lives) + 1))
    assert [d["type"] for d in lives][:2] == ["subscription.created", "subscription.started"]
    assert {d["data"]["subscription_id"] for d in lives} == {subscribed["id"]}
    bills = sorted((d for d in told if d["type"].startswith("invoice.")), key=lambda d: int(d["sequence"]))
    assert [d["sequence"] for d in bills] == list(range(1, len(bills) + 1))
    assert (bills[0]["type"], bills[-1]["type"]) == ("invoice.created", "invoice.paid")


async def test_b164_what_an_endpoint_missed_is_sent_again_with_rotated_secrets(client: httpx.AsyncClient) -> None:
    since = datetime.now(UTC) - timedelta(minutes=1)
    async with receiving() as receiver:
        body = {"url": "http://127.0.0.1:9/hooks", "events": ["customer.created"]}
        endpoint = await quickstart.made(client, "/v1/webhook_endpoints", body)
        path = f"/v1/webhook_endpoints/{endpoint['id']}"
        await quickstart.customer(client)
        failed = await hook(client, "failed")
        # Disabled: its retries end, and it takes no replay.
        assert (await client.patch(path, json={"status": "disabled"})).json()["status"] == "disabled"
        refused = await client.post(f"{path}/replay", json={"since": since.isoformat()})
        assert (refused.status_code, refused.json()["code"]) == (409, "webhook_endpoint_disabled")
        assert (await client.get(f"/v1/webhook_endpoints/hooks/{failed['id']}")).json()["next_retry_at"] is None
        await client.patch(path, json={"status": "active", "url": receiver.url})
        backwards = {"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}
        assert (await client.post(f"{path}/replay", json=backwards)).status_code == 422
        rotated = await quickstart.made(client, f"{path}/rotate_secret", {"overlap_hours": 1})
        assert rotated["secret"] not in (endpoint["secret"], None)
        again = await client.post(f"{path}/replay", json={"since": since.isoformat(), "types": ["customer.created"]})
        assert (again.status_code, again.json()) == (202, {"replayed": 1, "next_since": None})
        assert (await hook(client, "succeeded"))["id"] == failed["id"]
        (one,) = receiver.received
        assert one.verified(endpoint["secret"]) == one.verified(rotated["secret"])
        assert one.document["id"] == failed["message_id"]
    shown = (await client.get(path)).json()
    assert "secret" not in shown
    assert shown["old_secret_until"] is not None
    for wrong in (
        {},
        {"since": "2026-05-01"},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"since": since.isoformat(), "status": "pending"},
    ):
        assert (await client.post(f"{path}/replay", json=wrong)).status_code == 422
    for hours in (999, -1, True, "24"):
        assert (await client.post(f"{path}/rotate_secret", json={"overlap_hours": hours})).status_code == 422


async def _pro_plan(client: httpx.AsyncClient, organization: str) -> str:
    """Steps 2 to 5; returns the subscription's id."""
    await quickstart.made(client, "/api/metrics", {"name": "API Calls", "key": "API_CALL", "unit": "calls"})
    pro = {"name": "Pro", "basePrice": 100, "billingCycle": "MONTHLY", "currency": "usd"}
    plan = (await quickstart.made(client, "/api/plans", pro))["id"]
    attached = {"metric": "API_CALL", "includedUnits": 10000, "overagePrice": 0.01}
    await quickstart.made(client, f"/api/plans/{plan}/metrics", attached)
    wanted = {"organizationId": organization, "planId": plan, "billingCycle": "MONTHLY"}
    return str((await quickstart.made(client, "/api/subscriptions", wanted))["id"])
