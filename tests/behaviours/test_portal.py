"""The customer portal as a customer meets it: B169, B170, B172, and the reads of B171."""

import html
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import jwt
import pytest

from adapters.postgres.database import ProjectScope
from api.portal import portal_auth
from settings import Settings
from tests.support import quickstart
from tests.support.quickstart import made
from tests.support.stack import Stack

pytestmark = pytest.mark.stack


async def _token(client: httpx.AsyncClient, customer: str = "cust_acme") -> str:
    return str((await made(client, "/portal/token", {"customer_id": customer}))["token"])


async def _seen(client: httpx.AsyncClient, token: str, path: str, **query: str) -> httpx.Response:
    """Ask as the customer does: without any key."""
    return await client.get(path, params={"token": token, **query}, headers={"Authorization": ""})


async def _read(client: httpx.AsyncClient, token: str, path: str, **query: str) -> Any:
    answer = await _seen(client, token, path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _other_customer(client: httpx.AsyncClient) -> dict[str, Any]:
    await quickstart.customer(client, id="cust_other", name="Other Ltd", email="bills@other.example")
    await quickstart.subscription(client, customer_id="cust_other")
    return await made(client, "/v1/invoices", {"customer_id": "cust_other", "cutoff_date": "2026-04-30T23:59:59Z"})


async def test_b169_a_token_is_bound_to_one_customer(client: httpx.AsyncClient) -> None:
    mine = await quickstart.acme(client)
    own = await quickstart.invoice(client)
    other = await _other_customer(client)
    token = await _token(client)
    assert (await _seen(client, token, f"/portal/invoices/{own['id']}")).status_code == 200
    for ref in (other["id"], other["uuid"], other["invoice_number"], "inv_nothing"):
        answer = await _seen(client, token, f"/portal/invoices/{ref}")
        assert (answer.status_code, answer.json()["code"]) == (404, "invoice_not_found")
    assert [row["id"] for row in await _read(client, token, "/portal/invoices")] == [own["id"]]
    assert [row["id"] for row in await _read(client, token, "/portal/subscriptions")] == [mine["id"]]
    theirs = other["subscription_id"]
    assert (await _seen(client, token, f"/portal/subscriptions/{theirs}")).status_code == 404
    assert (await _seen(client, token, "/portal/current_usage", subscription_id=theirs)).status_code == 404


async def test_b169_a_token_opens_no_other_organization(stack: Stack) -> None:
    async with stack.client("Ours") as ours, stack.client("Theirs") as theirs:
        await quickstart.customer(ours)
        await quickstart.acme(theirs)
        invoice = await quickstart.invoice(theirs)
        token = await _token(ours)
        assert (await _seen(ours, token, f"/portal/invoices/{invoice['uuid']}")).status_code == 404
        assert await _read(ours, token, "/portal/invoices") == []


async def test_b169_drafts_are_not_shown(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    draft = await made(client, "/v1/invoices", {**quickstart.APRIL, "draft": True})
    assert draft["status"] == "draft"
    token = await _token(client)
    assert await _read(client, token, "/portal/invoices") == []
    assert (await _seen(client, token, f"/portal/invoices/{draft['id']}")).status_code == 404


async def test_b170_a_token_expires_and_opens_nothing_but_the_portal(stack: Stack, client: httpx.AsyncClient) -> None:
    customer = await quickstart.customer(client)
    organization = (await client.get("/v1/organizations/current")).json()
    project = (await client.get("/v1/projects")).json()[0]["id"]
    settings = Settings.model_validate({"session_secret": stack.bootstrap_key})
    scope = ProjectScope(UUID(organization["id"]), UUID(project))
    current = portal_auth.issue(settings, scope, UUID(customer["uuid"]))
    assert (await _seen(client, current.token, "/portal/customer")).status_code == 200
    expired = portal_auth.issue(settings, scope, UUID(customer["uuid"]), seconds=-1).token
    answer = await _seen(client, expired, "/portal/customer")
    assert (answer.status_code, answer.json()["code"]) == (401, "portal_token_expired")
    for path in ("/v1/customers", "/v1/invoices", "/v1/organizations/current"):
        for header in ("Authorization", "x-api-key", "x-usageflow-api-key"):
            value = f"Bearer {current.token}" if header == "Authorization" else current.token
            answer = await client.get(path, headers={"Authorization": "", header: value})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


async def test_b170_an_api_key_or_a_forged_token_does_not_open_the_portal(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    customer = await quickstart.customer(client)
    claims = jwt.decode(await _token(client), options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == (customer["uuid"], "portal")
    forged = [
        jwt.encode(claims, stack.bootstrap_key, algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        "no.such.token",
        "x" * 3000,
    ]
    key = client.headers["Authorization"].removeprefix("Bearer ")
    for token in (*forged, key, stack.bootstrap_key, ""):
        for path in ("/portal/customer", "/portal/invoices", "/v1/portal/customer", "/portal"):
            assert (await _seen(client, token, path)).status_code == 401, (token, path)
    bare = await client.get("/portal/customer")
    assert (bare.status_code, bare.json()["code"]) == (401, "invalid_portal_token")
    changed = await client.patch("/portal/profile", params={"token": key}, json={"name": "Mine"})
    assert changed.status_code == 401


async def test_b170_a_token_ends_with_its_customer(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    token = await _token(client)
    assert (await client.delete("/v1/customers/cust_acme")).status_code == 204
    assert (await _seen(client, token, "/portal/customer")).status_code == 401
    assert (await _seen(client, token, "/portal")).status_code == 401


async def test_b170_a_key_that_may_only_read_makes_no_token(client: httpx.AsyncClient) -> None:
    await quickstart.customer(client)
    viewer = (await made(client, "/v1/api-keys", {"name": "viewer", "role": "VIEWER"}))["key"]
    for path in ("/portal/auth/cust_acme", "/v1/customers/cust_acme/portal_url"):
        answer = await client.get(path, headers={"Authorization": f"Bearer {viewer}"})
        assert (answer.status_code, answer.json()["code"]) == (403, "role_forbidden")
        assert (await client.get(path.replace("cust_acme", "nobody"))).status_code == 404


async def test_b171_what_the_portal_reads(client: httpx.AsyncClient) -> None:
    subscribed = await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    await client.put("/v1/organizations/current", json={"name": "Durable Ltd", "portal_accent_color": "#336699"})
    token = (await client.get("/portal/auth/cust_acme")).json()["token"]
    profile = await _read(client, token, "/portal/customer")
    assert (profile["external_id"], profile["email"]) == ("cust_acme", "billing@acme.io")
    assert "payment_provider_customer_id" not in profile
    branding = await _read(client, token, "/portal/branding")
    assert (branding["name"], branding["accent_color"]) == ("Durable Ltd", "#336699")
    (listed,) = await _read(client, token, "/portal/invoices")
    assert listed == await _read(client, token, f"/portal/invoices/{invoice['id']}")
    assert [line["amount"] for line in listed["line_items"]] == [10000, 4900]
    assert "payment_intent_id" not in listed
    (subscription,) = await _read(client, token, "/portal/subscriptions")
    assert subscription["plan"]["amount_cents"] == 4900
    assert subscription == await _read(client, token, f"/portal/subscriptions/{subscribed['id']}")
    usage = await _read(client, token, "/portal/current_usage", subscription_id=subscribed["uuid"])
    assert usage == await _read(client, token, "/v1/portal/current_usage")
    (plan,) = await _read(client, token, "/portal/plans")
    assert (plan["code"], plan["amount_cents"]) == ("plan_growth", 4900)
    bearer = await client.get("/portal/customer", headers={"Authorization": f"Bearer {token}"})
    assert bearer.json() == profile


async def test_b171_the_summary_adds_up(client: httpx.AsyncClient) -> None:
    subscribed = await quickstart.acme(client)
    now = (await client.get(f"/v1/subscriptions/{subscribed['id']}/current_usage")).json()["from_datetime"]
    await quickstart.use(client, 200_000, "now", timestamp=now)
    await made(client, "/v1/features", {"code": "api_calls", "name": "API calls", "feature_type": "quantity"})
    limit = {"plan_id": "plan_growth", "feature_id": "api_calls", "value": "800000"}
    await made(client, "/v1/entitlements", limit)
    await quickstart.invoice(client)
    summary = await _read(client, await _token(client), "/portal/dashboard_summary")
    (due,) = summary["next_billing"]
    (coming,) = summary["upcoming_charges"]
    (progress,) = summary["usage_progress"]
    assert (due["subscription_id"], due["amount_cents"]) == (subscribed["id"], 4900)
    assert (coming["usage_amount_cents"], coming["total_estimated_cents"]) == (1000, 5900)
    assert (progress["current_usage"], progress["usage_percentage"]) == ("200000", 25)
    actions = summary["quick_actions"]
    assert (actions["outstanding_invoice_count"], actions["outstanding_amount_cents"]) == (1, 14900)
    assert actions["has_active_subscription"]
    assert (actions["has_wallet"], actions["wallet_balance_cents"]) == (False, 0)
    wallet = {"customer_id": "cust_acme", "currency": "USD", "initial_granted_credits": "12.5", "rate_amount": "3"}
    await made(client, "/v1/wallets", wallet)
    actions = (await _read(client, await _token(client), "/portal/dashboard_summary"))["quick_actions"]
    assert (actions["has_wallet"], actions["wallet_balance_cents"]) == (True, 37)


async def test_b171_a_customer_changes_its_own_profile(client: httpx.AsyncClient) -> None:
    customer = await quickstart.customer(client)
    token = await _token(client)
    body = {"email": "accounts@acme.io", "timezone": "Europe/Berlin", "payment_provider": "manual"}
    changed = await client.patch("/portal/profile", params={"token": token}, json=body, headers={"Authorization": ""})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["email"], changed.json()["timezone"]) == ("accounts@acme.io", "Europe/Berlin")
    assert (await client.get("/v1/customers/cust_acme")).json()["payment_provider"] == "stripe"
    log = (await client.get(f"/v1/audit_logs/customer/{customer['uuid']}")).json()
    assert (log[0]["actor_type"], log[0]["actor_id"]) == ("customer", customer["uuid"])
    for bad in ({"email": "nobody"}, {"timezone": "Mars/Base"}, {"name": ""}):
        answer = await client.patch("/portal/profile", params={"token": token}, json=bad)
        assert answer.status_code == 422


async def test_b172_the_portal_url_opens_the_customers_own_page(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    invoice = await quickstart.invoice(client)
    await _other_customer(client)
    await client.put(
        "/v1/organizations/current",
        json={"portal_accent_color": "#336699", "portal_welcome_message": "<b>Hello</b>"},
    )
    url = (await client.get("/v1/customers/cust_acme/portal_url")).json()["portal_url"]
    assert urlsplit(url).path == "/portal"
    token = parse_qs(urlsplit(url).query)["token"][0]
    assert len(token.split(".")) == 3
    async with httpx.AsyncClient() as browser:
        shown = await browser.get(url)
    assert shown.status_code == 200
    assert "frame-ancestors 'none'" in shown.headers["content-security-policy"]
    text = html.unescape(re.sub(r"<[^>]+>", " ", shown.text))
    for part in ("Acme Corp", "Growth", invoice["invoice_number"], "149.00 USD", "1,200,000", "Growth base fee"):
        assert part in text, part
    assert "Other Ltd" not in text
    assert "<b>Hello" not in shown.text
    refused = await client.get("/portal", params={"token": token + "x"})
    assert refused.status_code == 401
    assert 'role="alert"' in refused.text
