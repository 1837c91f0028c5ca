"""Something to subscribe to, made through the public API."""

from datetime import UTC, datetime
from typing import Any

import httpx

TIERS = [
    {"up_to": 100000, "unit_price": 0},
    {"up_to": 1000000, "unit_price": "0.0001"},
    {"up_to": None, "unit_price": "0.00005"},
]


async def sent(client: httpx.AsyncClient, method: str, path: str, status: int, **options: Any) -> Any:
    """Send a request, insist on the status, and give the JSON of the answer."""
    answer = await client.request(method, path, **options)
    assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


async def post(client: httpx.AsyncClient, path: str, body: Any, status: int = 201) -> Any:
    """Post a body."""
    return await sent(client, "POST", path, status, json=body)


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    """Read something."""
    return await sent(client, "GET", path, 200, params=query)


def growth_plan(code: str = "plan_growth", fee: str = "49.00") -> dict[str, Any]:
    """Describe seed 001's plan."""
    return {
        "id": code,
        "name": "Growth",
        "currency": "usd",
        "billing_period": "monthly",
        "charges": [
            {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": TIERS},
            {"metric_key": None, "pricing_model": "flat_fee", "amount": fee, "description": "Growth base fee"},
        ],
    }


async def stocked(client: httpx.AsyncClient, *, customer: str = "cust_acme", **more: Any) -> None:
    """Make the metric, seed 001's plan and a customer."""
    await post(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
    await post(client, "/v1/price-plans", growth_plan())
    await post(client, "/v1/customers", {"id": customer, "name": "Acme Corp", **more})


async def subscribed(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """Subscribe cust_acme to plan_growth from the start of this month, unless told otherwise."""
    base = {"customer_id": "cust_acme", "plan_id": "plan_growth"}
    if not {"start_date", "starts_at", "external_id"} & body.keys():
        base["start_date"] = month_start().isoformat()
    document: dict[str, Any] = await post(client, "/v1/subscriptions", {**base, **body})
    return document


def month_start() -> datetime:
    """Return the first instant of the present month, in UTC."""
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
