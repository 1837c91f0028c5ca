"""Payments outside Durabill and saved methods over HTTP, on the whole stack: B111, B128-B131."""

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.stack import Stack

pytestmark = pytest.mark.stack
PAGES = {"success_url": "https://example.org/ok", "cancel_url": "https://example.org/no"}


async def test_b128_recorded_refunded_and_not_retried(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client)
    payment = await quickstart.made(client, "/v1/payments/record", {"invoice_id": invoice["id"], "amount": "1000"})
    assert (payment["status"], payment["provider"]) == ("succeeded", "manual")
    assert (await client.get(f"/v1/invoices/{invoice['id']}")).json()["status"] == "paid"
    path = f"/v1/payments/{payment['id']}"
    too_much = await client.post(f"{path}/refund", json={"amount_cents": 1001})
    assert (too_much.status_code, too_much.json()["code"]) == (422, "more_than_paid")
    assert (await client.post(f"{path}/retry")).status_code == 409
    refunded = await quickstart.made(client, f"{path}/refund", {"amount_cents": 400})
    assert (refunded["status"], refunded["amount_cents"]) == ("refunded", "600")
    assert refunded["payment_metadata"] == {"refunded_amount": "400", "partial_refund": True}
    assert (await client.delete(path)).status_code == 409
    again = await client.post("/v1/payments/record", json={"invoice_id": invoice["id"], "amount": 1})
    assert again.status_code == 409


async def test_b128_a_draft_and_more_than_is_due_are_refused(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client, finalize=False)
    body = {"invoice_id": invoice["id"], "amount_cents": 500}
    assert (await client.post("/v1/payments/record", json=body)).status_code == 409
    await quickstart.made(client, f"/v1/invoices/{invoice['id']}/finalize", {})
    assert (await client.post("/v1/payments/record", json={**body, "amount_cents": 1001})).status_code == 422
    assert (await client.post("/v1/payments/record", json={**body, "amount_cents": "0.5"})).status_code == 422
    assert (await client.post("/v1/payments/record", json=body)).status_code == 201


async def test_b129_a_checkout_waits_for_the_money(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client)
    body = {"invoice_id": invoice["id"], **PAGES}
    assert (await client.post("/v1/payments/checkout", json={**body, "provider": "adyen"})).status_code == 503
    first = await quickstart.made(client, "/v1/payments/checkout", {**body, "provider": "manual"})
    second = await quickstart.made(client, "/v1/payments/checkout", {**body, "provider": "manual"})
    assert first["checkout_url"] == ""
    paid = await quickstart.made(client, f"/v1/payments/{first['payment_id']}/mark-paid", {})
    assert paid["status"] == "succeeded"
    assert (await client.delete(f"/v1/payments/{second['payment_id']}")).status_code == 204
    listed = (await client.get("/v1/payments", params={"customer_id": "cust_acme"})).json()
    assert [row["id"] for row in listed] == [first["payment_id"]]


async def test_b130_an_unsigned_notice_is_not_believed(client: httpx.AsyncClient) -> None:
    body = {"status": "succeeded", "metadata": {"payment_id": "pay_01jbq4m8d0e7s9t5v2x3y4z5a6"}}
    refused = await client.post("/v1/payments/webhook/manual", json=body, headers={"X-Webhook-Signature": "00"})
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_signature")


async def test_b130_a_signed_notice_pays_once(client: httpx.AsyncClient, stack: Stack) -> None:
    invoice = await _invoice(client)
    body = {"invoice_id": invoice["id"], **PAGES, "provider": "manual"}
    waiting = await quickstart.made(client, "/v1/payments/checkout", body)
    notice = json.dumps({"status": "succeeded", "metadata": {"payment_id": waiting["payment_id"]}}).encode()
    signature = hmac.new(stack.bootstrap_key.encode(), notice, hashlib.sha256).hexdigest()
    headers = {"X-Webhook-Signature": signature, "Content-Type": "application/json"}
    answers = []
    async with stack.caller() as provider:
        for _ in range(2):
            answer = await provider.post("/v1/payments/webhook/manual", content=notice, headers=headers)
            answers.append((answer.status_code, answer.json()["changed"]))
    assert answers == [(200, True), (200, False)]
    assert (await client.get(f"/v1/invoices/{invoice['id']}")).json()["status"] == "paid"
    assert len((await client.get(f"/v1/invoices/{invoice['id']}/settlements")).json()) == 1


async def test_b128_attempts_at_a_provider_are_listed_and_tried_again(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, payment_provider_customer_id="cus_decline_once")
    invoice = await quickstart.invoice(client)
    assert (await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})).status_code == 402
    (failed,) = (await client.get("/v1/payments", params={"status": "failed"})).json()
    assert failed["failure_reason"] == "Your card was declined."
    retried = await quickstart.made(client, f"/v1/payments/{failed['id']}/retry", {})
    assert (retried["status"], retried["amount_cents"]) == ("succeeded", "14900")
    refused = await client.post(f"/v1/payments/{retried['id']}/refund", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "refund_at_provider")


async def test_b111_marking_paid_settles_what_is_left(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client)
    await quickstart.made(client, "/v1/payments/record", {"invoice_id": invoice["id"], "amount_cents": 300})
    assert (await client.post(f"/v1/invoices/{invoice['id']}/void")).json()["code"] == "invoice_partly_paid"
    assert (await quickstart.made(client, f"/v1/invoices/{invoice['id']}/pay", {}))["status"] == "paid"
    settlements = (await client.get(f"/v1/invoices/{invoice['id']}/settlements")).json()
    assert [row["amount_cents"] for row in settlements] == ["300", "700"]
    assert (await client.post(f"/v1/invoices/{invoice['id']}/void")).status_code == 409


async def test_b131_one_default_each_customer(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    first = await _method(client, "pm_1", is_default=True)
    second = await _method(client, "pm_2")
    chosen = await quickstart.made(client, f"/v1/payment_methods/{second['id']}/set_default", {})
    assert chosen["is_default"] is True
    assert (await client.get(f"/v1/payment_methods/{first['id']}")).json()["is_default"] is False
    assert (await client.delete(f"/v1/payment_methods/{second['id']}")).status_code == 409
    assert (await client.delete(f"/v1/payment_methods/{first['id']}")).status_code == 204
    listed = (await client.get("/v1/payment_methods", params={"customer_id": "cust_acme"})).json()
    assert [row["id"] for row in listed] == [second["id"]]
    body = {"customer_id": "cust_acme", "provider": "manual", **PAGES}
    assert (await client.post("/v1/payment_methods/setup", json=body)).status_code == 501
    assert (await client.post("/v1/payment_methods/setup", json={**body, "provider": "stripe"})).status_code == 503


async def _method(client: httpx.AsyncClient, ref: str, **more: Any) -> dict[str, Any]:
    body = {"customer_id": "cust_acme", "provider": "stripe", "type": "card", "provider_payment_method_id": ref}
    return await quickstart.made(client, "/v1/payment_methods", {**body, **more})


async def _invoice(client: httpx.AsyncClient, *, finalize: bool = True) -> dict[str, Any]:
    await quickstart.customer(client, payment_provider=None, payment_provider_customer_id=None)
    body = {"customer_id": "cust_acme", "line_items": [{"description": "Consulting", "amount": "1000"}]}
    draft = await quickstart.made(client, "/v1/invoices/one_off", {**body, "currency": "USD"})
    return await quickstart.made(client, f"/v1/invoices/{draft['id']}/finalize", {}) if finalize else draft


async def test_b111_marking_paid_gives_up_a_charge_that_waits_for_its_owner(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, payment_provider_customer_id="cus_requires_action")
    invoice = await quickstart.invoice(client)
    charged = await client.post(f"/v1/invoices/{invoice['id']}/charge")
    assert (charged.status_code, charged.json()["code"]) == (402, "payment_requires_action")
    paid = await client.post(f"/v1/invoices/{invoice['id']}/pay")
    assert (paid.status_code, paid.json()["status"]) == (200, "paid"), paid.text
    listed = (await client.get("/v1/payments", params={"invoice_id": invoice["id"]})).json()
    assert [(row["provider"], row["status"], row["unapplied_amount_cents"]) for row in listed] == [
        ("manual", "succeeded", "0"),
        ("stripe", "failed", "0"),
    ]
