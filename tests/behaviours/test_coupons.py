"""Coupons and add-ons over HTTP, on the whole stack: B121, B122."""

from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.quickstart import made

pytestmark = pytest.mark.stack

HUNDRED = {"metric_key": None, "pricing_model": "flat_fee", "amount": 100, "description": "Base price"}
TEN = {"code": "TEN", "name": "Ten", "coupon_type": "percentage", "percentage_rate": "10", "frequency": "once"}
APPLIED = {"coupon_code": "TEN", "customer_id": "cust_acme"}


async def subscribed(client: httpx.AsyncClient) -> None:
    """Subscribe a customer to a plan of 100.00 a month."""
    await quickstart.catalogue(client, charges=[HUNDRED])
    await quickstart.customer(client)
    await quickstart.subscription(client)


async def analytics(client: httpx.AsyncClient) -> dict[str, Any]:
    """Read how the coupon is used."""
    document: dict[str, Any] = (await client.get("/v1/coupons/TEN/analytics")).json()
    return document


async def test_b121_ten_percent_off_a_hundred_is_ninety(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    coupon = await made(client, "/v1/coupons", TEN)
    applied = await made(client, "/v1/coupons/apply", APPLIED)
    assert (applied["coupon_id"], applied["remaining_uses"]) == (coupon["id"], 1)
    assert (await analytics(client))["times_applied"] == 1
    preview = await made(client, "/v1/invoices/preview", quickstart.APRIL)
    invoice = await quickstart.invoice(client)
    for document in (preview, invoice):
        assert (document["subtotal_cents"], document["coupons_amount_cents"]) == ("10000", "1000")
        assert (document["total_cents"], document["total_amount"]) == ("9000", 9000)
        lines = [(line["type"], line["amount"]) for line in document["line_items"]]
        assert lines == [("fee", 10000), ("discount", -1000)]
    assert [fee["amount_cents"] for fee in preview["fees"]] == ["10000"]
    fees = (await client.get("/v1/fees", params={"customer_id": "cust_acme"})).json()
    assert [fee["amount_cents"] for fee in fees] == ["10000"]
    after = await analytics(client)
    assert (after["total_discount_cents"], after["active_applications"]) == ("1000", 0)
    again = await client.post("/v1/invoices", json=quickstart.APRIL)
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_bill")


async def test_b121_a_voided_invoice_gives_the_coupon_back(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    await made(client, "/v1/coupons", TEN)
    await made(client, "/v1/coupons/apply", APPLIED)
    first = await quickstart.invoice(client)
    await made(client, f"/v1/invoices/{first['id']}/void", {"rebill": True})
    assert (await analytics(client))["total_discount_cents"] == "0"
    second = await quickstart.invoice(client)
    assert (first["total_amount"], second["total_amount"]) == (9000, 9000)


async def test_b121_removing_terminating_and_duplicating(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    await made(client, "/v1/coupons", TEN)
    applied = await made(client, "/v1/coupons/apply", APPLIED)
    assert (await client.delete(f"/v1/coupons/applied/{applied['id']}")).status_code == 204
    assert (await client.delete("/v1/coupons/TEN")).status_code == 204
    copy = await made(client, "/v1/coupons/TEN/duplicate", {})
    assert (copy["code"], copy["status"]) == ("TEN_copy", "active")
    refused = await client.post("/v1/coupons/apply", json=APPLIED)
    assert (refused.status_code, refused.json()["code"]) == (409, "coupon_terminated")
    assert (await quickstart.invoice(client))["total_amount"] == 10000


async def test_b122_an_add_on_is_a_fee_on_the_next_invoice(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    add_on = await made(client, "/v1/add_ons", {"code": "setup", "name": "Set-up", "amount_cents": "2500"})
    counts = (await client.get("/v1/add_ons/application_counts")).json()
    await made(client, "/v1/add_ons/apply", {"add_on_code": "setup", "customer_id": "cust_acme"})
    assert (await client.get("/v1/add_ons/application_counts")).json()[add_on["id"]] == counts[add_on["id"]] + 1
    preview = await made(client, "/v1/invoices/preview", quickstart.APRIL)
    invoice = await quickstart.invoice(client)
    for document in (preview, invoice):
        assert document["total_amount"] == 12500
        assert [line["description"] for line in document["line_items"]] == ["Base price", "Set-up"]
    fees = (await client.get("/v1/fees", params={"fee_type": "add_on"})).json()
    assert [(fee["amount_cents"], fee["invoice_id"]) for fee in fees] == [("2500", invoice["id"])]
    (history,) = (await client.get("/v1/add_ons/setup/applications")).json()
    assert history["invoice_id"] == invoice["id"]
    assert (await client.get("/v1/customers/cust_acme/applied_add_ons")).json() == [history]
