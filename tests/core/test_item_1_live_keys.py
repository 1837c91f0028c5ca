"""Item 1, C12: provider credentials belong to a project; simulated time and test projects never reach a real card."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from devstack.embedded_postgres import EmbeddedPostgres
from devstack.temporal_server import TemporalServer
from tests.conftest import make_database
from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import advance, clock_at, fee, in_test_project, invoices, shop, subscribe
from tests.support.fault_proxy import FaultProxy
from tests.support.stack import Stack, running
from tests.support.stripe_servers import localstripe

LIVE, TEST, RESTRICTED = "sk_live_" + "a" * 24, "sk_test_" + "b" * 24, "rk_test_" + "c" * 24
PATH = "/v1/payment_providers/stripe"
DEFAULT: dict[str, str] = {}


@pytest.fixture(scope="module")
def localstripe_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with localstripe(tmp_path_factory.mktemp("localstripe")) as url:
        yield url


@pytest.fixture(scope="module")
async def proxy(localstripe_url: str) -> AsyncIterator[FaultProxy]:
    opened = FaultProxy(localstripe_url)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture(scope="module")
async def charging(
    postgres: EmbeddedPostgres, temporal_server: TemporalServer, proxy: FaultProxy, tmp_path_factory: Any
) -> AsyncIterator[Stack]:
    """A deployment with a live Stripe key of its own and a default organization, whose Stripe is the proxy."""
    fresh = make_database(postgres)
    directory: Path = tmp_path_factory.mktemp("charging")
    environment = {"STRIPE_API_KEY": LIVE, "DURABILL_STRIPE_API_BASE": proxy.url}
    made = Stack(fresh.url, fresh.admin_url, temporal_server.address, directory, extra_environment=environment)
    with running(made) as ready:
        DEFAULT["key"] = (await ready.new_organization("Default"))["api_key"]["key"]
        yield ready


async def one_off(client: httpx.AsyncClient, **paying: str) -> httpx.Response:
    """Issue a one-off over 12.00 to a new customer, and charge it."""
    await post(client, "/v1/customers", {"id": "c", "name": "c", **paying})
    line = {"description": "x", "amount": "1200"}
    draft = (await client.post("/v1/invoices/one_off", json={"customer_id": "c", "line_items": [line]})).json()
    await post(client, f"/v1/invoices/{draft['id']}/finalize", {}, 200)
    return await client.post(f"/v1/invoices/{draft['id']}/charge", json={})


async def saved_card(url: str) -> str:
    """Make a customer at Stripe with a good card; gives its id."""
    async with httpx.AsyncClient(base_url=url, auth=(TEST, "")) as at_stripe:
        customer = (await at_stripe.post("/v1/customers", data={"email": "a@b.c"})).json()["id"]
        card = {"card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2030"}
        card |= {"type": "card", "card[cvc]": "123"}
        method = (await at_stripe.post("/v1/payment_methods", data=card)).json()["id"]
        await at_stripe.post(f"/v1/payment_methods/{method}/attach", data={"customer": customer})
    return str(customer)


async def test_item_1_a_year_on_a_test_clock_makes_no_intent_with_a_live_key(
    charging: Stack, proxy: FaultProxy, localstripe_url: str
) -> None:
    before = proxy.sent()
    card = await saved_card(localstripe_url)
    async with charging.client() as client:
        await in_test_project(client)
        clock = await clock_at(client, "2025-01-01T00:00:00Z")
        paying = {"payment_provider": "stripe", "payment_provider_customer_id": card}
        await shop(client, fee("49.00"), test_clock_id=clock, **paying)
        await subscribe(client, start_date="2025-01-01T00:00:00Z")
        for month in (4, 7, 10):
            await advance(client, clock, f"2025-{month:02}-01T00:00:00Z")
        await advance(client, clock, "2026-01-01T00:00:00Z")
        # Twelve months at 49.00 were billed in simulated time, and Stripe was never asked for money.
        assert len(await invoices(client)) == 12
    assert proxy.sent() - before == 0


async def test_item_1_a_test_project_does_not_charge_with_the_deployments_live_key(
    charging: Stack, proxy: FaultProxy, localstripe_url: str
) -> None:
    before = proxy.sent()
    card = await saved_card(localstripe_url)
    async with charging.client() as client:
        await in_test_project(client)
        await one_off(client, payment_provider="stripe", payment_provider_customer_id=card)
    assert proxy.sent() - before == 0


async def test_item_1_another_organization_does_not_charge_with_the_deployments_key(
    charging: Stack, proxy: FaultProxy, localstripe_url: str
) -> None:
    """The default is for the default organization's live project; another one brings its own key."""
    card = await saved_card(localstripe_url)
    before = proxy.sent()
    async with charging.client("second") as client:
        refused = await one_off(client, payment_provider="stripe", payment_provider_customer_id=card)
        assert (refused.status_code, refused.json()["code"]) == (409, "payment_provider_not_configured"), refused.text
        assert "payment_providers/stripe" in refused.json()["detail"]
    assert proxy.sent() - before == 0


async def test_item_1_the_default_organizations_live_project_charges_with_the_deployments_key(
    charging: Stack, proxy: FaultProxy, localstripe_url: str
) -> None:
    card = await saved_card(localstripe_url)
    before = proxy.sent()
    async with charging.caller(headers={"Authorization": f"Bearer {DEFAULT['key']}"}) as client:
        await one_off(client, payment_provider="stripe", payment_provider_customer_id=card)
        (invoice,) = await get(client, "/v1/invoices")
        assert invoice["status"] == "paid"
    assert proxy.sent() - before == 1


async def test_item_1_a_test_project_charges_its_clocks_with_its_own_test_key(
    charging: Stack, proxy: FaultProxy, localstripe_url: str
) -> None:
    """Three months at 49.00 in a test clock are three payments in the provider's test mode."""
    card = await saved_card(localstripe_url)
    before = proxy.sent()
    async with charging.client() as client:
        await in_test_project(client)
        saved = await client.put(PATH, json={"secret_key": TEST})
        assert (saved.status_code, saved.json()["mode"]) == (200, "test"), saved.text
        assert saved.json()["verified_at"] is not None
        assert saved.json()["account_id"].startswith("acct_")
        clock = await clock_at(client, "2025-01-01T00:00:00Z")
        paying = {"payment_provider": "stripe", "payment_provider_customer_id": card}
        await shop(client, fee("49.00"), test_clock_id=clock, **paying)
        await subscribe(client, start_date="2025-01-01T00:00:00Z")
        await advance(client, clock, "2025-04-01T00:00:00Z")
        assert [each["status"] for each in await invoices(client)] == ["paid"] * 3
        assert (await client.delete(PATH)).status_code == 204
    assert proxy.sent() - before == 3


async def test_item_1_a_live_key_on_a_test_clock_is_409_with_the_way_out(charging: Stack) -> None:
    async with charging.client() as client:
        (live,) = [each for each in await get(client, "/v1/projects") if each["active"]]
        await client.patch(f"/v1/projects/{live['id']}", json={"allow_test_clocks": True})
        set_ = await client.put(PATH, json={"secret_key": LIVE})
        assert set_.status_code in (200, 201), set_.text
        clock = await clock_at(client)
        body = {"id": "c", "name": "c", "test_clock_id": clock, "payment_provider": "stripe"}
        refused = await client.post("/v1/customers", json=body)
        assert refused.status_code == 409, refused.text
        assert "test" in refused.json()["detail"]
        assert (await client.post("/v1/customers", json={**body, "payment_provider": "sandbox"})).status_code == 201


@pytest.mark.parametrize("key", [TEST, RESTRICTED])
async def test_item_1_a_live_project_refuses_test_keys(client: httpx.AsyncClient, key: str) -> None:
    refused = await client.put(PATH, json={"secret_key": key})
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong_key_mode"), refused.text


@pytest.mark.parametrize("key", [LIVE, "rk_live_" + "d" * 24])
async def test_item_1_a_test_project_refuses_live_keys(client: httpx.AsyncClient, key: str) -> None:
    await in_test_project(client)
    refused = await client.put(PATH, json={"secret_key": key})
    assert (refused.status_code, refused.json()["code"]) == (422, "wrong_key_mode"), refused.text
    assert (await client.put(PATH, json={"secret_key": RESTRICTED})).status_code in (200, 201)


async def test_item_1_a_key_is_masked_encrypted_rotated_and_deleted(stack: Stack, client: httpx.AsyncClient) -> None:
    await in_test_project(client)
    made = await client.put(PATH, json={"secret_key": TEST})
    assert made.status_code in (200, 201), made.text
    shown = await client.get(PATH)
    assert shown.status_code == 200
    for text in (made.text, shown.text, (await client.get("/v1/audit_logs")).text):
        assert TEST not in text
    assert "bbbb" in shown.text, "the last four characters tell which key it is"
    assert not _anywhere_in_the_database(stack.admin_url, TEST)
    rotated = await client.put(PATH, json={"secret_key": RESTRICTED})
    assert "cccc" in rotated.text
    assert not _anywhere_in_the_database(stack.admin_url, RESTRICTED)
    assert (await client.delete(PATH)).status_code == 204
    assert (await client.get(PATH)).status_code == 404


def _anywhere_in_the_database(url: str, secret: str) -> bool:
    """Look through every text of every table."""
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind = 'r'"
        ).fetchall()
        return any(
            connection.execute(f"SELECT true FROM {table} t WHERE t::text LIKE %s LIMIT 1", [f"%{secret}%"]).fetchone()
            for (table,) in tables
        )


async def test_item_1_a_projects_key_is_not_seen_by_another(stack: Stack, client: httpx.AsyncClient) -> None:
    assert (await client.put(PATH, json={"secret_key": LIVE})).status_code in (200, 201)
    async with stack.client("other") as other:
        assert (await other.get(PATH)).status_code == 404
    await in_test_project(client)
    assert (await client.get(PATH)).status_code == 404


async def test_item_1_a_key_is_tested_against_the_provider(charging: Stack, proxy: FaultProxy) -> None:
    async with charging.client() as client:
        await in_test_project(client)
        await client.put(PATH, json={"secret_key": TEST})
        before = len(proxy.seen)
        tested = await client.post(f"{PATH}/test", json={})
        assert (tested.status_code, tested.json().get("ok")) == (200, True), tested.text
        assert len(proxy.seen) > before
        assert {one.method for one in proxy.seen[before:]} == {"GET"}, "a test asks, and makes nothing"
