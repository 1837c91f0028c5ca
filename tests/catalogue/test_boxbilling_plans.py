"""BoxBilling's plans: every charge model, filters, simulation (design section 9; B43, B51)."""

from typing import Any

import httpx
import pytest

from tests.catalogue.seeds import fields_of, made, plan_growth, refused

RANGES: list[dict[str, Any]] = [
    {"from_value": 0, "to_value": 100, "per_unit_amount": "2", "flat_amount": "0"},
    {"from_value": 100, "to_value": None, "per_unit_amount": "1", "flat_amount": "50"},
]
RATES: list[dict[str, Any]] = [
    {"from_value": 0, "to_value": 1000, "rate": "2", "flat_amount": "0"},
    {"from_value": 1000, "to_value": None, "rate": "1", "flat_amount": "10"},
]
#: Charge model, its properties, and its price of 120 units in cents, by hand.
MODELS: list[tuple[str, dict[str, Any], int]] = [
    ("standard", {"amount": "25"}, 300000),
    ("graduated", {"graduated_ranges": RANGES}, 27000),
    ("volume", {"volume_ranges": RANGES}, 17000),
    ("package", {"amount": "500", "package_size": 10, "free_units": 0}, 600000),
    ("percentage", {"rate": "1.5", "fixed_amount": "5"}, 60180),
    ("graduated_percentage", {"graduated_percentage_ranges": RATES}, 240),
    ("custom", {"unit_price": "3"}, 36000),
    ("custom", {"custom_amount": "7.50"}, 750),
    ("dynamic", {"price_field": "price", "quantity_field": "size"}, 0),
]


@pytest.fixture
async def calls(api: httpx.AsyncClient) -> dict[str, Any]:
    """A metric that counts."""
    return await made(api, "/v1/billable_metrics/", {"code": "calls", "name": "Calls", "aggregation_type": "count"})


def charge(metric: dict[str, Any], model: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"billable_metric_id": metric["id"], "charge_model": model, "properties": properties, **more}


async def test_every_charge_model_is_kept_echoed_and_priced(api: httpx.AsyncClient, calls: dict[str, Any]) -> None:
    charges = [charge(calls, model, properties) for model, properties, _ in MODELS]
    body = {"code": "all", "name": "All models", "interval": "yearly", "amount_cents": 60000, "charges": charges}
    shown = await made(api, "/v1/plans/", body)
    assert (shown["interval"], shown["amount_cents"], shown["base_price"], shown["currency"]) == (
        "yearly",
        60000,
        600,
        "USD",
    )
    assert [item["charge_model"] for item in shown["charges"]] == [model for model, _, _ in MODELS]
    assert [item["properties"] for item in shown["charges"]] == [properties for _, properties, _ in MODELS]
    assert {item["billable_metric_id"] for item in shown["charges"]} == {calls["id"]}
    priced = (await api.post("/v1/plans/all/simulate", json={"units": 120})).json()
    assert [item["amount_cents"] for item in priced["charges"]] == [cents for _, _, cents in MODELS]
    assert priced["base_amount_cents"] == 60000
    assert priced["total_amount_cents"] == 60000 + sum(cents for _, _, cents in MODELS)
    assert (await api.put("/v1/plans/all", json={"description": "Everything"})).json()["charges"][0][
        "charge_model"
    ] == "standard"


async def test_ranges_that_start_one_above_are_the_same_ranges(api: httpx.AsyncClient, calls: dict[str, Any]) -> None:
    above = [RANGES[0], {**RANGES[1], "from_value": 101}]
    body = {"code": "p", "name": "P", "interval": "monthly"}
    await made(api, "/v1/plans", {**body, "charges": [charge(calls, "graduated", {"graduated_ranges": above})]})
    for units, cents in ((100, 20000), (101, 20000 + 100 + 5000)):
        priced = await api.post("/v1/plans/p/simulate", json={"units": units})
        assert priced.json()["total_amount"] == cents


@pytest.mark.parametrize(
    ("model", "properties", "field"),
    [
        ("standard", {}, "amount"),
        ("standard", {"amount": "-1"}, "amount"),
        ("standard", {"amount": "1", "amuont": "1"}, "amuont"),
        ("graduated", {"graduated_ranges": []}, "graduated_ranges"),
        ("graduated", {"graduated_ranges": [RANGES[0]]}, "graduated_ranges.0.to_value"),
        (
            "graduated",
            {"graduated_ranges": [RANGES[0], {**RANGES[1], "from_value": 150}]},
            "graduated_ranges.1.from_value",
        ),
        ("volume", {"volume_ranges": [RANGES[0], {**RANGES[1], "from_value": 50}]}, "volume_ranges.1.from_value"),
        ("volume", {"volume_ranges": [{**RANGES[1], "from_value": 10}]}, "volume_ranges.0.from_value"),
        ("custom", {}, "unit_price"),
        ("package", {"amount": "5", "package_size": 0}, "package_size"),
    ],
)
async def test_properties_that_cannot_be_are_refused_by_field(
    api: httpx.AsyncClient, calls: dict[str, Any], model: str, properties: dict[str, Any], field: str
) -> None:
    body = {"code": "p", "name": "P", "interval": "monthly", "charges": [charge(calls, model, properties)]}
    problem = await refused(api, "/v1/plans", body, 422)
    assert fields_of(problem) == [f"charges.0.properties.{field}"], problem


async def test_b51_a_filtered_charge_is_kept_with_its_filters(api: httpx.AsyncClient, calls: dict[str, Any]) -> None:
    region = await made(api, "/v1/billable_metrics/calls/filters", {"key": "region", "values": ["eu", "us"]})
    part = {"billable_metric_filter_id": region["id"], "values": ["eu"], "properties": {"amount": "10"}}
    filtered = charge(calls, "standard", {"amount": "25"}, filters=[part])
    body = {"code": "p", "name": "P", "interval": "weekly", "amount_cents": 700, "charges": [filtered]}
    shown = await made(api, "/v1/plans", body)
    (only,) = shown["charges"]
    shown_part = {**part, "key": "region", "match": {"region": ["eu"]}, "invoice_display_name": None}
    assert only["filters"] == [shown_part]
    # Usage without properties matches no filter.
    priced = (await api.post("/v1/plans/p/simulate", json={"units": 2})).json()
    assert (priced["total_amount"], len(priced["charges"])) == (700 + 5000, 1)
    path = f"/v1/billable_metrics/calls/filters/{region['id']}"
    await refused(api, path, None, 409, "metric_filter_in_use", method="DELETE")
    renamed = (await api.put("/v1/plans/p", json={"name": "Q"})).json()
    assert (renamed["version"], renamed["charges"][0]["filters"]) == (2, only["filters"])


async def test_filters_must_be_those_of_the_metric(api: httpx.AsyncClient, calls: dict[str, Any]) -> None:
    region = await made(api, "/v1/billable_metrics/calls/filters", {"key": "region", "values": ["eu", "us"]})
    part = {"billable_metric_filter_id": region["id"], "values": ["mars"], "properties": {"amount": "10"}}
    body = {"code": "p", "name": "P", "interval": "weekly"}

    def with_part(**changes: Any) -> dict[str, Any]:
        return {**body, "charges": [charge(calls, "standard", {"amount": "25"}, filters=[{**part, **changes}])]}

    problem = await refused(api, "/v1/plans", with_part(), 422)
    assert fields_of(problem) == ["charges.0.filters.0.values"]
    await refused(api, "/v1/plans", with_part(billable_metric_filter_id="none"), 404, "metric_filter_not_found")
    problem = await refused(api, "/v1/plans", with_part(properties={}), 422)
    assert fields_of(problem) == ["charges.0.filters.0.properties.amount"]


async def test_b43_simulating_1_200_000_calls_gives_14900_and_stores_nothing(api: httpx.AsyncClient) -> None:
    await plan_growth(api)
    for path in ("/v1/plans/plan_growth/simulate", "/v1/price-plans/plan_growth/simulate"):
        priced = (await api.post(path, json={"usage": {"api_calls": 1200000}})).json()
        assert (priced["total_amount"], priced["total_amount_cents"], priced["currency"]) == (14900, 14900, "usd")
    assert [(line["description"], line["amount"]) for line in priced["line_items"]] == [
        ("API Calls — tiered usage (1,200,000 calls)", 10000),
        ("Growth base fee", 4900),
    ]
    assert [step["amount"] for step in priced["line_items"][0]["steps"]] == [0, 90, 10]
    await api.patch("/v1/plans/plan_growth", json={"charges": []})
    for version, total in ((1, 14900), (2, 0)):
        usage = {"usage": {"meter.api-calls": 1200000} if version == 1 else {}, "version": version}
        assert (await api.post("/v1/plans/plan_growth/simulate", json=usage)).json()["total_amount"] == total
    await refused(api, "/v1/plans/plan_growth/simulate", {"usage": {"none": 1}, "version": 1}, 404, "metric_not_found")
    await refused(api, "/v1/plans/plan_growth/simulate", {"usage": {"api_calls": 1}}, 422, "metric_not_charged")
    await refused(api, "/v1/plans/plan_growth/simulate", {}, 422)
    await refused(api, "/v1/plans/plan_growth/simulate", {"units": -1}, 422)


async def test_subscription_counts_of_plans(api: httpx.AsyncClient) -> None:
    await plan_growth(api)
    assert (await api.get("/v1/plans/subscription_counts")).json() == {"plan_growth": 0}
