"""Plans in the four systems' shapes, with immutable versions (conflicts C6; B27-B37, B39)."""

from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from tests.catalogue.seeds import API_CALLS, fields_of, made, plan_growth, refused

EXACT = msgspec.json.Decoder(float_hook=Decimal)
TIERS = [{"up_to": 100, "unit_price": 0}, {"up_to": None, "unit_price": 0.01}]


def plan(*charges: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "p", "name": "P", "billing_period": "monthly", "charges": list(charges), **more}


def tiered(*tiers: Any) -> dict[str, Any]:
    return {"metric_key": "api_calls", "pricing_model": "tiered", "tiers": list(tiers)}


async def test_b36_the_quickstarts_plan_has_version_1_and_is_active(api: httpx.AsyncClient) -> None:
    shown = await plan_growth(api)
    wanted = {"id": "plan_growth", "version": 1, "name": "Growth", "status": "active", "currency": "usd"}
    assert wanted.items() <= shown.items()
    assert (shown["billing_period"], shown["interval"], shown["code"]) == ("monthly", "monthly", "plan_growth")
    assert (shown["base_price"], shown["amount_cents"]) == (0, 0)


async def test_b33_unit_prices_are_kept_and_shown_exactly(api: httpx.AsyncClient) -> None:
    await plan_growth(api)
    shown = EXACT.decode((await api.get("/v1/plans/plan_growth")).content)
    calls, fee = shown["charges"]
    assert [tier["unit_price"] for tier in calls["tiers"]] == [0, Decimal("0.0001"), Decimal("0.00005")]
    assert [tier["up_to"] for tier in calls["tiers"]] == [100000, 1000000, None]
    assert (calls["pricing_model"], calls["charge_model"], calls["metric_key"]) == ("tiered", "graduated", "api_calls")
    assert calls["properties"]["graduated_ranges"][2]["per_unit_amount"] == "0.00005"
    assert (fee["pricing_model"], fee["amount"], fee["metric_key"]) == ("flat_fee", 49, None)
    assert fee["description"] == "Growth base fee"
    assert (fee["charge_model"], fee["properties"]) == ("standard", {"amount": "49"})


async def test_b37_a_change_makes_the_next_version_and_leaves_the_old_one(api: httpx.AsyncClient) -> None:
    first = await plan_growth(api)
    renamed = await api.patch("/v1/price-plans/plan_growth", json={"name": "Growth 2"})
    assert (renamed.json()["version"], renamed.json()["name"]) == (2, "Growth 2")
    priced = await api.put("/v1/plans/plan_growth", json={"charges": [tiered(*TIERS)]})
    assert (priced.json()["version"], len(priced.json()["charges"])) == (3, 1)
    versions = (await api.get("/v1/price-plans/plan_growth/versions")).json()
    assert [(version["version"], version["name"], version["current"]) for version in versions] == [
        (3, "Growth 2", True),
        (2, "Growth 2", False),
        (1, "Growth", False),
    ]
    old = (await api.get("/v1/plans/plan_growth/versions/1")).json()
    assert old["charges"] == first["charges"]
    await refused(api, "/v1/plans/plan_growth/versions/4", None, 404, "plan_version_not_found", method="GET")


async def test_what_changes_nothing_makes_no_version(api: httpx.AsyncClient) -> None:
    first = await plan_growth(api)
    for body in ({}, {"name": "Growth"}, {"currency": "usd", "billing_period": "monthly"}, {"id": "plan_growth"}):
        same = await api.patch("/v1/price-plans/plan_growth", json=body)
        assert same.json() == first
    # Entitlements and the product belong to the plan, not to a version.
    entitled = (await api.patch("/v1/plans/plan_growth", json={"entitlements": {"sso": True, "seats": 10}})).json()
    assert (entitled["version"], entitled["entitlements"]) == (1, {"sso": True, "seats": 10})
    await refused(api, "/v1/plans/plan_growth", {"id": "other"}, 422, "immutable", method="PATCH")


async def test_b28_usageboxs_plan_with_base_price_included_usage_and_overage(api: httpx.AsyncClient) -> None:
    product = await made(api, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    await made(api, "/v1/meters", {"name": "Compute", "code": "compute", "unit": "minute"})
    await made(api, "/v1/meters", {"name": "Seats", "code": "seats", "unit": "seat"})
    body = {
        "product_id": product["id"],
        "name": "Usage Plus",
        "code": "plan_usage_plus",
        "billing_cadence": "monthly",
        "base_price": 49,
        "currency": "usd",
        "included_usage": [{"metric_key": "compute", "included_units": 100}],
        "overage": [{"metric_key": "compute", "unit_price": "0.01"}, {"metric_key": "seats", "unit_price": 5}],
        "entitlements": {"sso": True, "seats": 10},
    }
    shown = await made(api, "/api/v1/plans", body)
    assert (shown["base_price"], shown["amount_cents"], shown["billing_cadence"]) == (49, 4900, "monthly")
    assert shown["entitlements"] == {"sso": True, "seats": 10}
    assert (shown["product_id"], shown["id"]) == (product["id"], "plan_usage_plus")
    assert [(charge["metric_key"], charge["pricing_model"]) for charge in shown["charges"]] == [
        ("compute", "included_overage"),
        ("seats", "per_unit"),
    ]
    assert shown["charges"][0]["included_units"] == 100
    priced = (await api.post("/v1/plans/plan_usage_plus/simulate", json={"usage": {"compute": 150}})).json()
    assert [(line["description"], line["amount"]) for line in priced["line_items"]][:2] == [
        ("Usage Plus base fee", 4900),
        ("Compute — usage (150 minute)", 50),
    ]


async def test_seed_000_creates_its_plan_in_one_request(api: httpx.AsyncClient) -> None:
    await made(api, "/v1/meters", {"name": "Compute", "code": "compute", "unit": "minute"})
    body = {
        "name": "Usage Plus",
        "code": "plan_usage_plus",
        "billing_cadence": "monthly",
        "base_price": 49,
        "currency": "usd",
        "charges": [{"metric_key": "compute", "pricing_model": "tiered", "tiers": TIERS}],
        "entitlements": {"sso": True, "seats": 10},
    }
    shown = await made(api, "/api/v1/plans", body)
    assert shown["entitlements"]["sso"] is True
    assert len(shown["charges"]) == 1


async def test_b27_plans_are_listed_by_product(api: httpx.AsyncClient) -> None:
    product = await made(api, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    for code, owner in (("a", product["id"]), ("b", "pro-api"), ("c", None)):
        await made(api, "/v1/plans", plan(id=code, product_id=owner))
    listed = await api.get("/v1/plans", params={"product_id": product["id"]})
    assert [item["id"] for item in listed.json()] == ["b", "a"]
    assert listed.headers["x-total-count"] == "2"
    assert (await api.get("/v1/plans", params={"product_id": "none"})).status_code == 404
    assert [item["id"] for item in (await api.get("/v1/plans", params={"order_by": "code:asc"})).json()] == [
        "a",
        "b",
        "c",
    ]


async def test_b34_usageflow_attaches_included_units_and_an_overage_price(api: httpx.AsyncClient) -> None:
    await made(api, "/api/metrics", {"name": "API Calls", "key": "API_CALL", "unit": "calls"})
    made_plan = await made(
        api, "/api/plans", {"name": "Pro", "basePrice": 100, "billingCycle": "MONTHLY", "currency": "usd"}
    )
    assert (made_plan["basePrice"], made_plan["billingCycle"], made_plan["status"]) == (100, "MONTHLY", "ACTIVE")
    path = f"/api/plans/{made_plan['id']}/metrics"
    attached = await made(api, path, {"metric": "API_CALL", "includedUnits": 10000, "overagePrice": 0.01})
    assert (attached["plan_id"], attached["metric"], attached["included_units"]) == (made_plan["id"], "API_CALL", 10000)
    assert (attached["overage_unit_price"], attached["version"]) == (0.01, 2)
    for quantity, total in ((12000, 12000), (10000, 10000), (10001, 10001)):
        priced = await api.post(f"/v1/plans/{made_plan['id']}/simulate", json={"usage": {"API_CALL": quantity}})
        assert priced.json()["total_amount"] == total, quantity
    body = {"metric": "API_CALL", "includedUnits": 1, "overagePrice": 1}
    await refused(api, path, body, 409, "metric_already_attached")
    await refused(api, path, {**body, "metric": "NONE"}, 404, "metric_not_found")
    await refused(api, path, {**body, "overagePrice": -1}, 422)
    assert (await api.get("/api/plans")).json()[0]["metrics"] == [
        {"metric": "API_CALL", "includedUnits": 10000, "overagePrice": 0.01}
    ]


async def test_b35_a_metric_is_reusable_across_plans(api: httpx.AsyncClient) -> None:
    for key in ("API_CALL", "AI_TOKEN"):
        await made(api, "/api/metrics", {"name": key, "key": key})
    plans = [await made(api, "/api/plans", {"name": name, "basePrice": 1}) for name in ("Pro", "Basic")]
    for found, metric in ((plans[0], "API_CALL"), (plans[0], "AI_TOKEN"), (plans[1], "API_CALL")):
        body = {"metric": metric, "includedUnits": 0, "overagePrice": "0.5"}
        await made(api, f"/api/plans/{found['id']}/metrics", body)


@pytest.mark.parametrize(
    ("charge", "field"),
    [
        (tiered({"up_to": 100, "unit_price": -1}, {"up_to": None, "unit_price": 1}), "charges.0.tiers.0.unit_price"),
        (tiered({"up_to": 100, "unit_price": 0}, {"up_to": 50, "unit_price": 1}), "charges.0.tiers.1.up_to"),
        (tiered({"up_to": 100, "unit_price": 0}, {"up_to": 100, "unit_price": 1}), "charges.0.tiers.1.up_to"),
        (tiered({"up_to": None, "unit_price": 0}, {"up_to": None, "unit_price": 1}), "charges.0.tiers.0.up_to"),
        (tiered({"up_to": 100, "unit_price": 0}), "charges.0.tiers.0.up_to"),
        (tiered({"up_to": -5, "unit_price": 0}, {"up_to": None, "unit_price": 1}), "charges.0.tiers.0.up_to"),
        (tiered({"up_to": 0, "unit_price": 0}, {"up_to": None, "unit_price": 1}), "charges.0.tiers.0.up_to"),
        (tiered({"up_to": None, "unit_price": "NaN"}), "charges.0.tiers.0.unit_price"),
        (tiered({"up_to": None, "unit_price": "0." + "1" * 19}), "charges.0.tiers.0.unit_price"),
        (tiered({"up_to": None, "unit_price": True}), "charges.0.tiers.0.unit_price"),
        (tiered({"up_to": None}), "charges.0.tiers.0.unit_price"),
        (tiered(), "charges.0.tiers"),
        ({"metric_key": "api_calls", "pricing_model": "tiered"}, "charges.0.tiers"),
        ({"metric_key": "api_calls", "pricing_model": "tierd"}, "charges.0.pricing_model"),
        ({"metric_key": "api_calls"}, "charges.0.pricing_model"),
        ({"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1, "tier": []}, "charges.0.tier"),
        ({"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1, "rate": 1}, "charges.0.rate"),
        ({"metric_key": "api_calls", "pricing_model": "flat_fee", "amount": 1}, "charges.0.metric_key"),
        ({"pricing_model": "flat_fee"}, "charges.0.amount"),
        ({"pricing_model": "per_unit", "unit_price": 1}, "charges.0.metric_key"),
        (
            {"metric_key": "api_calls", "pricing_model": "package", "amount": 1, "package_size": 0},
            "charges.0.package_size",
        ),
        (
            {"metric_key": "api_calls", "pricing_model": "included_overage", "included_units": 5},
            "charges.0.overage_unit_price",
        ),
    ],
)
async def test_b31_a_charge_that_cannot_be_is_refused_by_field(
    api: httpx.AsyncClient, charge: dict[str, Any], field: str
) -> None:
    await made(api, "/v1/metrics", API_CALLS)
    problem = await refused(api, "/v1/plans", plan(charge), 422)
    assert fields_of(problem) == [field], problem
    assert (await api.get("/v1/plans")).json() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"currency": "xyz"}, "currency"),
        ({"currency": "usdx"}, "currency"),
        ({"billing_period": "daily"}, "billing_period"),
        ({"interval": "yearly"}, "interval"),
        ({"billing_period": None}, "billing_period"),
        ({"base_price": -1}, "base_price"),
        ({"base_price": 49, "amount_cents": 4800}, "amount_cents"),
        ({"amount_cents": 49.5}, "amount_cents"),
        ({"amount_cents": 10**18}, "amount_cents"),
        ({"id": "subscription_counts"}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": "a", "code": "b"}, "code"),
        ({"chargez": []}, "chargez"),
        ({"trial_period_days": -1}, "trial_period_days"),
        ({"entitlements": {"seats": [1]}}, "entitlements.seats"),
        ({"included_usage": [{"metric_key": "m", "included_units": 1}]}, "included_usage.0"),
    ],
)
async def test_a_plan_that_cannot_be_is_refused_by_field(
    api: httpx.AsyncClient, changes: dict[str, Any], field: str
) -> None:
    problem = await refused(api, "/v1/plans", plan() | changes, 422)
    assert any(name.startswith(field) for name in fields_of(problem)), problem


async def test_unknown_references_are_404_and_an_id_in_use_is_409(api: httpx.AsyncClient) -> None:
    problem = await refused(api, "/v1/price-plans", plan(tiered(*TIERS)), 404, "metric_not_found")
    assert fields_of(problem) == ["charges.0.metric_key"]
    await refused(api, "/v1/plans", plan(product_id="none"), 404, "product_not_found")
    await refused(api, "/v1/plans/none", None, 404, "plan_not_found", method="GET")
    await refused(api, "/v1/plans/none", {}, 404, "plan_not_found", method="PUT")
    await refused(api, "/v1/plans/none", None, 404, "plan_not_found", method="DELETE")
    await made(api, "/v1/plans", plan())
    await refused(api, "/v1/plans", plan(), 409, "plan_exists")
    assert (await api.delete("/v1/plans/p")).status_code == 204
    await made(api, "/v1/plans", plan())


async def test_a_plan_without_an_id_of_its_own_gets_one(api: httpx.AsyncClient) -> None:
    shown = await made(api, "/v1/plans", {"name": "Pro", "billing_period": "Monthly"})
    assert shown["id"] == shown["code"]
    assert shown["id"].startswith("plan_")
    for ref in (shown["id"], shown["uuid"]):
        assert (await api.get(f"/v1/plans/{ref}")).json()["id"] == shown["id"]


async def test_another_organization_sees_no_plan(api: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    shown = await plan_growth(api)
    for ref in ("plan_growth", shown["uuid"]):
        await refused(stranger, f"/v1/plans/{ref}", None, 404, method="GET")
        await refused(stranger, f"/v1/plans/{ref}/simulate", {"units": 1}, 404)
    assert (await stranger.get("/v1/plans")).json() == []


async def test_every_change_is_in_the_audit_log(api: httpx.AsyncClient) -> None:
    shown = await plan_growth(api)
    await api.patch("/v1/plans/plan_growth", json={"name": "Growth 2"})
    await api.delete("/v1/plans/plan_growth")
    entries = (await api.get(f"/v1/audit_logs/plan/{shown['uuid']}")).json()
    assert [entry["action"] for entry in entries] == ["deleted", "updated", "created"]
    assert entries[1]["changes"] == {"name": {"old": "Growth", "new": "Growth 2"}}
