"""The ABAXUS quickstart over HTTP (seed 001): metric, plan, customer, subscription, usage."""

from typing import Any

import httpx

PLAN: dict[str, Any] = {
    "id": "plan_growth",
    "name": "Growth",
    "currency": "usd",
    "billing_period": "monthly",
    "charges": [
        {
            "metric_key": "api_calls",
            "pricing_model": "tiered",
            "tiers": [
                {"up_to": 100000, "unit_price": 0},
                {"up_to": 1000000, "unit_price": "0.0001"},
                {"up_to": None, "unit_price": "0.00005"},
            ],
        },
        {"metric_key": None, "pricing_model": "flat_fee", "amount": "49.00", "description": "Growth base fee"},
    ],
}
APRIL = {"customer_id": "cust_acme", "cutoff_date": "2026-04-30T23:59:59Z"}


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST and expect success; returns the answer."""
    answer = await client.post(path, json=body)
    assert answer.status_code in (200, 201, 202), answer.text
    document: dict[str, Any] = answer.json()
    return document


async def catalogue(client: httpx.AsyncClient, **plan: Any) -> None:
    """Make the metric and the plan."""
    metric = {"key": "api_calls", "name": "API Calls", "aggregation": "sum"}
    await made(client, "/v1/metrics", metric)
    await made(client, "/v1/price-plans", {**PLAN, **plan})


async def customer(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """Make the customer; their saved method is at Stripe, which the sandbox stands in for."""
    body = {
        "id": "cust_acme",
        "name": "Acme Corp",
        "email": "billing@acme.io",
        "payment_provider": "stripe",
        "payment_provider_customer_id": "cus_stripe_acme123",
    }
    return await made(client, "/v1/customers", {**body, **more})


async def subscription(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """Subscribe the customer from 1 April 2026."""
    body = {"customer_id": "cust_acme", "plan_id": "plan_growth", "start_date": "2026-04-01T00:00:00Z"}
    return await made(client, "/v1/subscriptions", {**body, **more})


async def use(client: httpx.AsyncClient, value: int, key: str, timestamp: str = "2026-04-03T09:30:00Z") -> None:
    """Send one event."""
    body = {
        "customer_id": "cust_acme",
        "metric_key": "api_calls",
        "value": value,
        "timestamp": timestamp,
        "idempotency_key": key,
    }
    await made(client, "/v1/events", body)


async def acme(client: httpx.AsyncClient, *, calls: int = 1_200_000, **more: Any) -> dict[str, Any]:
    """Do steps 1 to 5; returns the subscription."""
    await catalogue(client)
    await customer(client, **more)
    subscribed = await subscription(client)
    if calls:
        await use(client, calls, "first")
    return subscribed


async def invoice(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    """Do step 6: bill April."""
    return await made(client, "/v1/invoices", {**APRIL, **more})
