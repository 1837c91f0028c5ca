"""Billing entities: their customers, and series of invoice numbers in which none is given twice (B119)."""

from typing import Any

import httpx
import pytest

from tests.catalogue.seeds import made, refused

EU = {"code": "acme-eu", "name": "Acme Europe", "country": "DE", "email": "eu@acme.io", "invoice_prefix": "EU"}
LINES = [{"description": "Consulting", "quantity": "2", "unit_price": "600", "amount": "1200"}]


async def entity(api: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """Create a billing entity."""
    return await made(api, "/v1/billing_entities", {**EU, **more})


async def customer(api: httpx.AsyncClient, code: str, **more: Any) -> dict[str, Any]:
    """Create a customer."""
    return await made(api, "/v1/customers", {"id": code, "name": code, **more})


async def issued(api: httpx.AsyncClient, code: str, **more: Any) -> str:
    """Draft and finalize a one-off invoice, and give its number."""
    draft = await api.post("/v1/invoices/one_off", json={"customer_id": code, "line_items": LINES, **more})
    assert draft.status_code == 201, draft.text
    final = await api.post(f"/v1/invoices/{draft.json()['id']}/finalize")
    assert final.status_code == 200, final.text
    return str(final.json()["invoice_number"])


async def test_b119_a_billing_entity_is_created_read_changed_and_deleted(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    shown = await entity(api)
    assert (shown["next_invoice_number"], shown["net_payment_term"], shown["timezone"]) == (1, 30, "UTC")
    assert EU.items() <= shown.items()
    await refused(api, "/v1/billing_entities", EU, 409, "billing_entity_exists")
    await refused(api, "/v1/billing_entities", {**EU, "code": "customer_counts"}, 422, "reserved_id")
    await refused(api, "/v1/billing_entities", {**EU, "code": "x", "country": "Germany"}, 422)
    for ref in ("acme-eu", shown["id"], shown["uuid"]):
        assert (await api.get(f"/v1/billing_entities/{ref}")).json() == shown
    await refused(stranger, "/v1/billing_entities/acme-eu", None, 404, "billing_entity_not_found", method="GET")
    changed = (await api.patch("/v1/billing_entities/acme-eu", json={"city": "Berlin", "name": None})).json()
    assert (changed["city"], changed["name"]) == ("Berlin", "Acme Europe")
    emptied = (await api.put("/v1/billing_entities/acme-eu", json={"city": None})).json()
    assert emptied["city"] is None
    await refused(api, "/v1/billing_entities/acme-eu", {"code": "other"}, 422, "immutable", method="PATCH")
    assert [row["code"] for row in (await api.get("/v1/billing_entities")).json()] == ["acme-eu"]
    assert (await api.delete("/v1/billing_entities/acme-eu")).status_code == 204
    await entity(api)


async def test_b119_a_customers_entity_numbers_its_invoices(api: httpx.AsyncClient) -> None:
    found = await entity(api, next_invoice_number=41)
    await customer(api, "plain")
    shown = await customer(api, "eu", billing_entity_code="acme-eu")
    assert (shown["billing_entity_id"], shown["billing_entity_code"]) == (found["id"], "acme-eu")
    assert [await issued(api, "eu"), await issued(api, "eu")] == ["EU-0041", "EU-0042"]
    assert await issued(api, "plain", billing_entity_id=found["id"]) == "EU-0043"
    assert (await issued(api, "plain")).endswith("-0001")
    assert (await api.get("/v1/billing_entities/acme-eu")).json()["next_invoice_number"] == 44
    assert (await api.get("/v1/billing_entities/customer_counts")).json() == {found["id"]: 1}
    await refused(api, "/v1/billing_entities/acme-eu", None, 409, "billing_entity_has_customers", method="DELETE")
    freed = (await api.put("/v1/customers/eu", json={"billing_entity_code": None})).json()
    assert (freed["billing_entity_id"], freed["billing_entity_code"]) == (None, None)
    assert (await issued(api, "eu")).endswith("-0002")
    await refused(api, "/v1/billing_entities/acme-eu", None, 409, "billing_entity_has_invoices", method="DELETE")


async def test_b119_no_number_is_given_twice(api: httpx.AsyncClient) -> None:
    await entity(api)
    await customer(api, "eu", billing_entity_code="acme-eu")
    assert await issued(api, "eu") == "EU-0001"
    path = "/v1/billing_entities/acme-eu"
    await refused(api, path, {"next_invoice_number": 1}, 409, "invoice_numbers_taken", method="PATCH")
    assert (await api.patch(path, json={"next_invoice_number": 10_000})).status_code == 200
    assert await issued(api, "eu") == "EU-10000"
    await refused(api, "/v1/billing_entities", {**EU, "code": "other"}, 409, "invoice_prefix_in_use")
    await refused(api, "/v1/billing_entities", {"code": "EU", "name": "Other"}, 409, "invoice_prefix_in_use")
    assert (await api.patch(path, json={"invoice_prefix": None})).status_code == 200
    assert await issued(api, "eu") == "acme-eu-10001"
    taken = {"code": "other", "name": "Other", "invoice_prefix": "EU"}
    await refused(api, "/v1/billing_entities", taken, 409, "invoice_numbers_taken")
    await made(api, "/v1/billing_entities", {**taken, "next_invoice_number": 10_001})
    own = {"code": "own", "name": "Own", "invoice_prefix": "INV-20260501"}
    await refused(api, "/v1/billing_entities", own, 422)


@pytest.mark.parametrize("field", ["billing_entity_id", "billing_entity_code"])
async def test_a_customer_takes_terms_and_time_zone_from_its_entity(api: httpx.AsyncClient, field: str) -> None:
    await entity(api, net_payment_term=7, invoice_grace_period=2, timezone="Europe/Berlin")
    shown = await customer(api, "eu", **{field: "acme-eu"})
    assert (shown["net_payment_term"], shown["invoice_grace_period"]) == (7, 2)
    assert shown["timezone"] == "Europe/Berlin"
    own = await customer(api, "own", **{field: "acme-eu"}, net_payment_term=14, timezone="Asia/Tokyo")
    assert (own["net_payment_term"], own["timezone"]) == (14, "Asia/Tokyo")
    await refused(api, "/v1/customers", {"id": "x", field: "none"}, 404, "billing_entity_not_found")


async def test_customers_without_an_entity_belong_to_the_default_one(api: httpx.AsyncClient) -> None:
    await entity(api, is_default=True)
    assert (await customer(api, "first"))["billing_entity_code"] == "acme-eu"
    await made(api, "/v1/billing_entities", {"code": "us", "name": "US", "is_default": True})
    assert (await api.get("/v1/billing_entities/acme-eu")).json()["is_default"] is False
    assert (await customer(api, "second"))["billing_entity_code"] == "us"
    both = {"id": "third", "billing_entity_code": "us", "billing_entity_id": "acme-eu"}
    await refused(api, "/v1/customers", both, 422)
    listed = {row["id"]: row["billing_entity_code"] for row in (await api.get("/v1/customers")).json()}
    assert listed == {"first": "acme-eu", "second": "us"}
