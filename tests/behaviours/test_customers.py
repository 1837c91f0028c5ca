"""B6, B7, B78-B81: customers as a user of the API meets them."""

import httpx
import psycopg

from tests.support import quickstart
from tests.support.quickstart import made
from tests.support.stack import Stack


async def test_b6_b7_client_chosen_ids_are_separate_in_each_organization(stack: Stack) -> None:
    async with stack.client("Ours") as ours, stack.client("Theirs") as theirs:
        mine = await quickstart.customer(ours)
        yours = await quickstart.customer(theirs)
        assert mine["id"] == yours["id"] == "cust_acme"
        assert (await theirs.get(f"/v1/customers/{mine['uuid']}")).status_code == 404
        assert [row["uuid"] for row in (await theirs.get("/v1/customers")).json()] == [yours["uuid"]]
        await quickstart.catalogue(theirs)
        body = {"customer_id": mine["uuid"], "plan_id": "plan_growth", "start_date": "2026-04-01T00:00:00Z"}
        assert (await theirs.post("/v1/subscriptions", json=body)).status_code == 404


async def test_b78_the_client_chooses_a_stable_customer_id(client: httpx.AsyncClient) -> None:
    assert (await quickstart.customer(client))["id"] == "cust_acme"
    again = await client.post("/v1/customers", json={"id": "cust_acme", "name": "Acme Corp"})
    assert (again.status_code, again.json()["code"]) == (409, "customer_exists")


async def test_b79_a_corporate_id_a_domain_or_a_uuid_names_the_customer(client: httpx.AsyncClient) -> None:
    await quickstart.catalogue(client)
    uuid = "0b0e5a53-6e1b-4b6c-9d53-7e1d9c0b8f11"
    for body, name in (
        ({"external_id": uuid, "name": "By uuid"}, uuid),
        ({"name": "By domain", "domain": "acme.io"}, "acme.io"),
        ({"name": "By corporate id", "corporate_id": "C-1001"}, "C-1001"),
    ):
        shown = await made(client, "/v1/customers", body)
        subscription = await quickstart.subscription(client, customer_id=name)
        assert subscription["customer_id"] == name
        assert (await client.get(f"/v1/customers/{name}")).json()["id"] == shown["id"]


async def test_b80_a_customer_holds_several_active_subscriptions_and_both_bill(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    for plan, price in (("basic", 10), ("extra", 5)):
        body = {"id": plan, "name": plan.title(), "billing_period": "monthly", "base_price": price}
        await made(client, "/v1/plans", body)
        assert (await quickstart.subscription(client, plan_id=plan))["status"] == "active"
    listed = await client.get("/v1/subscriptions", params={"customer_id": "cust_acme"})
    assert len(listed.json()) == 2
    totals = []
    for subscription in listed.json():
        body = {"subscription_id": subscription["id"], "cutoff_date": "2026-04-30T23:59:59Z"}
        totals.append((await made(client, "/v1/invoices", body))["total_amount"])
    assert sorted(totals) == [500, 1000]


async def test_b81_the_linked_provider_customer_is_charged(stack: Stack, client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    assert (await client.get("/v1/customers/cust_acme")).json()["payment_provider_customer_id"] == "cus_stripe_acme123"
    invoice = await quickstart.invoice(client)
    charged = await client.post(f"/v1/invoices/{invoice['id']}/charge", json={})
    assert (charged.status_code, charged.json()["status"]) == (200, "paid")
    with psycopg.connect(stack.admin_url) as ledger:
        row = ledger.execute(
            "SELECT customer_ref, amount_minor, status FROM sandbox_charges WHERE payment_intent_id = %s",
            [charged.json()["payment_intent_id"]],
        ).fetchone()
    assert row == ("cus_stripe_acme123", 14900, "succeeded")


async def test_a_customer_with_invoices_or_subscriptions_stays(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client, calls=0)
    answer = await client.delete("/v1/customers/cust_acme")
    assert (answer.status_code, answer.json()["code"]) == (409, "customer_has_subscriptions")
    assert (await client.delete("/v1/plans/plan_growth")).json()["code"] == "plan_has_subscriptions"
    await quickstart.invoice(client)
    answer = await client.delete("/v1/customers/cust_acme")
    assert (answer.status_code, answer.json()["code"]) == (409, "customer_has_invoices")
    health = (await client.get("/v1/customers/cust_acme/health")).json()
    assert (health["total_invoices"], health["paid_invoices"]) == (1, 0)
