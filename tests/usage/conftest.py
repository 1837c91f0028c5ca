"""The application in this process, with a small catalogue to send usage to."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.api.conftest import Service, bearer, extra_router, service

__all__ = ["extra_router", "service"]

START = "2026-01-01T00:00:00Z"


@dataclass
class Shop:
    """One organization's key, and what it sells: metric `api_calls` at 0.01 in `plan_a`, a customer `acme`."""

    http: httpx.AsyncClient

    async def made(self, path: str, **body: Any) -> dict[str, Any]:
        """Create something; it must work."""
        answer = await self.http.post(path, json=body)
        assert answer.status_code == 201, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def metric(self, key: str = "api_calls", **more: Any) -> dict[str, Any]:
        return await self.made("/v1/metrics", **{"key": key, "name": key, "aggregation": "sum", **more})

    async def plan(self, plan_id: str = "plan_a", metric: str = "api_calls") -> dict[str, Any]:
        tiers = [{"up_to": None, "unit_price": 0.01}]
        charges = [{"metric_key": metric, "pricing_model": "tiered", "tiers": tiers}]
        return await self.made(
            "/v1/plans", id=plan_id, name=plan_id, currency="usd", billing_period="monthly", charges=charges
        )

    async def customer(self, code: str = "acme", **more: Any) -> dict[str, Any]:
        return await self.made("/v1/customers", id=code, name=code, **more)

    async def subscription(self, customer: str = "acme", plan: str = "plan_a", **more: Any) -> str:
        body = {"customer_id": customer, "plan_id": plan, "start_date": START, **more}
        return str((await self.made("/v1/subscriptions", **body))["id"])

    async def ready(self) -> str:
        """Make all of it; returns the subscription's id."""
        await self.metric()
        await self.plan()
        await self.customer()
        return await self.subscription()

    async def send(self, *, status: int = 202, **body: Any) -> dict[str, Any]:
        """Send one event of the metric `api_calls` for `acme`; with `value=None` it has no value."""
        event = {"customer_id": "acme", "metric_key": "api_calls", "value": 1, **body}
        if event["value"] is None:
            del event["value"]
        answer = await self.http.post("/v1/events", json=event)
        assert answer.status_code == status, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def units(self, subscription: str) -> Any:
        """Return the quantity of the only metered charge in the current period."""
        answer = await self.http.get(f"/v1/subscriptions/{subscription}/current_usage")
        assert answer.status_code == 200, answer.text
        return answer.json()["charges"][0]["units"]

    async def status_of(self, event: str) -> tuple[str, str | None]:
        """Return an event's status and the reason why it does not count."""
        answer = await self.http.get(f"/v1/events/{event}")
        assert answer.status_code == 200, answer.text
        return answer.json()["status"], answer.json()["skip_reason"]


@pytest.fixture
async def shop(service: Service) -> AsyncIterator[Shop]:
    """A fresh organization's shop, still empty."""
    key = await service.key()
    transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30, headers=bearer(key)) as http:
        yield Shop(http)
