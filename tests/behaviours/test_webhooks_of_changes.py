"""Each change of a resource is told, in the shape that OpenAPI shows (B161, B167; conflicts C26)."""

from typing import Any

import httpx
import jsonschema_rs
import pytest

from adapters.postgres.journal.change_webhooks import TOLD
from tests.support import quickstart
from tests.support.receiver import Receiver, receiving
from tests.waiting import eventually

pytestmark = pytest.mark.stack

#: Told elsewhere on the way of every other test, or by what takes a workflow of its own.
_ELSEWHERE = {"event_reprocessing"}


async def _ok(client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    answer = await client.request(method, path, json=body)
    assert answer.is_success, f"{method} {path}: {answer.text}"
    return answer.json() if answer.content else None


async def _measures_and_grants(client: httpx.AsyncClient) -> None:
    await _ok(client, "POST", "/v1/metrics", {"key": "gone", "name": "Gone", "aggregation": "count"})
    await _ok(client, "PUT", "/v1/billable_metrics/gone", {"name": "Going"})
    await _ok(client, "POST", "/v1/billable_metrics/gone/filters", {"key": "region", "values": ["eu"]})
    await _ok(client, "DELETE", "/v1/billable_metrics/gone")
    await _ok(client, "POST", "/v1/products", {"code": "product", "name": "Product"})
    await _ok(client, "POST", "/v1/features", {"code": "seats", "name": "Seats", "feature_type": "quantity"})
    await _ok(client, "PUT", "/v1/features/seats", {"name": "Places"})
    granted = {"plan_id": "plan_growth", "feature_id": "seats", "value": "5"}
    entitlement = (await _ok(client, "POST", "/v1/entitlements", granted))["id"]
    await _ok(client, "PATCH", f"/v1/entitlements/{entitlement}", {"value": "6"})
    await _ok(client, "DELETE", f"/v1/entitlements/{entitlement}")
    await _ok(client, "DELETE", "/v1/features/seats")
    gone = {"id": "gone", "name": "Gone", "currency": "usd", "billing_period": "monthly", "charges": []}
    await _ok(client, "POST", "/v1/price-plans", gone)
    await _ok(client, "DELETE", "/v1/plans/gone")
    await _ok(client, "PATCH", "/v1/plans/plan_growth", {"name": "Growing"})


async def _customers_and_what_they_have(client: httpx.AsyncClient, subscription: str) -> None:
    await _ok(client, "POST", "/v1/customers", {"id": "gone", "name": "Gone", "email": "a@b.co"})
    await _ok(client, "PATCH", "/v1/customers/gone", {"name": "Going"})
    await _ok(client, "DELETE", "/v1/customers/gone")
    card = {"customer_id": "cust_acme", "provider": "sandbox", "type": "card"}
    await _ok(client, "POST", "/v1/payment_methods", {**card, "provider_payment_method_id": "pm_1"})
    other = (await _ok(client, "POST", "/v1/payment_methods", {**card, "provider_payment_method_id": "pm_2"}))["id"]
    third = (await _ok(client, "POST", "/v1/payment_methods", {**card, "provider_payment_method_id": "pm_3"}))["id"]
    await _ok(client, "POST", f"/v1/payment_methods/{other}/set_default")
    await _ok(client, "DELETE", f"/v1/payment_methods/{third}")
    wallet = {"customer_id": "cust_acme", "name": "W", "currency": "USD", "rate_amount": "1"}
    wallet_id = (await _ok(client, "POST", "/v1/wallets", wallet))["id"]
    await _ok(client, "PUT", f"/v1/wallets/{wallet_id}", {"name": "Purse"})
    await _ok(client, "DELETE", f"/v1/wallets/{wallet_id}")
    await _ok(client, "PATCH", f"/v1/subscriptions/{subscription}", {"metadata": {"a": "1"}})
    watched = {"subscription_id": subscription, "billable_metric_id": "api_calls", "threshold_value": 10**9}
    alert = (await _ok(client, "POST", "/v1/usage_alerts", watched))["id"]
    await _ok(client, "PATCH", f"/v1/usage_alerts/{alert}", {"name": "Many"})
    await _ok(client, "DELETE", f"/v1/usage_alerts/{alert}")
    threshold = (await _ok(client, "POST", "/v1/plans/plan_growth/usage_thresholds", {"amount_cents": 10**9}))["id"]
    await _ok(client, "DELETE", f"/v1/usage_thresholds/{threshold}")
    limits = f"/v1/subscriptions/{subscription}/limits"
    limit = (await _ok(client, "POST", limits, {"kind": "spend", "cap": 10**9}))["id"]
    await _ok(client, "PATCH", f"{limits}/{limit}", {"cap": 10**8})
    await _ok(client, "DELETE", f"{limits}/{limit}")


async def _extras(client: httpx.AsyncClient) -> None:
    coupon = {"code": "ten", "name": "Ten", "coupon_type": "percentage", "percentage_rate": "10", "frequency": "once"}
    await _ok(client, "POST", "/v1/coupons", coupon)
    await _ok(client, "PUT", "/v1/coupons/ten", {"name": "Tenth"})
    applied = await _ok(client, "POST", "/v1/coupons/apply", {"coupon_code": "ten", "customer_id": "cust_acme"})
    await _ok(client, "DELETE", f"/v1/coupons/applied/{applied['id']}")
    add_on = {"name": "Setup", "amount_cents": 100, "amount_currency": "USD"}
    for code in ("setup", "gone"):
        await _ok(client, "POST", "/v1/add_ons", {**add_on, "code": code})
    await _ok(client, "PUT", "/v1/add_ons/gone", {"name": "Going"})
    await _ok(client, "DELETE", "/v1/add_ons/gone")
    await _ok(client, "POST", "/v1/add_ons/apply", {"add_on_code": "setup", "customer_id": "cust_acme"})
    await _ok(client, "POST", "/v1/billing_entities", {"code": "gone", "name": "Gone"})
    await _ok(client, "PATCH", "/v1/billing_entities/gone", {"name": "Going"})
    await _ok(client, "DELETE", "/v1/billing_entities/gone")
    integration = {"integration_type": "accounting", "provider_type": "books", "name": "Books"}
    integration_id = (await _ok(client, "POST", "/v1/integrations", integration))["id"]
    await _ok(client, "PUT", f"/v1/integrations/{integration_id}", {"name": "Ledger"})
    await _ok(client, "DELETE", f"/v1/integrations/{integration_id}")
    clock = (await _ok(client, "POST", "/v1/test_clocks", {"frozen_time": "2026-01-01T00:00:00Z"}))["id"]
    await _ok(client, "POST", f"/v1/test_clocks/{clock}/advance", {"frozen_time": "2026-01-02T00:00:00Z"})
    await _ok(client, "DELETE", f"/v1/test_clocks/{clock}")


async def _corrections(client: httpx.AsyncClient) -> None:
    late = {"customer_id": "cust_acme", "metric_key": "api_calls", "value": 7, "timestamp": "2026-04-04T00:00:00Z"}
    ids = {}
    for key in ("amended", "voided"):
        await _ok(client, "POST", "/v1/events", {**late, "idempotency_key": key})
        ids[key] = (await _ok(client, "GET", f"/v1/events/{key}"))["id"]
    await _ok(client, "POST", f"/v1/events/{ids['amended']}/amend", {"value": 8})
    await _ok(client, "POST", f"/v1/events/{ids['voided']}/void", {})
    unknown = {**late, "metric_key": "later", "idempotency_key": "skipped"}
    await _ok(client, "POST", "/v1/events", unknown)
    await _ok(client, "POST", "/v1/metrics", {"key": "later", "name": "Later", "aggregation": "sum"})
    charge = {"metric_key": "later", "pricing_model": "per_unit", "unit_price": "1"}
    plan = {"id": "later", "name": "Later", "currency": "usd", "billing_period": "monthly", "charges": [charge]}
    await _ok(client, "POST", "/v1/price-plans", plan)
    await quickstart.subscription(client, plan_id="later")
    skipped = (await _ok(client, "GET", "/v1/events/skipped"))["id"]
    await _ok(client, "POST", f"/v1/events/{skipped}/reprocess", {})
    window = {"from_timestamp": "2026-04-10T00:00:00Z", "to_timestamp": "2026-04-11T00:00:00Z"}
    await _ok(client, "POST", "/v1/events/backfill", {**window, "metric_key": "api_calls", "reason": "x", "events": []})


async def _a_draft(client: httpx.AsyncClient) -> None:
    fee = {"description": "Work", "quantity": 1, "unit_price": "5"}
    draft = {"customer_id": "cust_acme", "currency": "USD", "draft": True, "line_items": [fee]}
    made = (await _ok(client, "POST", "/v1/invoices/one_off", draft))["id"]
    await _ok(client, "PUT", f"/v1/invoices/{made}", {"due_date": "2027-02-01"})
    await _ok(client, "DELETE", f"/v1/invoices/{made}")


async def _told(receiver: Receiver, wanted: set[str]) -> set[str]:
    async def missing() -> set[str]:
        return wanted - set(receiver.types())

    return await eventually(missing, until=lambda left: not left)


async def test_b161_b167_each_change_is_told_in_the_shape_of_the_catalogue(client: httpx.AsyncClient) -> None:
    webhooks = (await client.get("/openapi.json")).json()["webhooks"]
    wanted = {f"{kind}.{told}" for kind, actions in TOLD.items() for told in actions.values()}
    wanted = {name for name in wanted if name.partition(".")[0] not in _ELSEWHERE}
    async with receiving() as receiver:
        await quickstart.made(client, "/v1/webhook_endpoints", {"url": receiver.url})
        subscription = (await quickstart.acme(client, calls=100))["id"]
        await _measures_and_grants(client)
        await _customers_and_what_they_have(client, subscription)
        await _extras(client)
        await _corrections(client)
        await _a_draft(client)
        await _told(receiver, wanted | {"invoice.created", "invoice.updated", "invoice.deleted"})
    for one in receiver.received:
        document = one.document
        content = webhooks[document["type"]]["post"]["requestBody"]["content"]["application/json"]
        jsonschema_rs.validate(content["schema"], document)
        assert set(document["data"]) <= set(content["schema"]["properties"]["data"]["properties"]), document
