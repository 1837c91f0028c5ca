"""B39-B41: features, entitlements and the plan's embedded object, as a user of the API meets them."""

import httpx

from tests.support.quickstart import customer, made, subscription


async def test_b39_what_a_plan_embeds_is_what_its_subscription_lists(client: httpx.AsyncClient) -> None:
    embedded = {"sso": True, "seats": 10}
    await made(client, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly", "entitlements": embedded})
    assert (await client.get("/v1/plans/p")).json()["entitlements"] == embedded
    await customer(client)
    subscribed = await subscription(client, plan_id="p", external_id="sub-b39")
    for ref in ("sub-b39", subscribed["id"]):
        listed = (await client.get(f"/v1/subscriptions/{ref}/entitlements")).json()
        assert {row["feature_code"]: row["value"] for row in listed} == {"sso": "true", "seats": "10"}
    assert (await client.patch("/v1/plans/p", json={"entitlements": {"seats": 11}})).status_code == 200
    (seats,) = (await client.get("/v1/subscriptions/sub-b39/entitlements")).json()
    assert (seats["feature_name"], seats["value"], seats["plan_id"]) == ("seats", "11", "p")


async def test_b40_a_feature_and_an_entitlement_show_in_the_plan(client: httpx.AsyncClient) -> None:
    await made(client, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly"})
    feature = await made(client, "/v1/features", {"code": "seats", "name": "Seats", "feature_type": "quantity"})
    entitlement = await made(client, "/v1/entitlements", {"plan_id": "p", "feature_id": feature["id"], "value": "10"})
    assert (await client.get("/v1/plans/p")).json()["entitlements"] == {"seats": 10}
    changed = await client.patch(f"/v1/entitlements/{entitlement['id']}", json={"value": "20"})
    assert changed.json()["value"] == "20"
    assert (await client.get("/v1/plans/p")).json()["entitlements"] == {"seats": 20}


async def test_b41_entitlements_are_copied_from_one_plan_to_another(client: httpx.AsyncClient) -> None:
    embedded = {"sso": True, "seats": 10}
    await made(client, "/v1/plans", {"id": "p", "name": "P", "billing_period": "monthly", "entitlements": embedded})
    await made(client, "/v1/plans", {"id": "q", "name": "Q", "billing_period": "monthly"})
    copied = await client.post("/v1/entitlements/copy", json={"source_plan_id": "p", "target_plan_id": "q"})
    assert copied.status_code == 201
    sets = []
    for plan in ("p", "q"):
        rows = (await client.get("/v1/entitlements", params={"plan_id": plan})).json()
        sets.append({row["feature_code"]: row["value"] for row in rows})
    assert sets[0] == sets[1] == {"sso": "true", "seats": "10"}
