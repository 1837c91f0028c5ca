"""B1-B9 and B186: organizations, projects, isolation."""

from typing import Any

import httpx

from tests.support.stack import Stack

PLAN = {
    "id": "plan_t",
    "name": "T",
    "currency": "usd",
    "billing_period": "monthly",
    "charges": [{"metric_key": "api_calls", "pricing_model": "tiered", "tiers": [{"up_to": None, "unit_price": 1}]}],
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body, **options)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def listed(client: httpx.AsyncClient, path: str, field: str = "id", **options: Any) -> list[Any]:
    answer = await client.get(path, **options)
    assert answer.status_code == 200, answer.text
    return [entry[field] for entry in answer.json()]


async def test_b1_organizations_live_side_by_side(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        customer = await made(a, "/v1/customers", {"id": "cust_a", "name": "A's customer"})
        for reference in ("cust_a", customer.get("uuid", "cust_a")):
            assert (await a.get(f"/v1/customers/{reference}")).status_code == 200
            assert (await b.get(f"/v1/customers/{reference}")).status_code == 404
        assert "cust_a" in await listed(a, "/v1/customers")
        assert "cust_a" not in await listed(b, "/v1/customers")


async def test_b2_requests_are_scoped_to_the_active_project(client: httpx.AsyncClient) -> None:
    projects = (await client.get("/api/v1/projects")).json()
    first = next(project["id"] for project in projects if project["active"])
    second = (await made(client, "/v1/projects", {"name": "Second"}))["id"]
    await made(client, "/v1/products", {"name": "Pro API", "code": "pro-api"})
    assert (await client.patch("/api/v1/projects", json={"project_id": second})).status_code == 200
    assert "pro-api" not in await listed(client, "/api/v1/products", "code")
    assert (await client.patch("/api/v1/projects", json={"project_id": first})).status_code == 200
    assert "pro-api" in await listed(client, "/api/v1/products", "code")


async def test_b3_projects_isolate_resources(client: httpx.AsyncClient) -> None:
    projects = {project["environment"]: project["id"] for project in (await client.get("/v1/projects")).json()}
    await made(client, "/v1/customers", {"id": "cust_live", "name": "x"})
    await made(client, "/v1/customers", {"id": "cust_test", "name": "x"}, headers={"X-Project-Id": projects["test"]})
    key = await made(client, "/v1/api-keys", {"name": "live only", "project_ids": [projects["live"]]})
    restricted = bearer(key["key"])
    assert await listed(client, "/v1/customers", headers=restricted) == ["cust_live"]
    assert (await client.get("/v1/customers/cust_test", headers=restricted)).status_code == 404
    elsewhere = {**restricted, "X-Project-Id": projects["test"]}
    assert (await client.get("/v1/customers/cust_test", headers=elsewhere)).status_code == 403


async def test_b4_projects_are_grouped_by_environment(client: httpx.AsyncClient) -> None:
    await made(client, "/v1/projects", {"name": "Production", "environment": "live"})
    await made(client, "/v1/projects", {"name": "Staging", "environment": "test"})
    projects = (await client.get("/api/v1/projects")).json()
    environments = {project["name"]: project["environment"] for project in projects}
    assert environments.items() >= {"Production": "live", "Staging": "test"}.items()
    assert [project["active"] for project in projects].count(True) == 1
    refused = await client.post("/v1/projects", json={"name": "x", "environment": "moon"})
    assert refused.status_code == 422


async def test_b5_patch_on_the_collection_selects_the_active_project(client: httpx.AsyncClient) -> None:
    second = (await made(client, "/v1/projects", {"name": "Second"}))["id"]
    answer = await client.patch("/api/v1/projects", json={"project_id": second, "active": True})
    assert (answer.status_code, answer.json()["active"]) == (200, True)
    active = [project["id"] for project in (await client.get("/api/v1/projects")).json() if project["active"]]
    assert active == [second]
    item = await client.patch(f"/api/v1/projects/{second}", json={"name": "Renamed"})
    assert item.json()["name"] == "Renamed"
    assert (await client.patch("/v1/projects", json={"project_id": "nothing"})).status_code == 404
    assert (await client.patch("/v1/projects", json={})).status_code == 422


async def test_b6_client_chosen_ids_are_unique_per_tenant_not_globally(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        for client, name in ((a, "Acme of A"), (b, "Acme of B")):
            await made(client, "/v1/customers", {"id": "cust_acme", "name": name})
        assert (await a.get("/v1/customers/cust_acme")).json()["name"] == "Acme of A"
        assert (await b.get("/v1/customers/cust_acme")).json()["name"] == "Acme of B"
        assert (await a.post("/v1/customers", json={"id": "cust_acme", "name": "x"})).status_code == 409


async def test_b7_isolation_holds_on_every_id_position(stack: Stack) -> None:
    async with stack.client("A") as a, stack.client("B") as b:
        for client in (a, b):
            await made(client, "/v1/metrics", {"key": "api_calls", "name": "API Calls", "aggregation": "sum"})
            await made(client, "/v1/price-plans", PLAN)
        await made(a, "/v1/customers", {"id": "cust_of_a", "name": "A"})
        body = {"customer_id": "cust_of_a", "plan_id": "plan_t", "start_date": "2026-01-01T00:00:00Z"}
        assert (await b.post("/v1/subscriptions", json=body)).status_code == 404
        subscription = await made(a, "/v1/subscriptions", body)
        assert (await b.get(f"/v1/subscriptions/{subscription['id']}")).status_code == 404
        usage = [{"subscription": subscription.get("ingest_key", subscription["id"]), "meter": "api_calls", "value": 5}]
        assert (await b.post("/api/v1/usage", json=usage)).status_code == 200
        assert await listed(a, "/api/v1/activity") == []
        organization = (await a.get("/v1/organizations/current")).json()["id"]
        trail = f"/v1/audit_logs/organization/{organization}"
        assert (await a.get(trail)).json() != []
        assert (await b.get(trail)).json() == []


async def test_b8_an_organization_is_the_payer_of_its_subscription(client: httpx.AsyncClient) -> None:
    organization = (await client.get("/v1/organizations/current")).json()["id"]
    await made(client, "/api/metrics", {"name": "API Calls", "key": "API_CALL", "unit": "calls"})
    body = {"name": "Pro", "basePrice": 100, "billingCycle": "MONTHLY", "currency": "usd"}
    plan = (await made(client, "/api/plans", body))["id"]
    attached = {"metric": "API_CALL", "includedUnits": 10000, "overagePrice": 0.01}
    await made(client, f"/api/plans/{plan}/metrics", attached)
    body = {"organizationId": organization, "planId": plan, "billingCycle": "MONTHLY"}
    assert (await made(client, "/api/subscriptions", body))["status"] == "ACTIVE"
    for number, customer in enumerate(("user_123", "user_456")):
        answer = await client.post(
            "/api/track",
            json={"metric": "API_CALL", "amount": 10, "customerId": customer},
            headers={"Idempotency-Key": f"event-{number}"},
        )
        assert answer.status_code == 202, answer.text
    activity = (await client.get("/v1/activity")).json()
    assert [entry["status"] for entry in activity] != []
    assert "skipped" not in [entry["status"] for entry in activity]


async def test_b9_the_key_determines_the_current_organization(stack: Stack) -> None:
    organization = await stack.new_organization("Current")
    async with stack.caller(headers=bearer(organization["api_key"]["key"])) as client:
        current = (await client.get("/v1/organizations/current")).json()
        assert (current["id"], current["name"], current["slug"]) == (
            organization["id"],
            "Current",
            organization["slug"],
        )


async def test_b186_bodies_are_json(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/customers", content=b"name=Acme", headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "malformed_json"
