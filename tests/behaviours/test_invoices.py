"""Invoices over HTTP, on the whole stack: B94-B113, B115, B118."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.waiting import eventually

pytestmark = pytest.mark.stack

USAGE = "API Calls — tiered usage (1,200,000 calls)"


async def test_b94_invoice_on_demand_for_a_cutoff(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    assert invoice["id"].startswith("inv_")
    assert (invoice["customer_id"], invoice["status"], invoice["currency"]) == ("cust_acme", "issued", "usd")
    assert (invoice["period_start"], invoice["period_end"]) == ("2026-04-01T00:00:00Z", "2026-04-30T23:59:59Z")


async def test_b95_b97_b98_b99_the_worked_example_line_by_line(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    lines = [(line["description"], line["amount"], line["quantity"]) for line in invoice["line_items"]]
    assert lines == [(USAGE, 10000, 1200000), ("Growth base fee", 4900, 1)]
    assert invoice["total_amount"] == 14900 == sum(line["amount"] for line in invoice["line_items"])
    assert all(type(line["amount"]) is int for line in invoice["line_items"])


async def test_b96_the_plan_is_in_major_units_and_the_invoice_in_minor_ones(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, calls=0)
    plan = await client.get("/v1/price-plans/plan_growth")
    assert float(plan.json()["charges"][1]["amount"]) == 49
    invoice = await quickstart.invoice(client)
    assert (invoice["total_amount"], invoice["total_cents"]) == (4900, "4900")
    assert {type(invoice["total_amount"]), *(type(line["amount"]) for line in invoice["line_items"])} == {int}


async def test_b100_base_and_overage_are_120(client: httpx.AsyncClient) -> None:
    await quickstart.made(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls", "unit": "calls"})
    tiers = [{"up_to": 10000, "unit_price": 0}, {"up_to": None, "unit_price": "0.01"}]
    charges = [
        {"metric_key": None, "pricing_model": "flat_fee", "amount": 100, "description": "Base price"},
        {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": tiers},
    ]
    await quickstart.made(client, "/v1/price-plans", {**quickstart.PLAN, "charges": charges})
    await quickstart.customer(client)
    await quickstart.subscription(client)
    await quickstart.use(client, 12000, "all")
    invoice = await quickstart.invoice(client)
    assert invoice["total_amount"] == 12000
    answer = await client.get(f"/api/invoices/{invoice['id']}")
    assert answer.text.count('"amount":120,') == 1
    assert answer.json()["status"] == "ISSUED"


async def test_b101_an_issued_invoice_is_a_permanent_record(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    refused = await client.delete(f"/v1/invoices/{invoice['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "invoice_is_final")
    line = {"description": "Changed", "quantity": "1", "unit_price": "1", "amount": "1"}
    edited = await client.put(f"/v1/invoices/{invoice['id']}", json={"line_items": [line], "total_amount": 1})
    assert edited.status_code in (200, 409, 422), edited.text
    assert (await client.get(f"/v1/invoices/{invoice['id']}")).json()["line_items"] == invoice["line_items"]


async def test_b102_each_line_is_rounded_once_half_up(client: httpx.AsyncClient) -> None:
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": "0.005"}
    await quickstart.catalogue(client, charges=[charge])
    await quickstart.customer(client)
    await quickstart.subscription(client)
    await quickstart.use(client, 3, "three")
    assert (await quickstart.invoice(client))["total_amount"] == 2


async def test_b103_b104_cents_are_plain_decimal_strings(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    assert (invoice["subtotal_cents"], invoice["tax_amount_cents"], invoice["total_cents"]) == ("14900", "0", "14900")


@pytest.mark.parametrize("sent", ["50000", '"50000"'])
async def test_b103_b104_cents_are_taken_as_number_or_text(client: httpx.AsyncClient, sent: str) -> None:
    body = f'{{"name": "P", "code": "p", "interval": "monthly", "currency": "USD", "amount_cents": {sent}}}'
    made = await client.post("/v1/plans", content=body, headers={"Content-Type": "application/json"})
    for answer in (made, await client.get("/v1/plans/p")):
        assert str(answer.json()["amount_cents"]) == "50000", answer.text
        assert "E+" not in answer.text


async def test_b104_half_a_cent_is_0_5(client: httpx.AsyncClient) -> None:
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": "0.0050"}
    await quickstart.catalogue(client, charges=[charge])
    await quickstart.customer(client)
    subscription = await quickstart.subscription(client)
    body = {"subscription_id": subscription["id"], "metric_key": "api_calls", "value": 1}
    answer = await client.post("/v1/events/estimate_fees", json=body)
    assert answer.json()["unit_amount_cents"] == "0.5", answer.text


async def test_b105_yen_have_no_cents(client: httpx.AsyncClient) -> None:
    charge = {"metric_key": None, "pricing_model": "flat_fee", "amount": 100, "description": "Base"}
    await quickstart.catalogue(client, currency="JPY", charges=[charge])
    await quickstart.customer(client)
    await quickstart.subscription(client)
    invoice = await quickstart.invoice(client)
    assert (invoice["total_amount"], invoice["currency"]) == (100, "JPY")


async def test_b106_nothing_is_billed_twice_nor_dropped(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, calls=200_000)
    early = await quickstart.invoice(client, cutoff_date="2026-04-10T00:00:00Z")
    again = await client.post("/v1/invoices", json={**quickstart.APRIL, "cutoff_date": "2026-04-10T00:00:00Z"})
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_bill")
    assert again.json()["existing_invoice_id"] == early["id"]
    await quickstart.use(client, 1_000_000, "second", "2026-04-20T00:00:00Z")
    rest = await quickstart.invoice(client)
    assert early["total_amount"] + rest["total_amount"] == 14900
    assert [line["quantity"] for line in rest["line_items"]] == [1_000_000]
    assert rest["period_start"] == "2026-04-10T00:00:01Z"


async def test_b107_every_event_accepted_before_is_on_the_invoice(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, calls=0)
    for number in range(5):
        await quickstart.use(client, 200_000, f"event-{number}")
        preview = await quickstart.made(client, "/v1/invoices/preview", quickstart.APRIL)
        assert preview["line_items"][0]["quantity"] == 200_000 * (number + 1)
    await quickstart.use(client, 200_000, "last")
    assert (await quickstart.invoice(client))["total_amount"] == 14900


async def test_b108_late_events_become_an_adjustment(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, calls=200_000)
    await quickstart.invoice(client)
    await quickstart.use(client, 1_000_000, "late")
    late = await quickstart.invoice(client)
    (line,) = late["line_items"]
    assert (line["amount"], line["reason"]) == (9000, "adjustment")


async def test_b109_past_periods_wait_until_they_are_asked_for(client: httpx.AsyncClient) -> None:
    subscribed = await quickstart.acme(client)

    async def current() -> Any:
        return (await client.get(f"/v1/subscriptions/{subscribed['id']}")).json()["current_period_start"]

    await eventually(current)
    assert (await client.get("/v1/invoices")).json() == []


async def test_b110_drafts_are_finalized_or_deleted(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client, payment_provider=None, payment_provider_customer_id=None)
    first, second, third, fourth = [await _one_off(client) for _ in range(4)]
    assert (first["status"], first["total_cents"]) == ("draft", "1200")
    assert (await client.delete(f"/v1/invoices/{first['id']}")).status_code == 204
    assert (await client.get(f"/v1/invoices/{first['id']}")).status_code == 404
    issued = await quickstart.made(client, f"/v1/invoices/{second['id']}/finalize", {})
    assert (issued["status"], issued["invoice_number"][-4:]) == ("finalized", "0001")
    assert (await client.delete(f"/v1/invoices/{second['id']}")).status_code == 409
    assert (await client.post(f"/v1/invoices/{second['id']}/finalize")).status_code == 409
    both = {"invoice_ids": [third["id"], fourth["id"], second["id"]]}
    bulk = await quickstart.made(client, "/v1/invoices/bulk_finalize", both)
    assert (bulk["finalized_count"], bulk["failed_count"]) == (2, 1)


async def test_b111_void_and_mark_paid(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client, payment_provider=None, payment_provider_customer_id=None)
    voidable, payable = await _issued(client), await _issued(client)
    assert (await quickstart.made(client, f"/v1/invoices/{voidable['id']}/void", {}))["status"] == "voided"
    assert (await quickstart.made(client, f"/v1/invoices/{payable['id']}/pay", {}))["status"] == "paid"
    refused = await client.post(f"/v1/invoices/{payable['id']}/void")
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_transition")
    settled = (await client.get(f"/v1/invoices/{payable['id']}/settlements")).json()
    assert [row["amount_cents"] for row in settled] == ["1200"]


async def test_b112_a_one_off_has_no_period(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    invoice = await _one_off(client)
    assert (invoice["period_start"], invoice["invoice_type"], invoice["subscription_id"]) == (None, "one_off", None)
    assert invoice["billing_period_start"] == invoice["created_at"]


async def test_b113_a_preview_persists_nothing(client: httpx.AsyncClient) -> None:
    subscribed = await quickstart.acme(client)
    preview = await quickstart.made(client, "/v1/invoices/preview", quickstart.APRIL)
    assert (preview["total_amount"], preview["total_cents"]) == (14900, "14900")
    boxed = await quickstart.made(client, "/v1/invoices/preview", {"subscription_id": subscribed["id"]})
    assert boxed["fees"][0]["units"] == "1200000"
    assert (await client.get("/v1/invoices")).json() == []
    assert (await quickstart.invoice(client))["total_amount"] == 14900


async def test_b115_the_event_log_is_in_order(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    await quickstart.made(client, f"/v1/invoices/{invoice['id']}/charge", {})
    log = (await client.get(f"/v1/invoices/{invoice['id']}/events")).json()
    assert [entry["action"] for entry in log] == ["created", "issued", "charged"]
    assert all(entry["created_at"].endswith("Z") for entry in log)


async def test_b118_fees_are_listed_apart(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    answer = await client.get("/v1/fees", params={"invoice_id": invoice["id"]})
    fees = {fee["fee_type"]: fee for fee in answer.json()}
    assert (answer.headers["x-total-count"], len(fees)) == ("2", 2)
    assert (fees["charge"]["amount_cents"], fees["subscription"]["unit_amount_cents"]) == ("10000", "4900")
    one = await client.get(f"/v1/fees/{fees['charge']['id']}")
    assert one.json() == fees["charge"]


async def test_lists_filter_by_customer_subscription_and_both_words_for_issued(client: httpx.AsyncClient) -> None:
    subscribed = await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    for query in (
        {"customer_id": "cust_acme"},
        {"subscription_id": subscribed["id"]},
        {"status": "issued"},
        {"status": "finalized", "order_by": "total_amount:desc"},
    ):
        answer = await client.get("/v1/invoices", params=query)
        assert [row["id"] for row in answer.json()] == [invoice["id"]], query
    for query in ({"customer_id": "nobody"}, {"status": "paid"}):
        assert (await client.get("/v1/invoices", params=query)).json() == []
    assert (await client.get("/v1/invoices", params={"status": "odd"})).status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**quickstart.APRIL, "cutoff_date": "2026-03-31T23:59:59Z"}, 422, "cutoff_before_open_period"),
        ({**quickstart.APRIL, "cutoff_date": "2199-01-01T00:00:00Z"}, 422, "cutoff_after_current_period"),
        ({**quickstart.APRIL, "cutoff_date": "tomorrow"}, 422, "validation_failed"),
        ({"customer_id": "cust_nobody"}, 404, "customer_not_found"),
        ({"subscription_id": "sub_nothing"}, 404, "subscription_not_found"),
        ({}, 422, "missing"),
    ],
)
async def test_what_cannot_be_billed_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    await quickstart.acme(client)
    refused = await client.post("/v1/invoices", json=body)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await client.get("/v1/invoices")).json() == []


async def test_each_subscription_of_a_customer_gets_its_invoice(client: httpx.AsyncClient) -> None:
    first = await quickstart.acme(client)
    second = await quickstart.subscription(client)
    invoice = await quickstart.invoice(client)
    assert (invoice["subscription_id"], invoice["total_amount"]) == (first["id"], 14900)
    (other,) = invoice["related_invoices"]
    assert (await client.get(f"/v1/invoices/{other}")).json()["subscription_id"] == second["id"]


async def test_ten_at_once_make_one_invoice(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    answers = await asyncio.gather(*(client.post("/v1/invoices", json=quickstart.APRIL) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert len((await client.get("/v1/invoices")).json()) == 1


async def test_a_draft_of_a_subscription_is_finalized_and_charged(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    draft = await quickstart.invoice(client, draft=True)
    assert draft["status"] == "draft"
    issued = await quickstart.made(client, f"/v1/invoices/{draft['id']}/finalize", {})
    assert (issued["status"], issued["total_amount"]) == ("issued", 14900)
    assert (await quickstart.made(client, f"/v1/invoices/{draft['id']}/charge", {}))["status"] == "paid"


async def test_a_deleted_draft_can_be_billed_again(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    draft = await quickstart.invoice(client, auto_finalize=False)
    assert (await client.delete(f"/v1/invoices/{draft['id']}")).status_code == 204
    assert (await quickstart.invoice(client))["total_amount"] == 14900


async def _one_off(client: httpx.AsyncClient) -> dict[str, Any]:
    line = {"description": "Consulting", "quantity": "2", "unit_price": "600", "amount": "1200"}
    body = {"customer_id": "cust_acme", "currency": "USD", "line_items": [line]}
    answer = await client.post("/v1/invoices/one_off", json=body)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _issued(client: httpx.AsyncClient) -> dict[str, Any]:
    draft = await _one_off(client)
    return await quickstart.made(client, f"/v1/invoices/{draft['id']}/finalize", {})
