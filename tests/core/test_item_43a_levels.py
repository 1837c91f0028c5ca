"""Item 43a: a level of a part of a period is weighed against the full period, unless its metric says `full`."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import post
from tests.support.core_edges import MAY, advance, clock_at, in_test_project, invoices, plan, subscribe

pytestmark = pytest.mark.stack

PRICE = {"pricing_model": "per_unit", "unit_price": "1.00"}


async def levels(client: httpx.AsyncClient, **more: Any) -> None:
    """Make the metric `m` of levels, the plan `p` that prices it at 1.00, and work in the test project."""
    await in_test_project(client)
    metric = {"key": "m", "name": "m", "aggregation": "weighted_sum", "field_name": "v", **more}
    made = await post(client, "/v1/metrics", metric)
    assert made["partial_period"] == more.get("partial_period", "prorate")
    await plan(client, {"metric_key": "m", **PRICE})


async def send(client: httpx.AsyncClient, value: str, at: str, **of: Any) -> None:
    event = {**(of or {"customer_id": "c"}), "metric_key": "m", "properties": {"v": value}, "timestamp": at}
    await post(client, "/v1/events", event, 202)


@pytest.mark.parametrize(("more", "each"), [({}, "10000"), ({"partial_period": "full"}, "30000")])
async def test_item_43a_three_parts_of_a_month_cost_one_month_together(
    client: httpx.AsyncClient, more: dict[str, str], each: str
) -> None:
    """Three subscriptions of ten days each at 300 GB, calendar months; April has 30 days.

    Each is 300 x 10/30 = 100 GB: 100.00, together 300.00. A metric that says `full` counts 300 GB each: 900.00.
    """
    await levels(client, **more)
    clock = await clock_at(client)
    await post(client, "/v1/customers", {"id": "c", "name": "c", "test_clock_id": clock})
    for start, end in (("01", "11"), ("11", "21"), ("21", None)):
        begin = f"2025-04-{start}T00:00:00Z"
        if start != "01":
            await advance(client, clock, begin)
        ending = f"2025-04-{end}T00:00:00Z" if end else MAY
        own = await subscribe(client, start_date=begin, ending_at=ending, billing_time="calendar")
        await send(client, "300", begin, subscription_id=own["id"])
    await advance(client, clock, "2025-05-02T00:00:00Z")
    assert [invoice["total_cents"] for invoice in await invoices(client)] == [each] * 3


async def test_item_43a_a_level_from_the_fifth_on_is_27_of_31_days(client: httpx.AsyncClient) -> None:
    await levels(client)
    begin = "2025-03-05T00:00:00Z"
    clock = await clock_at(client, begin)
    await post(client, "/v1/customers", {"id": "c", "name": "c", "test_clock_id": clock})
    own = await subscribe(client, start_date=begin, billing_time="calendar")
    await send(client, "2500", begin)
    # 5 to 31 March are 27 days: 2500 x 27/31 = 2177.4193... -> 2177.42. Asked on the 20th, 15 days have been: 2500 x
    # 15/31 = 1209.677... -> 1209.68, and the rest of 2177.42 is 967.74.
    await advance(client, clock, "2025-03-20T00:00:00Z")
    cut = {"subscription_id": own["id"], "cutoff_date": "2025-03-20T00:00:00Z"}
    assert (await post(client, "/v1/invoices", cut))["total_cents"] == "120968"
    await advance(client, clock, "2025-04-01T00:00:00Z")
    assert [each["total_cents"] for each in await invoices(client)] == ["120968", "96774"]
    assert (await client.patch("/v1/metrics/m", json={"partial_period": "full"})).status_code == 409
    wrong = {"key": "s", "name": "s", "aggregation": "sum", "partial_period": "full"}
    assert (await client.post("/v1/metrics", json=wrong)).status_code == 422
