"""Customers in the three systems' shapes (C4, C9, C37; B6, B78-B81)."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from adapters.postgres.customers import customer_store
from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.journal.audit_store import SYSTEM_ACTOR
from adapters.postgres.journal.transaction import begin
from adapters.postgres.paging import Page
from tests.catalogue.seeds import fields_of, made, refused

ACME = {
    "id": "cust_acme",
    "name": "Acme Corp",
    "email": "billing@acme.io",
    "payment_provider": "stripe",
    "payment_provider_customer_id": "cus_stripe_acme123",
}


async def test_b78_the_client_chooses_a_stable_id(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/customers", ACME)
    assert ACME.items() <= shown.items()
    assert shown["external_id"] == "cust_acme"
    assert shown["created_at"].endswith("Z")
    await refused(api, "/v1/customers", {"id": "cust_acme", "name": "Acme Corp"}, 409, "customer_exists")
    await refused(api, "/v1/customers", {"external_id": "cust_acme", "name": "Acme Corp"}, 409, "customer_exists")


async def test_boxbillings_customer_has_its_defaults_and_both_ids(api: httpx.AsyncClient) -> None:
    body = {"external_id": "acme", "name": "Acme", "email": "a@example.org", "billing_metadata": {"share": 0.1}}
    shown = await made(api, "/v1/customers/", body)
    assert shown["id"].startswith("cus_")
    assert body.items() <= shown.items()
    defaults = {"currency": "USD", "timezone": "UTC", "net_payment_term": 30, "invoice_grace_period": 0}
    assert defaults.items() <= shown.items()
    assert shown["metadata"] == {"share": 0.1}
    for ref in (shown["id"], shown["uuid"], "acme"):
        assert (await api.get(f"/v1/customers/{ref}")).json() == shown


async def test_b79_corporate_id_domain_and_uuid_serve_as_identifiers(api: httpx.AsyncClient) -> None:
    uuid = "0b0e5a53-6e1b-4b6c-9d53-7e1d9c0b8f11"
    body = {"name": "Example Ltd", "corporate_id": "C-1001", "domain": "example.com", "external_id": uuid}
    shown = await made(api, "/v1/customers", body)
    for ref in ("C-1001", "example.com", uuid, shown["id"]):
        assert (await api.get(f"/v1/customers/{ref}")).json()["id"] == shown["id"]
    unnamed = await made(api, "/v1/customers", {"name": "Only a name"})
    assert unnamed["external_id"] == unnamed["id"]


async def test_b6_the_same_id_in_two_organizations_names_two_customers(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    ours, theirs = await made(api, "/v1/customers", ACME), await made(stranger, "/v1/customers", ACME)
    assert ours["uuid"] != theirs["uuid"]
    await refused(stranger, f"/v1/customers/{ours['uuid']}", None, 404, "customer_not_found", method="GET")
    assert [item["uuid"] for item in (await stranger.get("/v1/customers")).json()] == [theirs["uuid"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "id"),
        ({"email": "a@example.com"}, "id"),
        ({"id": "c", "email": "nobody"}, "email"),
        ({"id": "c", "currency": "XXY"}, "currency"),
        ({"id": "c", "timezone": "Mars/Olympus"}, "timezone"),
        ({"id": "c", "timezone": "../etc/passwd"}, "timezone"),
        ({"id": "c", "invoice_grace_period": "not-valid!"}, "invoice_grace_period"),
        ({"id": "c", "net_payment_term": -1}, "net_payment_term"),
        ({"id": "c", "payment_provider": "paypal"}, "payment_provider"),
        ({"id": "c", "external_id": "d"}, "external_id"),
        ({"id": "current"}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": ""}, "id"),
        ({"id": "c", "name": "x" * 256}, "name"),
        ({"id": "c", "metadata": {"long": "x" * 40000}}, "metadata"),
        ({"id": "c", "metadata": {"a": 1}, "billing_metadata": {"a": 2}}, "billing_metadata"),
    ],
)
async def test_a_customer_that_cannot_be_is_refused_by_field(
    api: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    problem = await refused(api, "/v1/customers", body, 422)
    assert field in fields_of(problem), problem
    assert (await api.get("/v1/customers")).json() == []


async def test_changes_are_partial_and_ids_stay(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/customers", ACME)
    changed = await api.put("/v1/customers/cust_acme", json={"timezone": "Europe/Berlin", "net_payment_term": 14})
    assert (changed.json()["timezone"], changed.json()["net_payment_term"]) == ("Europe/Berlin", 14)
    assert changed.json()["email"] == "billing@acme.io"
    cleared = await api.patch("/v1/customers/cust_acme", json={"email": None, "metadata": None})
    assert (cleared.json()["email"], cleared.json()["metadata"]) == (None, {})
    assert (await api.put("/v1/customers/cust_acme", json={"id": "cust_acme"})).status_code == 200
    await refused(api, "/v1/customers/cust_acme", {"external_id": "other"}, 422, "immutable", method="PATCH")
    await refused(api, "/v1/customers/none", {}, 404, "customer_not_found", method="PUT")


async def test_lists_are_filtered_and_ordered(api: httpx.AsyncClient) -> None:
    for code, name in (("b", "Beta"), ("a", "Zeta"), ("c", "Alpha")):
        await made(api, "/v1/customers", {"external_id": code, "name": name})
    assert [item["name"] for item in (await api.get("/v1/customers")).json()] == ["Alpha", "Zeta", "Beta"]
    ordered = await api.get("/v1/customers", params={"order_by": "name:desc", "limit": 2})
    assert [item["name"] for item in ordered.json()] == ["Zeta", "Beta"]
    assert ordered.headers["x-total-count"] == "3"
    found = await api.get("/v1/customers", params={"external_id": "a"})
    assert [item["name"] for item in found.json()] == ["Zeta"]
    assert found.headers["x-total-count"] == "1"


async def test_a_test_clock_is_chosen_at_creation_only(api: httpx.AsyncClient) -> None:
    await refused(api, "/v1/customers", {**ACME, "test_clock_id": "none"}, 404, "test_clock_not_found")
    await made(api, "/v1/customers", ACME)
    await refused(api, "/v1/customers/cust_acme", {"test_clock_id": "clock_1"}, 422, "immutable", method="PATCH")


async def test_a_deleted_customer_is_gone_and_its_id_free(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/customers", ACME)
    assert (await api.delete("/v1/customers/cust_acme")).status_code == 204
    for ref in ("cust_acme", shown["uuid"]):
        await refused(api, f"/v1/customers/{ref}", None, 404, "customer_not_found", method="GET")
    assert (await made(api, "/v1/customers", ACME))["uuid"] != shown["uuid"]
    entries = (await api.get(f"/v1/audit_logs/customer/{shown['uuid']}")).json()
    assert [entry["action"] for entry in entries] == ["deleted", "created"]


async def test_a_new_customer_is_in_good_health(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/customers", ACME)
    assert (await api.get("/v1/customers/cust_acme/health")).json() == {
        "status": "good",
        "total_invoices": 0,
        "paid_invoices": 0,
        "overdue_invoices": 0,
        "total_payments": 0,
        "failed_payments": 0,
        "overdue_amount": 0,
    }
    await refused(api, "/v1/customers/none/health", None, 404, "customer_not_found", method="GET")


async def test_usage_of_an_unknown_customer_creates_it_once(database: Database, tenant: ProjectScope) -> None:
    found: list[UUID] = []
    for _ in range(2):
        async with database.transaction(tenant) as connection:
            row = await customer_store.lazily_created(connection, tenant.project_id, "user_123")
            assert (row.code, row.created_by_usage) == ("user_123", True)
            found.append(row.id)
    assert found[0] == found[1]


async def test_c9_the_organizations_own_customer_is_made_once_and_hidden(
    database: Database, tenant: ProjectScope
) -> None:
    async with begin(database, tenant, SYSTEM_ACTOR) as tx:
        first = await customer_store.organization_customer(tx, "CloudAI")
        again = await customer_store.organization_customer(tx, "CloudAI")
        assert first.id == again.id
        rows, total = await customer_store.listed(tx.connection, tenant.project_id, Page(), {})
        assert (list(rows), total) == ([], 0)
