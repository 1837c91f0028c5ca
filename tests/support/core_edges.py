"""What the tests of the core's edges share: a small catalogue over HTTP, bodies sent as text, the test project."""

from typing import Any

import httpx

from tests.subscriptions.catalogue import get, post

APRIL, MAY = "2025-04-01T00:00:00Z", "2025-05-01T00:00:00Z"
UNIT: dict[str, Any] = {"metric_key": "u", "pricing_model": "per_unit", "unit_price": "1.00"}


def fee(amount: str) -> dict[str, Any]:
    """Describe a flat fee."""
    return {"metric_key": None, "pricing_model": "flat_fee", "amount": amount, "description": "Fee"}


async def shop(client: httpx.AsyncClient, *charges: dict[str, Any], customer: str = "c", **more: Any) -> None:
    """Make the sum metric `u`, a monthly plan `p` in USD with these charges (UNIT unless told), and a customer."""
    await post(client, "/v1/metrics", {"key": "u", "name": "u", "aggregation": "sum"})
    await plan(client, *(charges or (UNIT,)))
    await post(client, "/v1/customers", {"id": customer, "name": customer, **more})


async def plan(client: httpx.AsyncClient, *charges: dict[str, Any], code: str = "p", currency: str = "usd") -> None:
    """Make a monthly plan."""
    body = {"id": code, "name": code, "currency": currency, "billing_period": "monthly", "charges": list(charges)}
    await post(client, "/v1/plans", body)


async def subscribe(client: httpx.AsyncClient, *, customer: str = "c", **more: Any) -> dict[str, Any]:
    """Subscribe to plan `p` from 1 April 2025, unless told otherwise."""
    body = {"customer_id": customer, "plan_id": "p", "start_date": APRIL, **more}
    document: dict[str, Any] = await post(client, "/v1/subscriptions", {k: v for k, v in body.items() if v is not None})
    return document


async def in_test_project(client: httpx.AsyncClient) -> None:
    """Let the client work in the test project of its organization from now on."""
    made = await post(client, "/v1/api-keys", {"name": "test", "environment": "test"})
    client.headers["authorization"] = f"Bearer {made['key']}"


async def clock_at(client: httpx.AsyncClient, at: str = APRIL) -> str:
    """Make a test clock; gives its id."""
    return str((await post(client, "/v1/test_clocks", {"frozen_time": at}))["id"])


async def advance(client: httpx.AsyncClient, clock: str, to: str) -> dict[str, Any]:
    """Move a clock and wait until everything due has happened; gives the clock."""
    document: dict[str, Any] = await post(
        client, f"/v1/test_clocks/{clock}/advance", {"frozen_time": to, "wait": 50}, 200
    )
    return document


async def raw(client: httpx.AsyncClient, path: str, text: str, kind: str = "application/json") -> httpx.Response:
    """POST a body exactly as it is written."""
    return await client.post(path, content=text, headers={"content-type": kind})


async def use(client: httpx.AsyncClient, value: Any, at: str | None = None, **more: Any) -> dict[str, Any]:
    """Send one event of the metric `u`."""
    event = {"customer_id": "c", "metric_key": "u", "value": value, **({"timestamp": at} if at else {}), **more}
    document: dict[str, Any] = await post(client, "/v1/events", event, 202)
    return document


async def invoices(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """Give the invoices, the oldest first."""
    found: list[dict[str, Any]] = await get(client, "/v1/invoices", **query)
    return found[::-1]
