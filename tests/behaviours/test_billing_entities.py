"""B119: billing entities issue invoices from number series of their own, as a user of the API meets them."""

import httpx

from tests.support import quickstart
from tests.support.quickstart import made


async def test_b119_a_customers_invoices_have_its_entitys_prefix(client: httpx.AsyncClient) -> None:
    entity = {"code": "acme-eu", "name": "Acme Europe", "invoice_prefix": "EU", "timezone": "Europe/Berlin"}
    await made(client, "/v1/billing_entities", entity)
    subscribed = await quickstart.acme(client, billing_entity_code="acme-eu")
    assert subscribed["timezone"] == "Europe/Berlin"
    invoice = await made(client, "/v1/invoices", {"customer_id": "cust_acme", "cutoff_date": "2026-04-30"})
    assert invoice["invoice_number"] == "EU-0001"
    lines = [{"description": "Consulting", "quantity": "1", "unit_price": "500", "amount": "500"}]
    draft = await made(client, "/v1/invoices/one_off", {"customer_id": "cust_acme", "line_items": lines})
    assert draft["invoice_number"].startswith("DRAFT-")
    final = await made(client, f"/v1/invoices/{draft['id']}/finalize", {})
    assert final["invoice_number"] == "EU-0002"
    assert (await client.get("/v1/billing_entities/acme-eu")).json()["next_invoice_number"] == 3
    assert (await client.get("/v1/invoices/EU-0002")).json()["id"] == final["id"]
