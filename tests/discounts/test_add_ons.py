"""Add-ons over HTTP: what they are and whom they were applied to (B122)."""

from typing import Any

import httpx

from tests.catalogue.seeds import fields_of, made, refused

SETUP = {"code": "setup", "name": "Set-up", "amount_cents": "2500", "invoice_display_name": "Set-up fee"}
PAYER = {"customer_id": "cust_acme", "add_on_code": "setup"}


async def test_b122_an_add_on_is_created_read_changed_and_deleted(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    shown = await made(api, "/v1/add_ons", SETUP)
    assert (shown["amount_cents"], shown["amount_currency"], shown["description"]) == ("2500", "USD", None)
    await refused(api, "/v1/add_ons", SETUP, 409, "add_on_exists")
    for ref in ("setup", shown["id"], shown["uuid"]):
        assert (await api.get(f"/v1/add_ons/{ref}")).json() == shown
    await refused(stranger, "/v1/add_ons/setup", None, 404, "add_on_not_found", method="GET")
    changed = (await api.put("/v1/add_ons/setup", json={"amount_cents": 3000, "amount_currency": "EUR"})).json()
    assert (changed["amount_cents"], changed["currency"], changed["name"]) == ("3000", "EUR", "Set-up")
    await refused(api, "/v1/add_ons/setup", {"code": "other"}, 422, "immutable", method="PATCH")
    assert [row["code"] for row in (await api.get("/v1/add_ons")).json()] == ["setup"]
    assert (await api.delete("/v1/add_ons/setup")).status_code == 204
    await refused(api, "/v1/add_ons/setup", None, 404, "add_on_not_found", method="GET")
    await made(api, "/v1/add_ons", SETUP)


NO_ADD_ONS: list[tuple[dict[str, Any], str]] = [
    ({"amount_cents": -1}, "amount_cents"),
    ({"amount_cents": "1e3"}, "amount_cents"),
    ({"amount_cents": "0.5"}, "amount_cents"),
    ({"amount_cents": 10**16}, "amount_cents"),
    ({"amount_currency": "US"}, "amount_currency"),
    ({"currency": "EUR", "amount_currency": "USD"}, "currency"),
    ({"code": "application_counts"}, "code"),
    ({"code": "apply"}, "code"),
]


async def test_what_no_add_on_is(api: httpx.AsyncClient) -> None:
    for change, field in NO_ADD_ONS:
        assert fields_of(await refused(api, "/v1/add_ons", {**SETUP, **change}, 422)) == [field]


async def test_b122_an_add_on_is_applied_and_counted(acme: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    shown = await made(acme, "/v1/add_ons", SETUP)
    assert (await acme.get("/v1/add_ons/application_counts")).json() == {shown["id"]: 0}
    applied = await made(acme, "/v1/add_ons/apply", PAYER)
    assert (applied["add_on_id"], applied["customer_id"]) == (shown["id"], "cust_acme")
    assert (applied["amount_cents"], applied["invoice_id"]) == ("2500", None)
    assert applied["customer_name"] == "Acme Corp"
    other = await made(acme, "/v1/add_ons/apply", {**PAYER, "amount_cents": "99", "amount_currency": "EUR"})
    assert (other["amount_cents"], other["amount_currency"]) == ("99", "EUR")
    assert (await acme.get("/v1/add_ons/application_counts")).json() == {shown["id"]: 2}
    for path in ("/v1/add_ons/setup/applications", "/v1/customers/cust_acme/applied_add_ons"):
        listed = await acme.get(path)
        assert (listed.json(), listed.headers["x-total-count"]) == ([other, applied], "2")
        await refused(stranger, path, None, 404, method="GET")
    await refused(acme, "/v1/add_ons/apply", {**PAYER, "add_on_code": "none"}, 404, "add_on_not_found")
    await refused(acme, "/v1/add_ons/apply", {**PAYER, "customer_id": "nobody"}, 404, "customer_not_found")
