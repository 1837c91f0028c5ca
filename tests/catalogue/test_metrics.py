"""Metrics in the four systems' shapes, under three names (conflicts C5; B45, B46, B49, B50)."""

from typing import Any

import httpx
import pytest

from billing.aggregations import AGGREGATIONS
from tests.catalogue.seeds import API_CALLS, fields_of, made, refused

SHAPES = {
    "/v1/metrics": API_CALLS,
    "/api/v1/meters": {"name": "Compute", "code": "compute", "unit": "minute", "aggregation": "sum"},
    "/v1/billable_metrics/": {"code": "bytes", "name": "Bytes", "aggregation_type": "sum", "field_name": "size"},
    "/api/metrics": {"name": "API Calls", "key": "API_CALL", "unit": "calls"},
}


async def test_b45_each_system_creates_in_its_own_shape_and_all_are_listed_together(api: httpx.AsyncClient) -> None:
    for path, body in SHAPES.items():
        shown = await made(api, path, body)
        assert all(shown[name] == value for name, value in body.items()), shown
        assert shown["key"] == shown["code"]
    for path in ("/v1/metrics", "/v1/meters", "/v1/billable_metrics", "/api/metrics"):
        listed = await api.get(path)
        assert [item["key"] for item in listed.json()] == ["API_CALL", "bytes", "compute", "api_calls"]
        assert listed.headers["x-total-count"] == "4"


async def test_a_metric_is_answered_in_the_union_of_the_shapes(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/metrics", API_CALLS)
    assert shown["id"].startswith("met_")
    assert shown["status"] == "active"
    assert shown["created_at"].endswith("Z")
    assert (shown["unit"], shown["unit_name"]) == ("calls", "calls")
    assert (shown["aggregation"], shown["aggregation_type"]) == ("sum", "sum")
    assert shown["ingest_key"] == "meter.api-calls"
    for ref in (shown["id"], shown["uuid"], "api_calls", "meter.api-calls"):
        assert (await api.get(f"/v1/billable_metrics/{ref}")).json() == shown


@pytest.mark.parametrize("kind", AGGREGATIONS)
async def test_b46_every_aggregation_can_be_chosen_in_any_case(api: httpx.AsyncClient, kind: str) -> None:
    body = {"key": "m", "name": "M", "aggregation": kind.upper(), "field_name": "v"}
    if kind == "custom":
        body["expression"] = "v * 2"
    assert (await made(api, "/v1/metrics", body))["aggregation"] == kind


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"key": "m", "name": "M", "aggregation": "median"}, "aggregation"),
        ({"code": "m", "name": "M", "aggregation_type": "not-valid!"}, "aggregation"),
        ({"code": "m", "name": "M", "aggregation_type": "max"}, "field_name"),
        ({"code": "m", "name": "M", "aggregation_type": "custom"}, "expression"),
        ({"key": "m", "name": "M", "aggregation": "sum", "expression": "v * 2"}, "expression"),
        ({"code": "m", "name": "M", "aggregation_type": "custom", "expression": "__import__('os')"}, "expression"),
        ({"code": "m", "name": "M", "aggregation_type": "sum", "field_name": "v", "recurring": True}, "recurring"),
        (
            {"code": "m", "name": "M", "aggregation_type": "weighted_sum", "field_name": "v", "recurring": True},
            "recurring",
        ),
        ({"key": "m", "name": "M", "aggregation": "average", "carry_over": True}, "carry_over"),
        ({"key": "m", "name": "M", "aggregation": "max", "carry_over": True, "recurring": False}, "carry_over"),
        ({"key": "m", "name": "M", "aggregation": "percentile", "percentile": 0}, "percentile"),
        ({"key": "m", "name": "M", "aggregation": "percentile", "percentile": "100.1"}, "percentile"),
        ({"key": "m", "name": "M", "aggregation": "percentile", "percentile": "high"}, "percentile"),
        ({"key": "m", "name": "M", "aggregation": "sum", "percentile": 50}, "percentile"),
        ({"code": "m", "name": "M", "aggregation_type": "count", "rounding_function": "up"}, "rounding_function"),
        ({"code": "m", "name": "M", "aggregation_type": "count", "rounding_precision": 16}, "rounding_precision"),
        ({"key": "a", "code": "b", "name": "M"}, "code"),
        ({"key": "stats", "name": "M"}, "key"),
        ({"key": "a/b", "name": "M"}, "key"),
        ({"key": "..", "name": "M"}, "key"),
        ({"key": "x" * 256, "name": "M"}, "key"),
        ({"key": "m", "name": ""}, "name"),
        ({"key": "m", "name": "   "}, "name"),
        ({"key": 5, "name": "M"}, "key"),
    ],
)
async def test_a_metric_that_cannot_be_is_refused_by_field(
    api: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    problem = await refused(api, "/v1/metrics", body, 422)
    assert field in fields_of(problem), problem
    assert (await api.get("/v1/metrics")).json() == []


async def test_a_meter_without_a_code_gets_one_from_its_name(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/meters", {"name": "API Requests", "unit": "request", "aggregation": "count"})
    assert (shown["code"], shown["unit"]) == ("api_requests", "request")


async def test_a_key_is_unique_in_its_project_and_free_elsewhere(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    shown = await made(api, "/v1/metrics", API_CALLS)
    await refused(api, "/v1/metrics", API_CALLS, 409, "metric_exists")
    await made(stranger, "/v1/metrics", API_CALLS)
    await refused(stranger, f"/v1/metrics/{shown['id']}", None, 404, "metric_not_found", method="GET")


async def test_b49_the_key_is_stable(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/metrics", API_CALLS)
    await refused(api, "/v1/metrics/api_calls", {"key": "calls"}, 422, "immutable", method="PATCH")
    changed = await api.put("/v1/metrics/api_calls", json={"key": "api_calls", "description": None, "unit": "call"})
    assert changed.status_code == 200
    assert (changed.json()["description"], changed.json()["unit"], changed.json()["name"]) == (
        None,
        "call",
        "API Calls",
    )


async def test_the_aggregation_stays_while_a_plan_charges_on_the_metric(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/metrics", API_CALLS)
    assert (await api.patch("/v1/metrics/api_calls", json={"aggregation": "max"})).json()["aggregation"] == "max"
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1}
    plan = {"id": "p", "name": "P", "billing_period": "monthly", "charges": [charge]}
    await made(api, "/v1/plans", plan)
    await refused(api, "/v1/metrics/api_calls", {"aggregation": "sum"}, 409, "metric_in_use", method="PATCH")
    await refused(api, "/v1/metrics/api_calls", None, 409, "metric_in_use", method="DELETE")
    assert (await api.patch("/v1/metrics/api_calls", json={"name": "Calls"})).status_code == 200
    assert (await api.delete("/v1/plans/p")).status_code == 204
    assert (await api.delete("/v1/metrics/api_calls")).status_code == 204
    await refused(api, "/v1/metrics/api_calls", None, 404, "metric_not_found", method="GET")
    await made(api, "/v1/metrics", API_CALLS)


async def test_what_makes_a_quantity_stays_while_a_plan_charges_on_the_metric(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/metrics", {**API_CALLS, "aggregation": "max"})
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1}
    await made(api, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly", "charges": [charge]})
    for change in (
        {"field": "size"},
        {"carry_over": True},
        {"rounding_function": "ceil"},
        {"rounding_precision": 2},
        {"aggregation": "percentile", "percentile": 50},
    ):
        await refused(api, "/v1/metrics/api_calls", change, 409, "metric_in_use", method="PATCH")
    # What is sent but the same is no change.
    assert (await api.put("/v1/metrics/api_calls", json={"aggregation": "max", "unit": "call"})).status_code == 200


async def test_the_other_systems_names_of_a_metrics_configuration(api: httpx.AsyncClient) -> None:
    body = {"key": "bytes", "name": "Bytes", "aggregation": "max", "field": "size", "carry_over": True}
    shown = await made(api, "/v1/metrics", {**body, "round_function": "ceil", "round_precision": 2})
    assert (shown["field_name"], shown["recurring"], shown["carry_over"]) == ("size", True, True)
    assert (shown["rounding_function"], shown["rounding_precision"], shown["percentile"]) == ("ceil", 2, None)
    changed = (await api.patch("/v1/billable_metrics/bytes", json={"recurring": False})).json()
    assert (changed["recurring"], changed["carry_over"]) == (False, False)
    level = await made(
        api, "/v1/metrics", {"key": "gb", "name": "GB", "aggregation": "weighted_sum", "carry_over": True}
    )
    assert level["carry_over"] is True


async def test_a_percentile_is_kept(api: httpx.AsyncClient) -> None:
    latency = {"key": "latency", "name": "Latency", "aggregation": "percentile"}
    assert (await made(api, "/v1/metrics", latency))["percentile"] == 95
    precise = {**latency, "key": "p", "percentile": "99.9"}
    assert (await made(api, "/v1/metrics", precise))["percentile"] == 99.9
    assert (await api.patch("/v1/metrics/p", json={"percentile": 50})).json()["percentile"] == 50
    plain = (await api.patch("/v1/metrics/p", json={"aggregation": "average"})).json()
    assert (plain["aggregation"], plain["percentile"]) == ("average", None)


HOSTILE = [
    "__import__('os').system('id')",
    "().__class__.__bases__[0]",
    "v ** 99999999",
    "9" * 65,
    "v << 4",
    "v if v else 0",
    "[v for v in v]",
    "(lambda: v)()",
    "v := 3",
    "f'{v}'",
    "'a' * 9",
    "v; v",
    "ｖ * 2",
    "1e400 * v",
    "0x10 * v",
    "v @ v",
    "v and v",
    "~v",
    "await v",
    "(" * 240 + "v" + ")" * 240,
    "-" * 200 + "v",
    "+".join(["v"] * 100),
    "v" * 501,
]


async def test_expressions_are_arithmetic_of_bounded_size_and_nothing_else(api: httpx.AsyncClient) -> None:
    for expression in HOSTILE:
        body = {"key": "m", "name": "M", "aggregation": "custom", "expression": expression}
        problem = await refused(api, "/v1/metrics", body, 422)
        assert fields_of(problem) == ["expression"], (expression, problem)


async def test_metrics_belong_to_products(api: httpx.AsyncClient) -> None:
    product = await made(api, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    shown = await made(api, "/v1/meters", {"name": "Compute", "product_ids": [product["id"], "item.pro-api"]})
    assert shown["product_ids"] == [product["id"]]
    await refused(api, "/v1/meters", {"name": "Other", "product_ids": ["none"]}, 404, "product_not_found")


async def test_statistics_and_plan_counts(api: httpx.AsyncClient) -> None:
    calls = await made(api, "/v1/metrics", API_CALLS)
    seats = await made(api, "/v1/metrics", {"key": "seats", "name": "Seats", "aggregation": "max"})
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1}
    await made(api, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly", "charges": [charge, charge]})
    stats = (await api.get("/v1/billable_metrics/stats")).json()
    assert stats == {"total": 2, "by_aggregation_type": {"sum": 1, "max": 1}}
    assert (await api.get("/v1/billable_metrics/plan_counts")).json() == {calls["id"]: 1, seats["id"]: 0}
    assert [plan["id"] for plan in (await api.get("/v1/billable_metrics/api_calls/plans")).json()] == ["p"]
    assert (await api.get(f"/v1/billable_metrics/{seats['id']}/plans")).json() == []


async def test_filters_of_a_metric(api: httpx.AsyncClient) -> None:
    calls = await made(api, "/v1/metrics", API_CALLS)
    region = await made(api, "/v1/billable_metrics/api_calls/filters", {"key": "region", "values": ["eu", "us"]})
    assert region["billable_metric_id"] == calls["id"]
    assert region["values"] == ["eu", "us"]
    tier = await made(api, "/v1/billable_metrics/api_calls/filters", {"key": "tier", "values": [1, 2.5, True]})
    await refused(api, "/v1/billable_metrics/api_calls/filters", {"key": "tier"}, 409, "metric_filter_exists")
    for value in (None, {"a": 1}, ["eu"]):
        never = {"key": "user", "values": ["x", value]}
        await refused(api, "/v1/billable_metrics/api_calls/filters", never, 422, "validation_failed")
    listed = await api.get("/v1/billable_metrics/api_calls/filters")
    assert [item["key"] for item in listed.json()] == ["region", "tier"]
    assert (await api.get(f"/v1/meters/api_calls/filters/{region['uuid']}")).json() == region
    assert (await api.get("/v1/metrics/api_calls/filters/region")).json() == region
    more = await api.put("/v1/metrics/api_calls/filters/region", json={"values": ["eu", "us", "apac"]})
    assert (more.status_code, more.json()["values"]) == (200, ["eu", "us", "apac"])
    renamed = {"key": "place", "values": []}
    await refused(api, "/v1/metrics/api_calls/filters/region", renamed, 422, "immutable", method="PATCH")
    path = f"/v1/billable_metrics/api_calls/filters/{tier['id']}"
    assert (await api.delete(path)).status_code == 204
    await refused(api, path, None, 404, "metric_filter_not_found", method="DELETE")


async def test_values_that_a_plan_prices_by_stay_in_their_filter(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/metrics", API_CALLS)
    await made(api, "/v1/metrics/api_calls/filters", {"key": "tier", "values": ["gold", 5, "iron"]})
    parts = [{"match": {"tier": ["5", "gold"]}, "unit_price": 2}]
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1, "filters": parts}
    await made(api, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly", "charges": [charge]})
    path = "/v1/metrics/api_calls/filters/tier"
    await refused(api, path, {"values": ["gold", "iron"]}, 409, "metric_filter_in_use", method="PATCH")
    assert (await api.patch(path, json={"values": ["5", "gold", "new"]})).status_code == 200
    await refused(api, path, None, 409, "metric_filter_in_use", method="DELETE")
    assert (await api.delete("/v1/plans/p")).status_code == 204
    assert (await api.patch(path, json={"values": ["new"]})).status_code == 200


async def test_lists_are_cut_ordered_and_filtered(api: httpx.AsyncClient) -> None:
    for key in ("b", "c", "a"):
        await made(api, "/v1/metrics", {"key": key, "name": key.upper()})
    first = await api.get("/v1/metrics", params={"limit": 2})
    assert [item["key"] for item in first.json()] == ["a", "c"]
    rest = await api.get(first.links["next"]["url"])
    assert [item["key"] for item in rest.json()] == ["b"]
    ordered = await api.get("/v1/metrics", params={"order_by": "code:asc", "skip": 1})
    assert [item["key"] for item in ordered.json()] == ["b", "c"]
    assert [item["key"] for item in (await api.get("/v1/metrics", params={"code": "c"})).json()] == ["c"]
    assert (await api.get("/v1/metrics", params={"order_by": "bogus"})).status_code == 422
    assert (await api.get("/v1/metrics", params={"limit": 0})).status_code == 422


async def test_every_change_is_in_the_audit_log(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/metrics", API_CALLS)
    await api.patch("/v1/metrics/api_calls", json={"name": "Calls"})
    await api.delete("/v1/metrics/api_calls")
    entries = (await api.get(f"/v1/audit_logs/metric/{shown['uuid']}")).json()
    assert [entry["action"] for entry in entries] == ["deleted", "updated", "created"]
    assert entries[1]["changes"] == {"name": {"old": "API Calls", "new": "Calls"}}
