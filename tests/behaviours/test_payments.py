"""Charging over HTTP, on the whole stack with the sandbox provider: B124-B127."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def test_b124_b125_a_charge_pays_the_invoice(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client)
    charged = await quickstart.made(client, f"/v1/invoices/{invoice['id']}/charge", {})
    assert (charged["invoice_id"], charged["status"]) == (invoice["id"], "paid")
    assert re.match(r"^pi_", charged["payment_intent_id"])
    assert charged["charged_at"].endswith("Z")
    shown = (await client.get(f"/v1/invoices/{invoice['id']}")).json()
    assert (shown["status"], shown["payment_intent_id"]) == ("paid", charged["payment_intent_id"])
    assert shown["paid_at"] == charged["charged_at"]


async def test_b126_ten_parallel_charges_are_one_payment(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client)
    answers = await asyncio.gather(*(client.post(f"/v1/invoices/{invoice['id']}/charge", json={}) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    settlements = (await client.get(f"/v1/invoices/{invoice['id']}/settlements")).json()
    assert [row["amount_cents"] for row in settlements] == ["14900"]
    log = (await client.get(f"/v1/invoices/{invoice['id']}/events")).json()
    assert [entry["action"] for entry in log] == ["created", "issued", "charged"]


async def test_b126_a_charge_of_a_paid_invoice_is_refused(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client)
    await quickstart.made(client, f"/v1/invoices/{invoice['id']}/charge", {})
    refused = await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "invoice_already_paid")


async def test_b127_a_failing_card_is_402_and_says_why(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client, payment_provider_customer_id="cus_insufficient_funds")
    refused = await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (402, "charge_declined")
    assert (problem["decline_code"], problem["invoice_id"]) == ("insufficient_funds", invoice["id"])
    shown = (await client.get(f"/v1/invoices/{invoice['id']}")).json()
    assert (shown["status"], shown["attempt_count"]) == ("issued", 1)
    log = (await client.get(f"/v1/invoices/{invoice['id']}/events")).json()
    assert log[-1]["action"] == "charge_failed"


async def test_b127_a_card_that_recovers_is_charged_the_second_time(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client, payment_provider_customer_id="cus_decline_once")
    assert (await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})).status_code == 402
    assert (await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})).status_code == 200


async def test_a_lost_answer_is_pending_and_found_out_without_a_second_charge(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client, payment_provider_customer_id="cus_timeout_after_success")
    pending = await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
    assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    assert (await client.post(f"/v1/invoices/{invoice['id']}/void")).json()["code"] == "payment_pending"

    async def shown() -> dict[str, Any]:
        document: dict[str, Any] = (await client.get(f"/v1/invoices/{invoice['id']}")).json()
        return document

    paid = await eventually(shown, until=lambda document: document["status"] == "paid")
    assert paid["attempt_count"] == 1
    assert len((await client.get(f"/v1/invoices/{invoice['id']}/settlements")).json()) == 1


async def test_a_payment_that_needs_its_owner_is_402(client: httpx.AsyncClient) -> None:
    invoice = await _invoice(client, payment_provider_customer_id="cus_requires_action")
    refused = await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
    assert (refused.status_code, refused.json()["code"]) == (402, "payment_requires_action")


@pytest.mark.parametrize(("provider", "code"), [(None, "no_payment_provider"), ("manual", "manual_payment")])
async def test_customers_without_a_provider_are_not_charged(
    client: httpx.AsyncClient, provider: str | None, code: str
) -> None:
    invoice = await _invoice(client, payment_provider=provider, payment_provider_customer_id=None)
    refused = await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, code)
    assert (await quickstart.made(client, f"/v1/invoices/{invoice['id']}/pay", {}))["status"] == "paid"


async def test_drafts_and_voided_invoices_are_not_charged(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    draft = await quickstart.invoice(client, draft=True)
    for expected in ("draft", "voided"):
        refused = await client.post(f"/v1/invoices/{draft['id']}/charge", json={})
        assert (refused.status_code, refused.json()["status"]) == (409, 409)
        assert expected in refused.json()["detail"]
        await client.post(f"/v1/invoices/{draft['id']}/void")


async def test_a_finalized_one_off_is_collected_by_itself(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    invoice = await _one_off(client)

    async def status() -> str:
        return str((await client.get(f"/v1/invoices/{invoice['id']}")).json()["status"])

    await eventually(status, until=lambda found: found == "paid")
    assert (await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})).status_code == 409


async def test_a_one_off_of_a_declined_card_waits_for_the_next_charge(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client, payment_provider_customer_id="cus_decline_2_times")
    invoice = await _one_off(client)

    async def attempts() -> int:
        return int((await client.get(f"/v1/invoices/{invoice['id']}")).json()["attempt_count"])

    await eventually(attempts, until=lambda found: found == 1)
    assert (await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})).status_code == 402
    assert (await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})).status_code == 200


async def _invoice(client: httpx.AsyncClient, **customer: Any) -> dict[str, Any]:
    await quickstart.acme(client, **customer)
    return await quickstart.invoice(client)


async def _one_off(client: httpx.AsyncClient) -> dict[str, Any]:
    line = {"description": "Consulting", "quantity": "2", "unit_price": "600", "amount": "1200"}
    draft = await quickstart.made(
        client, "/v1/invoices/one_off", {"customer_id": "cust_acme", "line_items": [line], "currency": "USD"}
    )
    return await quickstart.made(client, f"/v1/invoices/{draft['id']}/finalize", {})
