"""Features, entitlements, and the plan's embedded object that is a view of them (B39-B41, conflicts C27)."""

from typing import Any

import httpx
import pytest

from tests.catalogue.seeds import fields_of, made, refused

SETS = {"sso": True, "seats": 10, "support": "gold"}


async def plan(api: httpx.AsyncClient, code: str, **more: Any) -> dict[str, Any]:
    """Create a plan without charges."""
    return await made(api, "/v1/plans", {"id": code, "name": code, "billing_period": "monthly", **more})


async def feature(api: httpx.AsyncClient, code: str, kind: str) -> dict[str, Any]:
    """Create a feature."""
    return await made(api, "/v1/features", {"code": code, "name": code.title(), "feature_type": kind})


async def granted(api: httpx.AsyncClient, plan_id: str) -> dict[str, str]:
    """List what a plan grants, as kept."""
    rows = (await api.get("/v1/entitlements", params={"plan_id": plan_id})).json()
    return {row["feature_code"]: row["value"] for row in rows}


async def test_b40_a_feature_is_created_read_changed_and_deleted(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    shown = await feature(api, "seats", "quantity")
    assert (shown["code"], shown["name"], shown["feature_type"]) == ("seats", "Seats", "quantity")
    await refused(api, "/v1/features", {"code": "seats", "name": "S", "feature_type": "custom"}, 409, "feature_exists")
    await refused(api, "/v1/features", {"code": "plan_counts", "name": "S", "feature_type": "custom"}, 422)
    await refused(api, "/v1/features", {"code": "s", "name": "S", "feature_type": "colour"}, 422)
    for ref in ("seats", shown["id"], shown["uuid"]):
        assert (await api.get(f"/v1/features/{ref}")).json() == shown
    await refused(stranger, "/v1/features/seats", None, 404, "feature_not_found", method="GET")
    changed = (await api.patch("/v1/features/seats", json={"description": "Users"})).json()
    assert (changed["description"], changed["name"]) == ("Users", "Seats")
    for body in ({"feature_type": "boolean"}, {"code": "chairs"}):
        await refused(api, "/v1/features/seats", body, 422, "immutable", method="PUT")
    assert [row["code"] for row in (await api.get("/v1/features")).json()] == ["seats"]
    assert (await api.get("/v1/features", params={"feature_type": "boolean"})).json() == []
    assert (await api.delete("/v1/features/seats")).status_code == 204
    await refused(api, "/v1/features/seats", None, 404, "feature_not_found", method="GET")
    await feature(api, "seats", "boolean")


async def test_b40_a_plan_shows_what_its_entitlements_grant(api: httpx.AsyncClient) -> None:
    await plan(api, "pro")
    kinds = {"boolean": "TRUE", "quantity": "10.50", "custom": "gold"}
    made_ones = {}
    for kind, value in kinds.items():
        found = await feature(api, kind, kind)
        body = {"plan_id": "pro", "feature_id": found["id"], "value": value}
        made_ones[kind] = await made(api, "/v1/entitlements", body)
        await refused(api, "/v1/entitlements", body, 409, "entitlement_exists")
    assert (await api.get("/v1/plans/pro")).json()["entitlements"] == {
        "boolean": True,
        "quantity": 10.5,
        "custom": "gold",
    }
    seats = made_ones["quantity"]
    assert (seats["value"], seats["plan_id"], seats["feature_code"]) == ("10.5", "pro", "quantity")
    path = f"/v1/entitlements/{seats['id']}"
    assert (await api.get(path)).json() == seats
    assert (await api.patch(path, json={"value": "20"})).json()["value"] == "20"
    assert (await api.put(path, json={})).json()["value"] == "20"
    await refused(api, path, {"plan_id": "other"}, 422, "immutable", method="PATCH")
    counts = (await api.get("/v1/features/plan_counts")).json()
    assert counts[seats["feature_id"]] == 1
    await refused(api, "/v1/features/quantity", None, 409, "feature_in_use", method="DELETE")
    assert (await api.delete(path)).status_code == 204
    assert (await api.get("/v1/plans/pro")).json()["entitlements"] == {"boolean": True, "custom": "gold"}
    await refused(api, path, None, 404, "entitlement_not_found", method="DELETE")
    assert (await api.delete("/v1/features/quantity")).status_code == 204


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", "yes"),
        ("boolean", "1"),
        ("quantity", "ten"),
        ("quantity", "-1"),
        ("quantity", "NaN"),
        ("custom", ""),
    ],
)
async def test_b40_a_value_is_of_its_features_type(api: httpx.AsyncClient, kind: str, value: str) -> None:
    await plan(api, "pro")
    await feature(api, "f", kind)
    problem = await refused(api, "/v1/entitlements", {"plan_id": "pro", "feature_id": "f", "value": value}, 422)
    assert fields_of(problem) == ["value"]
    for body in ({"plan_id": "none", "feature_id": "f"}, {"plan_id": "pro", "feature_id": "none"}):
        await refused(api, "/v1/entitlements", {**body, "value": "1"}, 404)


async def test_b39_a_plans_embedded_object_makes_features_and_entitlements(api: httpx.AsyncClient) -> None:
    shown = await plan(api, "pro", entitlements=SETS)
    assert shown["entitlements"] == SETS
    kinds = {row["code"]: row["feature_type"] for row in (await api.get("/v1/features")).json()}
    assert kinds == {"sso": "boolean", "seats": "quantity", "support": "custom"}
    assert await granted(api, "pro") == {"sso": "true", "seats": "10", "support": "gold"}
    changed = (await api.patch("/v1/plans/pro", json={"entitlements": {"sso": False, "seats": "25"}})).json()
    assert (changed["version"], changed["entitlements"]) == (1, {"sso": False, "seats": 25})
    assert (await api.patch("/v1/plans/pro", json={"name": "Pro 2"})).json()["entitlements"] == changed["entitlements"]
    assert (await api.get("/v1/plans")).json()[0]["entitlements"] == changed["entitlements"]
    log = (await api.get(f"/v1/audit_logs/plan/{shown['uuid']}")).json()
    assert any(entry["changes"].get("entitlements", {}).get("old") == {**SETS, "seats": "10"} for entry in log)
    emptied = await api.put("/v1/plans/pro", json={"entitlements": {"sso": None}})
    assert emptied.json()["entitlements"] == {}


async def test_b39_a_plan_cannot_change_what_a_feature_is(api: httpx.AsyncClient) -> None:
    await feature(api, "seats", "quantity")
    body = {"id": "pro", "name": "Pro", "billing_period": "monthly", "entitlements": {"seats": True}}
    problem = await refused(api, "/v1/plans", body, 422, "unfit_value")
    assert fields_of(problem) == ["entitlements.seats"]
    await refused(api, "/v1/plans/pro", None, 404, method="GET")
    shown = await plan(api, "pro", entitlements={"seats": 3})
    assert shown["entitlements"] == {"seats": 3}
    assert len((await api.get("/v1/features")).json()) == 1


async def test_b41_entitlements_are_copied_to_another_plan(api: httpx.AsyncClient) -> None:
    await plan(api, "pro", entitlements=SETS)
    await plan(api, "scale", entitlements={"seats": 1, "audit": True})
    answer = await api.post("/v1/entitlements/copy", json={"source_plan_id": "pro", "target_plan_id": "scale"})
    assert (answer.status_code, len(answer.json())) == (201, 4)
    assert await granted(api, "scale") == {**await granted(api, "pro"), "audit": "true"}
    same = {"source_plan_id": "pro", "target_plan_id": "pro"}
    await refused(api, "/v1/entitlements/copy", same, 422)
    await refused(api, "/v1/entitlements/copy", {**same, "target_plan_id": "none"}, 404, "plan_not_found")


async def test_a_deleted_plan_grants_nothing_and_frees_its_features(
    api: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    await plan(api, "pro", entitlements=SETS)
    (first, *_) = (await api.get("/v1/entitlements")).json()
    assert (await stranger.get("/v1/entitlements")).json() == []
    await refused(stranger, f"/v1/entitlements/{first['id']}", None, 404, "entitlement_not_found", method="GET")
    assert (await api.delete("/v1/plans/pro")).status_code == 204
    assert (await api.get("/v1/entitlements")).json() == []
    assert set((await api.get("/v1/features/plan_counts")).json().values()) == {0}
    assert (await api.delete("/v1/features/seats")).status_code == 204
