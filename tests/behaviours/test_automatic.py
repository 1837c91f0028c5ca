"""B73, B100, B181: rating as events arrive, invoices at the period's end, workflows that one can see."""

from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.support import quickstart
from tests.support.stack import Stack
from tests.waiting import eventually

pytestmark = pytest.mark.stack

MARCH = "2026-03-01T00:00:00Z"
APRIL = "2026-04-01T00:00:00Z"


async def _on_a_clock(client: httpx.AsyncClient) -> tuple[str, str]:
    """Subscribe Acme to base 100, 10,000 calls included, 0.01 for each more; gives clock and subscription."""
    await quickstart.made(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls", "unit": "calls"})
    tiers = [{"up_to": 10000, "unit_price": 0}, {"up_to": None, "unit_price": "0.01"}]
    charges = [
        {"metric_key": None, "pricing_model": "flat_fee", "amount": 100, "description": "Base price"},
        {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": tiers},
    ]
    await quickstart.made(client, "/v1/price-plans", {**quickstart.PLAN, "charges": charges})
    clock = str((await quickstart.made(client, "/v1/test_clocks", {"frozen_time": MARCH}))["id"])
    await quickstart.customer(client, test_clock_id=clock)
    return clock, str((await quickstart.subscription(client, start_date=MARCH))["id"])


async def test_b73_b100_events_are_rated_at_once_and_billed_without_a_request(client: httpx.AsyncClient) -> None:
    clock, subscription = await _on_a_clock(client)

    async def rated() -> Any:
        answer = await client.get(f"/v1/subscriptions/{subscription}/current_usage")
        return answer.json()["current_usage_amount_cents"]

    assert await rated() == "0"
    await quickstart.use(client, 12000, "all", MARCH)
    await eventually(rated, until=lambda cents: cents == "2000", seconds=10)
    assert (await client.get("/v1/invoices")).json() == []
    body = {"frozen_time": APRIL, "wait": 60}
    assert (await client.post(f"/v1/test_clocks/{clock}/advance", json=body)).json()["status"] == "ready"
    (invoice,) = (await client.get("/v1/invoices")).json()
    assert (invoice["total_amount"], invoice["period_start"]) == (12000, MARCH)
    assert sorted(line["amount"] for line in invoice["line_items"]) == [2000, 10000]


async def test_b181_a_subscription_is_a_workflow_that_one_can_find(stack: Stack, client: httpx.AsyncClient) -> None:
    made = await quickstart.acme(client, calls=0)
    project = next(one["uuid"] for one in (await client.get("/v1/projects")).json() if one["active"])
    temporal = await Client.connect(stack.temporal_address)
    query = f"WorkflowType = 'SubscriptionWorkflow' AND DurabillProject = '{project}' AND ExecutionStatus = 'Running'"

    async def found() -> list[str]:
        return [each.id async for each in temporal.list_workflows(query)]

    assert await eventually(found) == [f"subscription/{project}/{made['uuid']}"]
