"""B26-B36, B39, B43, B45-B51: the catalogue as a user of the API meets it, up to the invoice."""

from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.quickstart import made

APRIL = {"customer_id": "cust_acme", "cutoff_date": "2026-04-30T23:59:59Z"}


async def subscribe(client: httpx.AsyncClient, plan: dict[str, Any]) -> None:
    """Create the plan, the customer and a subscription from 1 April 2026."""
    await made(client, "/v1/plans", {"id": "p", "name": "P", "currency": "usd", "billing_period": "monthly", **plan})
    await quickstart.customer(client)
    await quickstart.subscription(client, plan_id="p")


async def use(client: httpx.AsyncClient, metric: str, *events: dict[str, Any]) -> None:
    """Send events of 5 April 2026; each gives its value or its properties."""
    shared = {"customer_id": "cust_acme", "metric_key": metric, "timestamp": "2026-04-05T00:00:00Z"}
    numbered = [{**shared, "idempotency_key": f"{metric}-{n}", **event} for n, event in enumerate(events)]
    await made(client, "/v1/events/batch", {"events": numbered})


async def billed(client: httpx.AsyncClient) -> list[tuple[str, int]]:
    """Bill April and give the lines."""
    invoice = await made(client, "/v1/invoices", APRIL)
    assert invoice["total_amount"] == sum(line["amount"] for line in invoice["line_items"])
    return [(line["description"], line["amount"]) for line in invoice["line_items"]]


def per_unit(metric: str, price: str = "1") -> dict[str, Any]:
    return {"metric_key": metric, "pricing_model": "per_unit", "unit_price": price}


async def test_b26_a_product_is_a_name_and_a_code(client: httpx.AsyncClient) -> None:
    body = {"name": "Pro API", "code": "pro-api"}
    assert body.items() <= (await made(client, "/v1/products", body)).items()
    assert (await client.post("/v1/products", json=body)).status_code == 409


async def test_b27_one_product_exposes_several_plans(client: httpx.AsyncClient) -> None:
    product = await made(client, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    for plan in ("basic", "pro"):
        body = {"id": plan, "name": plan, "billing_period": "monthly", "product_id": product["id"]}
        await made(client, "/v1/plans", body)
    await made(client, "/v1/plans", {"id": "other", "name": "Other", "billing_period": "monthly"})
    listed = await client.get("/v1/plans", params={"product_id": product["id"]})
    assert {plan["id"] for plan in listed.json()} == {"basic", "pro"}


async def test_b28_base_price_included_usage_overage_and_tiers_are_all_billed(client: httpx.AsyncClient) -> None:
    for key in ("compute", "storage"):
        await made(client, "/v1/meters", {"name": key.title(), "code": key, "unit": "unit", "aggregation": "sum"})
    tiers = [{"up_to": 10, "unit_price": 2}, {"up_to": None, "unit_price": 1}]
    plan = {
        "base_price": "49.00",
        "included_usage": [{"metric_key": "compute", "included_units": 100}],
        "overage": [{"metric_key": "compute", "unit_price": "0.01"}],
        "usage_tiers": [{"metric_key": "storage", "tiers": tiers}],
    }
    await subscribe(client, plan)
    shown = (await client.get("/v1/plans/p")).json()
    assert shown["billing_period"] == "monthly"
    prices = {(c.get("metric_key"), c["pricing_model"]): c for c in shown["charges"]}
    assert float(shown["base_price"]) == 49
    overage = prices["compute", "included_overage"]
    assert (overage["included_units"], float(overage["overage_unit_price"])) == (100, 0.01)
    assert [float(tier["unit_price"]) for tier in prices["storage", "tiered"]["tiers"]] == [2, 1]
    await use(client, "compute", {"value": 250})
    await use(client, "storage", {"value": 15})
    assert await billed(client) == [
        ("P base fee", 4900),
        ("Storage — tiered usage (15 unit)", 2500),
        ("Compute — usage (250 unit)", 150),
    ]


async def test_b29_b30_b32_the_quickstarts_plan_bills_one_line_per_charge(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    assert await billed(client) == [
        ("API Calls — tiered usage (1,200,000 calls)", 10000),
        ("Growth base fee", 4900),
    ]


@pytest.mark.parametrize(
    "tiers",
    [
        [],
        [{"up_to": 100, "unit_price": 0}],
        [{"up_to": 100, "unit_price": 0}, {"up_to": 50, "unit_price": 1}, {"up_to": None, "unit_price": 1}],
        [{"up_to": None, "unit_price": 0}, {"up_to": None, "unit_price": 1}],
        [{"up_to": 100, "unit_price": -1}, {"up_to": None, "unit_price": 1}],
    ],
)
async def test_b31_tiers_ascend_and_only_the_last_is_open(client: httpx.AsyncClient, tiers: list[Any]) -> None:
    await made(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls"})
    charge = {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": tiers}
    answer = await client.post(
        "/v1/plans", json={"id": "p", "name": "P", "billing_period": "monthly", "charges": [charge]}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("charges.0.tiers")


async def test_b33_a_price_of_0_00005_is_exact(client: httpx.AsyncClient) -> None:
    await made(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls"})
    await subscribe(client, {"charges": [per_unit("api_calls", "0.00005")]})
    await use(client, "api_calls", {"value": 200000})
    assert await billed(client) == [("API Calls — usage (200,000 calls)", 1000)]


async def test_b34_b35_usageflows_included_units_and_overage(client: httpx.AsyncClient) -> None:
    await made(client, "/api/metrics", {"name": "API Calls", "key": "API_CALL", "unit": "calls"})
    await made(client, "/api/metrics", {"name": "AI Tokens", "key": "AI_TOKEN", "unit": "tokens"})
    plans = {
        name: (await made(client, "/api/plans", {"name": name, "basePrice": 100}))["id"] for name in ("Pro", "Basic")
    }
    for plan, metric, price in (("Pro", "API_CALL", "0.01"), ("Pro", "AI_TOKEN", "1"), ("Basic", "API_CALL", "0.02")):
        body = {"metric": metric, "includedUnits": 10000, "overagePrice": price}
        await made(client, f"/api/plans/{plans[plan]}/metrics", body)
    for plan, metric, quantity, usage in (
        ("Pro", "API_CALL", 12000, 2000),
        ("Pro", "API_CALL", 10000, 0),
        ("Pro", "API_CALL", 10001, 1),
        ("Pro", "AI_TOKEN", 10002, 200),
        ("Basic", "API_CALL", 12000, 4000),
    ):
        priced = await client.post(f"/v1/plans/{plans[plan]}/simulate", json={"usage": {metric: quantity}})
        assert priced.json()["total_amount"] == 10000 + usage, (plan, metric, quantity)


async def test_b36_a_created_plan_has_version_1_and_is_active(client: httpx.AsyncClient) -> None:
    shown = await made(client, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly"})
    assert (shown["version"], shown["status"]) == (1, "active")


async def test_b39_entitlements_are_part_of_the_plan(client: httpx.AsyncClient) -> None:
    entitlements = {"sso": True, "seats": 10}
    await subscribe(client, {"entitlements": entitlements})
    assert (await client.get("/v1/plans/p")).json()["entitlements"] == entitlements


async def test_b43_simulating_equals_invoicing_and_makes_no_invoice(client: httpx.AsyncClient) -> None:
    await quickstart.acme(client)
    priced = await client.post("/v1/plans/plan_growth/simulate", json={"usage": {"api_calls": 1200000}})
    assert priced.json()["total_amount"] == 14900
    assert (await client.get("/v1/invoices")).json() == []
    assert sum(amount for _, amount in await billed(client)) == 14900


async def test_b45_a_metric_is_created_in_each_of_the_four_shapes(client: httpx.AsyncClient) -> None:
    for path, body in {
        "/v1/metrics": {"key": "a", "name": "A", "aggregation": "sum"},
        "/api/v1/meters": {"code": "b", "name": "B", "unit": "minute", "aggregation": "max"},
        "/v1/billable_metrics/": {"code": "c", "name": "C", "aggregation_type": "count"},
        "/api/metrics": {"key": "d", "name": "D", "unit": "calls"},
    }.items():
        await made(client, path, body)
    listed = (await client.get("/v1/billable_metrics")).json()
    assert {metric["code"] for metric in listed} == {"a", "b", "c", "d"}


async def test_b46_an_unknown_aggregation_is_refused(client: httpx.AsyncClient) -> None:
    for kind in ("sum", "count", "max", "unique_count", "latest", "average", "weighted_sum"):
        await made(client, "/v1/metrics", {"key": kind, "name": kind, "aggregation": kind})
    answer = await client.post("/v1/metrics", json={"key": "m", "name": "M", "aggregation": "median"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_aggregation")


# What the series 5, 2, 5, 1 on the first four days of April comes to, in cents at a dollar for each unit.
SERIES: dict[str, tuple[int, dict[str, Any]]] = {
    "sum": (1300, {}),
    "count": (400, {}),
    "max": (500, {}),
    "min": (100, {}),
    "unique_count": (300, {"field": "color"}),
    "latest": (100, {}),
    "average": (325, {}),
    # (5 x 30 + 2 x 29 + 5 x 28 + 1 x 27) / 30 days
    "weighted_sum": (1250, {}),
    "percentile": (200, {"percentile": 50}),
    "custom": (2600, {"expression": "value * 2"}),
}


async def test_b47_b48_aggregations_do_as_they_say(client: httpx.AsyncClient) -> None:
    for kind, (_, more) in SERIES.items():
        await made(client, "/v1/metrics", {"key": kind, "name": kind, "aggregation": kind, **more})
    await subscribe(client, {"charges": [per_unit(kind) for kind in SERIES]})
    series = [
        {"value": value, "properties": {"color": str(value)}, "timestamp": f"2026-04-0{day}T00:00:00Z"}
        for day, value in enumerate((5, 2, 5, 1), 1)
    ]
    for kind in SERIES:
        await use(client, kind, *series, {"value": 9, "timestamp": "2026-05-01T00:00:00Z"})
    assert [cents for _, cents in await billed(client)] == [cents for cents, _ in SERIES.values()]


async def test_b49_a_key_never_changes(client: httpx.AsyncClient) -> None:
    await made(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls"})
    answer = await client.patch("/v1/metrics/api_calls", json={"key": "calls"})
    assert (answer.status_code, answer.json()["code"]) == (422, "immutable")


async def test_b50_the_unit_stands_in_the_invoice_line(client: httpx.AsyncClient) -> None:
    await made(client, "/api/metrics", {"name": "Requests of the API", "key": "API_CALL", "unit": "calls"})
    await subscribe(client, {"charges": [per_unit("API_CALL", "0.0001")]})
    await use(client, "API_CALL", {"value": 1200000})
    assert await billed(client) == [("Requests of the API — usage (1,200,000 calls)", 12000)]


async def test_b51_events_of_a_filter_are_billed_at_its_price(client: httpx.AsyncClient) -> None:
    metric = await made(client, "/v1/billable_metrics", {"code": "calls", "name": "Calls", "aggregation_type": "count"})
    body = {"key": "region", "values": ["eu", "us"]}
    region = await made(client, "/v1/billable_metrics/calls/filters", body)
    charge = {
        "billable_metric_id": metric["id"],
        "charge_model": "standard",
        "properties": {"amount": "25"},
        "filters": [{"billable_metric_filter_id": region["id"], "values": ["eu"], "properties": {"amount": "10"}}],
    }
    await subscribe(client, {"charges": [charge]})
    events = [
        {
            "transaction_id": f"b51-{number}",
            "external_customer_id": "cust_acme",
            "code": "calls",
            "timestamp": "2026-04-05T00:00:00Z",
            "properties": {"region": place},
        }
        for number, place in enumerate(("eu", "eu", "eu", "us", "mars"))
    ]
    await made(client, "/v1/events/batch", {"events": events})
    assert await billed(client) == [
        ("Calls — usage (2 calls)", 5000),
        ("Calls (region: eu) — usage (3 calls)", 3000),
    ]


async def test_b51_combinations_groups_and_a_rename_reach_the_next_invoice(client: httpx.AsyncClient) -> None:
    await made(client, "/v1/metrics", {"key": "gb", "name": "Traffic", "unit": "GB", "field": "size"})
    for key, values in (("region", ["eu", "us"]), ("tier", ["gold", "iron"])):
        await made(client, "/v1/metrics/gb/filters", {"key": key, "values": values})
    filters = [
        {"match": {"region": "eu"}, "unit_price": "0.5"},
        {"match": {"region": "eu", "tier": "gold"}, "unit_price": "0.25", "invoice_display_name": "Gold traffic"},
    ]
    await subscribe(client, {"charges": [{**per_unit("gb"), "filters": filters, "group_by": ["user"]}]})
    sent = [
        {"size": 4, "region": "eu", "tier": "gold", "user": "ann"},
        {"size": 8, "region": "eu", "tier": "iron", "user": "ann"},
        {"size": 2, "region": "eu", "user": "bob"},
        {"size": 1, "region": "us", "tier": "gold", "user": "bob"},
        {"size": "1.5"},
    ]
    await use(client, "gb", *({"value": 7, "properties": properties} for properties in sent))
    assert await billed(client) == [
        ("Traffic (user: bob) — usage (1 GB)", 100),
        ("Traffic (user: none) — usage (1.5 GB)", 150),
        ("Traffic (region: eu; user: ann) — usage (8 GB)", 400),
        ("Traffic (region: eu; user: bob) — usage (2 GB)", 100),
        ("Gold traffic (user: ann) — usage (4 GB)", 100),
    ]
    assert (await client.patch("/v1/metrics/gb", json={"name": "Volume"})).status_code == 200
    may = await made(client, "/v1/invoices", {**APRIL, "cutoff_date": "2026-05-31T23:59:59Z"})
    assert [line["description"] for line in may["line_items"]] == [
        "Volume — usage (0 GB)",
        "Volume (region: eu) — usage (0 GB)",
        "Gold traffic — usage (0 GB)",
    ]
    assert [line["group"] for line in may["line_items"]] == [None] * 3
