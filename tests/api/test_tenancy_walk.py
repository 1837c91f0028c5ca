"""Every route of the OpenAPI document that takes an id, asked with the ids of another organization (B7)."""

import re
from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.stack

_NO_IDS = ("resource_type", "version")


async def _all_of_a(a: httpx.AsyncClient) -> dict[str, list[str]]:
    """Make one of everything for A; returns the ids by the names of the parameters that take them."""
    subscription = await quickstart.acme(a)
    invoice = await quickstart.invoice(a)
    draft = await quickstart.made(a, "/v1/invoices/one_off", _one_off("cust_acme"))
    clock = await quickstart.made(a, "/v1/test_clocks", {"frozen_time": "2026-01-01T00:00:00Z"})
    region = {"key": "region", "values": ["eu", "us"]}
    metric = await quickstart.made(a, "/v1/metrics", {"key": "a_metric", "name": "Of A"})
    filtered = await quickstart.made(a, "/v1/metrics/a_metric/filters", region)
    endpoint = await quickstart.made(a, "/v1/webhook_endpoints", {"url": "http://127.0.0.1:9/hooks"})
    product = await quickstart.made(a, "/v1/products", {"name": "Of A", "code": "a-product"})
    key = await quickstart.made(a, "/v1/api-keys", {"name": "of A"})
    project = await quickstart.made(a, "/v1/projects", {"id": "a-project", "name": "Of A"})
    watched = {"subscription_id": subscription["id"], "billable_metric_id": "api_calls", "threshold_value": 10**9}
    alert = await quickstart.made(a, "/v1/usage_alerts", watched)
    threshold = await quickstart.made(a, "/v1/plans/plan_growth/usage_thresholds", {"amount_cents": 10**9})
    (event,) = (await a.get("/v1/events")).json()
    customer = (await a.get("/v1/customers/cust_acme")).json()
    plan = (await a.get("/v1/plans/plan_growth")).json()
    fee = (await a.get("/v1/fees")).json()[0]
    organization = (await a.get("/v1/organizations/current")).json()
    names = {
        "subscription_id": [subscription["id"], subscription["uuid"], subscription["ingest_key"]],
        "customer_id": ["cust_acme", customer["uuid"]],
        "plan_id": ["plan_growth", plan["uuid"]],
        "metric_id": ["a_metric", metric["id"], metric["uuid"]],
        "filter_id": [filtered["id"]],
        "invoice_id": [invoice["id"], draft["id"]],
        "fee_id": [fee["id"]],
        "event_id": [event["id"], "first"],
        "clock_id": [clock["id"]],
        "alert_id": [alert["id"]],
        "threshold_id": [threshold["id"]],
        "endpoint_id": [endpoint["id"]],
        "product_id": [product["id"], "a-product"],
        "api_key_id": [key["id"]],
        "organization_id": [organization["id"]],
        "project_id": [project["uuid"], "a-project"],
    }
    names |= await _newer_of_a(a, str(subscription["id"]), str(draft["id"]))
    names["external_id"] = [*names["customer_id"], *names["subscription_id"]]
    names["id"] = [*names["api_key_id"], *names["project_id"]]
    names["resource_id"] = [each for values in list(names.values()) for each in values]
    return names


async def _newer_of_a(a: httpx.AsyncClient, subscription: str, invoice: str) -> dict[str, list[str]]:
    """Make what only newer routes take: coupons, add-ons, features, wallets, payments, integrations, limits, alerts."""
    of = {"customer_id": "cust_acme"}
    coupon = {"code": "A10", "coupon_type": "percentage", "frequency": "forever", "name": "A", "percentage_rate": "10"}
    await quickstart.made(a, "/v1/coupons", coupon)
    applied = await quickstart.made(a, "/v1/coupons/apply", {**of, "coupon_code": "A10"})
    await quickstart.made(a, "/v1/add_ons", {"code": "a-setup", "name": "Of A", "amount_cents": "2500"})
    await quickstart.made(a, "/v1/billing_entities", {"code": "a-entity", "name": "Of A"})
    await quickstart.made(a, "/v1/features", {"code": "a-seats", "name": "Of A", "feature_type": "quantity"})
    grant = {"feature_id": "a-seats", "plan_id": "plan_growth", "value": "10"}
    entitlement = await quickstart.made(a, "/v1/entitlements", grant)
    wallet = await quickstart.made(a, "/v1/wallets", {**of, "name": "Of A", "initial_granted_credits": "5"})
    await quickstart.made(a, f"/v1/invoices/{invoice}/finalize", {})

    async def payments() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await a.get("/v1/payments", params={"invoice_id": invoice})).json()
        return found

    (payment,) = await eventually(payments, until=lambda found: [each["status"] for each in found] == ["succeeded"])
    saved = {**of, "provider": "stripe", "provider_payment_method_id": "pm_of_a", "type": "card"}
    method = await quickstart.made(a, "/v1/payment_methods", saved)
    settings = {"integration_type": "accounting", "provider_type": "xero", "settings": {"api_key": "of A"}}
    integration = await quickstart.made(a, "/v1/integrations", settings)
    alert = {"subscription_id": subscription, "billable_metric_id": "api_calls", "name": "A", "threshold_value": 9}
    warned = await quickstart.made(a, "/v1/usage_alerts", alert)
    capped = {"metric_key": "api_calls", "cap": 2_000_000}
    limit = await quickstart.made(a, f"/v1/subscriptions/{subscription}/limits", capped)
    asked = {"metric": "api_calls", "quantity": 1, "ttl_seconds": 3600}
    reservation = await quickstart.made(a, f"/v1/subscriptions/{subscription}/reservations", asked)
    return {
        "code": ["A10", "a-setup", "a-entity", "a-seats"],
        "applied_coupon_id": [applied["id"]],
        "entitlement_id": [entitlement["id"]],
        "wallet_id": [wallet["id"]],
        "payment_id": [payment["id"]],
        "payment_method_id": [method["id"]],
        "integration_id": [integration["id"]],
        "alert_id": [warned["id"]],
        "plan_code": ["plan_growth"],
        "limit_id": [limit["id"]],
        "reservation_id": [reservation["id"]],
    }


def _one_off(customer: str) -> dict[str, Any]:
    line = {"description": "x", "quantity": "1", "unit_price": "100", "amount": "100"}
    return {"customer_id": customer, "currency": "USD", "line_items": [line]}


async def _picture(a: httpx.AsyncClient) -> dict[str, Any]:
    """Everything that A can see; what B does must not change it."""
    subscription = (await a.get("/v1/subscriptions")).json()[0]["id"]
    paths = (
        "subscriptions",
        "invoices",
        "customers",
        "plans",
        "metrics",
        "events",
        "test_clocks",
        "usage_alerts",
        "plans/plan_growth/usage_thresholds",
        "webhook_endpoints",
        "products",
        "projects",
        "audit_logs",
        "fees",
        "metrics/a_metric/filters",
        "api-keys",
        "coupons",
        "add_ons",
        "billing_entities",
        "features",
        "entitlements",
        "wallets",
        "payments",
        "payment_methods",
        "integrations",
        "usage_alerts",
        f"subscriptions/{subscription}/limits",
        f"subscriptions/{subscription}/reservations",
    )
    seen = {path: (await a.get(f"/v1/{path}", params={"limit": 1000})).json() for path in paths}
    for key in seen["api-keys"]:
        key.pop("last_used_at")
    return seen


def _example(document: dict[str, Any], operation: dict[str, Any]) -> Any:
    """Return an example of the operation's body, or an empty object."""
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    found = _first_example(document, schema)
    return {} if found is None else found


def _first_example(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "examples" in schema:
        return schema["examples"][0]
    if "example" in schema:
        return schema["example"]
    parts = [part for name in ("anyOf", "oneOf", "allOf") for part in schema.get(name, [])]
    return next((found for part in parts if (found := _first_example(document, part)) is not None), None)


async def test_b7_no_path_of_any_method_leads_to_another_organization(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        ids = await _all_of_a(a)
        before = await _picture(a)
        document = (await b.get("/openapi.json")).json()
        asked = 0
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                names = re.findall(r"{(\w+)}", path)
                if method == "parameters" or not names:
                    continue
                for url in _addresses(path, names, ids):
                    body = _example(document, operation) if method in ("post", "put", "patch") else None
                    answer = await b.request(method, url, json=body)
                    asked += 1
                    made_here = all(name in ids or name in _NO_IDS for name in names)
                    _refused(answer, f"{method} {url} {body}", made_here)
        assert asked > 150
        assert await _picture(a) == before


def _addresses(path: str, names: list[str], ids: dict[str, list[str]]) -> list[str]:
    known = {"resource_type": ["customer", "subscription", "invoice"], "version": ["1"]}
    urls = [path]
    for name in names:
        # An operation whose ids this test does not make is asked with all ids that it has.
        values = known.get(name) or ids.get(name) or ids["resource_id"]
        urls = [url.replace(f"{{{name}}}", value) for url in urls for value in values]
    return urls


def _refused(answer: httpx.Response, what: str, made_here: bool) -> None:
    if " /portal/" in what:
        assert answer.status_code in (401, 404), what
    elif "/audit_logs/" in what:
        assert answer.status_code in (404, 422) or (answer.status_code, answer.json()) == (200, []), what
    elif what.startswith("delete /v1/organizations/") and "/current/" not in what:
        assert answer.status_code == 403, what
    else:
        expected = (404,) if made_here else (401, 403, 404, 422)
        assert answer.status_code in expected, f"{what}: {answer.status_code} {answer.text}"


QUERIES = {
    "customer_id": ("invoices", "subscriptions", "events", "fees"),
    "external_customer_id": ("events", "subscriptions"),
    "subscription_id": ("invoices", "events", "activity", "fees"),
    "plan_id": ("subscriptions",),
    "product_id": ("plans",),
    "invoice_id": ("fees",),
    "endpoint_id": ("webhook_endpoints/hooks/list",),
    "resource_id": ("audit_logs",),
}


async def test_b7_no_query_leads_to_another_organization(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        ids = await _all_of_a(a)
        ids["external_customer_id"] = ids["customer_id"]
        for name, paths in QUERIES.items():
            for path in paths:
                for value in ids[name]:
                    answer = await b.get(f"/v1/{path}", params={name: value})
                    assert answer.status_code in (200, 404, 422), answer.text
                    assert answer.status_code != 200 or answer.json() == [], f"{path}?{name}={value}: {answer.text}"


async def test_b7_no_body_leads_to_another_organization(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        ids = await _all_of_a(a)
        await quickstart.made(b, "/v1/metrics", {"key": "own", "name": "Own"})
        await quickstart.made(b, "/v1/plans", {"id": "own", "name": "Own", "billing_period": "monthly"})
        await quickstart.made(b, "/v1/customers", {"id": "own", "name": "Own"})
        before = await _picture(a)
        for path, body in _bodies(ids):
            answer = await b.post(path, json=body)
            assert answer.status_code in (404, 422), f"{path} {body}: {answer.status_code} {answer.text}"
        for path, name in (
            ("subscriptions/bulk_pause", "subscription_ids"),
            ("subscriptions/bulk_resume", "subscription_ids"),
            ("subscriptions/bulk_terminate", "subscription_ids"),
            ("invoices/bulk_finalize", "invoice_ids"),
            ("invoices/bulk_void", "invoice_ids"),
        ):
            answer = await b.post(f"/v1/{path}", json={name: ids[name.removesuffix("s")]})
            done = [value for name, value in answer.json().items() if name.endswith("_count") and "failed" not in name]
            assert answer.status_code in (200, 404), answer.text
            assert answer.status_code == 404 or set(done) == {0}, answer.text
        for path in ("/v1/subscriptions", "/v1/projects"):
            name = "subscription_id" if path.endswith("subscriptions") else "project_id"
            for value in ids[name]:
                answer = await b.patch(path, json={"id": value, "status": "paused", "project_id": value})
                assert answer.status_code in (404, 422), answer.text
        for value in ids["api_key_id"]:
            assert (await b.delete("/v1/api-keys", params={"id": value})).status_code == 404
        assert await _picture(a) == before


def _bodies(ids: dict[str, list[str]]) -> list[tuple[str, dict[str, Any]]]:
    bodies: list[tuple[str, dict[str, Any]]] = []
    for customer in ids["customer_id"]:
        bodies += [
            ("/v1/subscriptions", {"customer_id": customer, "plan_id": "own"}),
            ("/v1/subscriptions", {"external_id": "new", "customer_id": customer, "plan_code": "own"}),
            ("/v1/invoices", {"customer_id": customer, "cutoff_date": "2026-04-30T23:59:59Z"}),
            ("/v1/invoices/preview", {"customer_id": customer, "cutoff_date": "2026-04-30T23:59:59Z"}),
            ("/v1/invoices/one_off", _one_off(customer)),
        ]
    for plan in ids["plan_id"]:
        bodies.append(("/v1/subscriptions", {"customer_id": "own", "plan_id": plan}))
        bodies.append(("/api/subscriptions", {"customerId": "own", "planId": plan}))
    for subscription in ids["subscription_id"]:
        bodies += [
            ("/v1/invoices", {"subscription_id": subscription, "cutoff_date": "2026-04-30T23:59:59Z"}),
            ("/v1/invoices/preview", {"subscription_id": subscription}),
            ("/v1/events/estimate_fees", {"subscription_id": subscription, "metric_key": "own", "value": 1}),
        ]
    for metric in ids["metric_id"]:
        charge = {"metric_key": metric, "pricing_model": "per_unit", "unit_price": "1"}
        bodies.append(("/v1/plans", {"id": "x", "name": "x", "billing_period": "monthly", "charges": [charge]}))
        bodies.append(("/api/plans/own/metrics", {"metric": metric, "includedUnits": 1, "overagePrice": 1}))
    for clock in ids["clock_id"]:
        bodies.append(("/v1/customers", {"id": "clocked", "name": "x", "test_clock_id": clock}))
    for product in ids["product_id"]:
        plan_of = {"id": "y", "name": "y", "billing_period": "monthly", "product_id": product}
        bodies.append(("/v1/plans", plan_of))
    for project in ids["project_id"]:
        bodies.append(("/v1/api-keys", {"name": "x", "project_ids": [project]}))
    for organization in ids["organization_id"]:
        bodies.append(("/api/subscriptions", {"organizationId": organization, "planId": "own"}))
    return bodies
