"""Subscriptions whose usage is watched, made through the public API: five cents a call, ten dollars a month."""

import uuid
from typing import Any

import httpx

from tests.subscriptions.catalogue import get, post
from tests.waiting import eventually

MARCH = "2026-03-01T00:00:00Z"
APRIL = "2026-04-01T00:00:00Z"
PLAN: dict[str, Any] = {
    "id": "pro_monthly",
    "name": "Pro Monthly",
    "currency": "USD",
    "billing_period": "monthly",
    "charges": [
        {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": "0.05"},
        {"metric_key": None, "pricing_model": "flat_fee", "amount": "10.00", "description": "Base fee"},
    ],
}


async def shop(client: httpx.AsyncClient, *, at: str | None = MARCH, **customer: Any) -> dict[str, Any]:
    """Make a metric, a plan, a customer and a subscription, in a test clock that stands at `at` unless that is None."""
    await post(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
    await post(client, "/v1/price-plans", PLAN)
    return await subscribe(client, "cust_acme", at=at, **customer)


async def subscribe(
    client: httpx.AsyncClient, code: str, *, at: str | None = MARCH, plan_id: str = "pro_monthly", **customer: Any
) -> dict[str, Any]:
    """Make a customer with a subscription of its own; returns the subscription with its `clock`."""
    clock = None if at is None else (await post(client, "/v1/test_clocks", {"frozen_time": at}))["id"]
    lives_in = {} if clock is None else {"test_clock_id": clock}
    await post(client, "/v1/customers", {"id": code, "name": code, **lives_in, **customer})
    body = {"customer_id": code, "plan_id": plan_id, **({} if at is None else {"start_date": at})}
    return {**await post(client, "/v1/subscriptions", body), "clock": clock}


async def use(client: httpx.AsyncClient, value: Any, *, customer: str = "cust_acme", **more: Any) -> None:
    """Send one event."""
    event = {"customer_id": customer, "metric_key": "api_calls", "value": value, "idempotency_key": uuid.uuid4().hex}
    await post(client, "/v1/events", {**event, **more}, 202)


async def watch(client: httpx.AsyncClient, subscription: dict[str, Any], threshold: Any, **more: Any) -> dict[str, Any]:
    """Make an alert on the subscription's calls."""
    base = {"subscription_id": subscription["id"], "billable_metric_id": "api_calls", "threshold_value": threshold}
    document: dict[str, Any] = await post(client, "/v1/usage_alerts/", {**base, **more})
    return document


async def triggers(client: httpx.AsyncClient, alert: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Wait until an alert has so many triggers, and give them, the oldest first."""

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await get(client, f"/v1/usage_alerts/{alert['id']}/triggers")
        return found[::-1]

    return await eventually(read, until=lambda found: len(found) >= count)


async def invoices(client: httpx.AsyncClient, subscription: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Wait until a subscription has so many invoices, and give them, the oldest first."""

    async def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await get(client, "/v1/invoices", subscription_id=subscription["id"])
        return found[::-1]

    return await eventually(read, until=lambda found: len(found) >= count)


async def advance(client: httpx.AsyncClient, subscription: dict[str, Any], to: str) -> None:
    """Move a subscription's clock, and wait until everything due has happened."""
    body = {"frozen_time": to, "wait": 60}
    arrived = await post(client, f"/v1/test_clocks/{subscription['clock']}/advance", body, 200)
    assert arrived["status"] == "ready", arrived
