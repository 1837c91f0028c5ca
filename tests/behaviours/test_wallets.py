"""Wallets over HTTP, on the whole stack: B132, B133, and with payments B114."""

from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def test_b132_credits_move_and_are_accounted_for(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    first = await _wallet(client, name="First", initial_granted_credits="500")
    second = await _wallet(client, name="Second", priority=2)
    topped = await quickstart.made(client, f"/v1/wallets/{first['id']}/top_up", {"credits": 100})
    assert topped["credits_balance"] == "600"
    body = {"source_wallet_id": first["id"], "target_wallet_id": second["id"], "credits": 25}
    moved = await quickstart.made(client, "/v1/wallets/transfer", body)
    assert [moved[side]["credits_balance"] for side in ("source_wallet", "target_wallet")] == ["575", "25"]
    refused = await client.post("/v1/wallets/transfer", json={**body, "credits": 576})
    assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_credits")
    listed = (await client.get(f"/v1/wallets/{first['id']}/transactions")).json()
    assert [(row["transaction_type"], row["amount"]) for row in listed] == [
        ("outbound", "25"),
        ("inbound", "100"),
        ("inbound", "500"),
    ]
    (point,) = (await client.get(f"/v1/wallets/{first['id']}/balance_timeline")).json()["points"]
    assert (point["inbound"], point["outbound"], point["balance"]) == ("600", "25", "575")


async def test_b132_a_terminated_wallet_stays_readable_and_takes_nothing(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    wallet = await _wallet(client, initial_granted_credits="5")
    assert (await client.delete(f"/v1/wallets/{wallet['id']}")).status_code == 204
    shown = (await client.get(f"/v1/wallets/{wallet['id']}")).json()
    assert (shown["status"], shown["credits_balance"]) == ("terminated", "5")
    assert (await client.post(f"/v1/wallets/{wallet['id']}/top_up", json={"credits": 1})).status_code == 409


async def test_b133_the_wallet_pays_first_and_the_card_the_rest(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    wallet = await _wallet(client, initial_granted_credits="5000")
    invoice = await _one_off(client, "12000")
    assert invoice["prepaid_credit_amount_cents"] == "5000"

    async def status() -> str:
        return str((await client.get(f"/v1/invoices/{invoice['id']}")).json()["status"])

    await eventually(status, until=lambda found: found == "paid")
    (payment,) = (await client.get("/v1/payments", params={"invoice_id": invoice["id"]})).json()
    assert (payment["amount_cents"], payment["status"], payment["provider"]) == ("7000", "succeeded", "stripe")
    assert (await client.get(f"/v1/wallets/{wallet['id']}")).json()["credits_balance"] == "0"
    forecast = (await client.get(f"/v1/wallets/{wallet['id']}/depletion_forecast")).json()
    assert (forecast["avg_daily_consumption"], forecast["days_remaining"]) == ("166.67", 0)


async def test_b114_half_by_wallet_and_half_by_payment(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client, payment_provider=None, payment_provider_customer_id=None)
    await _wallet(client, initial_granted_credits="600")
    invoice = await _one_off(client, "1200")
    assert (invoice["status"], invoice["amount_due_cents"]) == ("finalized", "600")
    await quickstart.made(client, "/v1/payments/record", {"invoice_id": invoice["id"], "amount_cents": 600})
    settlements = (await client.get(f"/v1/invoices/{invoice['id']}/settlements")).json()
    assert [(row["settlement_type"], row["amount_cents"]) for row in settlements] == [
        ("wallet_credit", "600"),
        ("payment", "600"),
    ]
    assert (await client.get(f"/v1/invoices/{invoice['id']}")).json()["status"] == "paid"


async def test_b133_a_voided_invoice_gives_the_credits_back(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client, payment_provider=None, payment_provider_customer_id=None)
    wallet = await _wallet(client, initial_granted_credits="600")
    invoice = await _one_off(client, "1200")
    await quickstart.made(client, f"/v1/invoices/{invoice['id']}/void", {})
    assert (await client.get(f"/v1/wallets/{wallet['id']}")).json()["credits_balance"] == "600"
    listed = (await client.get(f"/v1/wallets/{wallet['id']}/transactions")).json()
    assert [(row["transaction_type"], row["amount"]) for row in listed[:2]] == [("inbound", "600"), ("outbound", "600")]
    settlements = (await client.get(f"/v1/invoices/{invoice['id']}/settlements")).json()
    assert sorted(row["amount_cents"] for row in settlements) == ["-600", "600"]


async def test_b133_a_subscriptions_invoice_draws_on_the_wallet_when_it_is_issued(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    await _wallet(client, currency="usd", initial_granted_credits="5000")
    invoice = await quickstart.invoice(client)
    assert (invoice["total_amount"], invoice["amount_due_cents"]) == (14900, "9900")
    await quickstart.made(client, f"/v1/invoices/{invoice['id']}/charge", {})
    (payment,) = (await client.get("/v1/payments", params={"invoice_id": invoice["id"]})).json()
    assert payment["amount_cents"] == "9900"


async def _wallet(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    return await quickstart.made(client, "/v1/wallets", {"customer_id": "cust_acme", **more})


async def _one_off(client: httpx.AsyncClient, amount: str) -> dict[str, Any]:
    line = {"description": "Consulting", "amount": amount}
    body = {"customer_id": "cust_acme", "line_items": [line], "currency": "USD"}
    draft = await quickstart.made(client, "/v1/invoices/one_off", body)
    return await quickstart.made(client, f"/v1/invoices/{draft['id']}/finalize", {})
