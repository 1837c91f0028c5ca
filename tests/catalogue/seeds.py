"""Requests of the source documents, as they print them."""

from typing import Any

import httpx

PLAN_GROWTH = """{
"id": "plan_growth",
"name": "Growth",
"currency": "usd",
"billing_period": "monthly",
"charges": [
{
"metric_key": "api_calls",
"pricing_model": "tiered",
"tiers": [
{ "up_to": 100000, "unit_price": 0 },
{ "up_to": 1000000, "unit_price": 0.0001 },
{ "up_to": null, "unit_price": 0.00005 }
]
},
{
"metric_key": null,
"pricing_model": "flat_fee",
"amount": 49.00,
"description": "Growth base fee"
}
]
}"""
API_CALLS = {
    "key": "api_calls",
    "name": "API Calls",
    "aggregation": "sum",
    "description": "Total API calls made during the billing period",
}


async def made(api: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    """Create something and give the answer."""
    answer = await api.post(path, json=body)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def refused(
    api: httpx.AsyncClient, path: str, body: Any, status: int, code: str | None = None, *, method: str = "POST"
) -> dict[str, Any]:
    """Send what must be refused and give the problem."""
    answer = await api.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert code is None or problem["code"] == code, problem
    return problem


def fields_of(problem: dict[str, Any]) -> list[str]:
    """Return the fields that a problem names."""
    return [error["field"] for error in problem["errors"]]


async def plan_growth(api: httpx.AsyncClient) -> dict[str, Any]:
    """Create seed 001's metric and plan; the plan's numbers go over the wire as the document prints them."""
    await made(api, "/v1/metrics", API_CALLS)
    headers = {"content-type": "application/json"}
    answer = await api.post("/v1/price-plans", content=PLAN_GROWTH, headers=headers)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document
