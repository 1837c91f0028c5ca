"""B10-B20: keys, headers, rotation, the dashboard's generate action."""

import re
from typing import Any

import httpx
import pytest

from tests.behaviours.test_tenancy import bearer, listed, made
from tests.support.stack import Stack

HEADERS = ("Authorization", "x-api-key", "x-usageflow-api-key")


def key_of(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


def header(name: str, key: str) -> dict[str, str]:
    return {name: f"Bearer {key}" if name == "Authorization" else key}


@pytest.fixture
async def anonymous(stack: Stack) -> Any:
    """A client that carries no key of its own."""
    async with stack.caller() as opened:
        yield opened


async def test_b10_bearer_works_on_every_request(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/customers")).status_code == 200
    for path in ("/v1/customers", "/v1/plans", "/api/v1/projects", "/v1/organizations/current", "/v1/audit_logs/"):
        answer = await anonymous.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_api_key")


async def test_b11_x_api_key_carries_the_key(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    usage = [{"subscription": "sub.x", "product_item": "item.x", "meter": "meter.x", "value": 42}]
    answer = await anonymous.post("/api/v1/usage", json=usage, headers={"x-api-key": key_of(client)})
    assert answer.status_code == 200, answer.text


async def test_b12_x_usageflow_api_key_carries_the_key(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    headers = {"x-usageflow-api-key": key_of(client), "Idempotency-Key": "unique-event-id"}
    event = {"metric": "API_CALL", "amount": 1, "customerId": "user_123"}
    answer = await anonymous.post("/api/track", json=event, headers=headers)
    assert 200 <= answer.status_code < 300, answer.text


async def test_b13_the_header_forms_are_interchangeable(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    await made(client, "/v1/customers", {"id": "cust_acme", "name": "Acme"})
    key = key_of(client)
    answers = [await anonymous.get("/v1/customers", headers=header(name, key)) for name in HEADERS]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    both = {**header("Authorization", key), "x-api-key": "wrong"}
    assert (await anonymous.get("/v1/customers", headers=both)).status_code == 200
    other = {**header("Authorization", "wrong"), "x-api-key": key}
    assert (await anonymous.get("/v1/customers", headers=other)).status_code == 401


async def test_b14_secret_keys_start_with_sk(client: httpx.AsyncClient) -> None:
    assert re.fullmatch(r"sk_live_[0-9a-f]{64}", (await made(client, "/v1/api-keys", {"name": "ci"}))["key"])
    test = await made(client, "/v1/api-keys", {"name": "ci", "environment": "test"})
    assert test["key"].startswith("sk_test_")
    projects = (await client.get("/v1/projects", headers=bearer(test["key"]))).json()
    assert [project["environment"] for project in projects if project["active"]] == ["test"]


async def test_b15_ingest_keys_look_like_uf_live(client: httpx.AsyncClient, anonymous: httpx.AsyncClient) -> None:
    key = await made(client, "/api/api-keys", {"name": "backend"})
    assert key["key"].startswith("uf_live_")
    headers = {"x-usageflow-api-key": key["key"], "Idempotency-Key": "e1"}
    event = {"metric": "API_CALL", "amount": 1, "customerId": "user_123"}
    assert (await anonymous.post("/api/track", json=event, headers=headers)).status_code == 202


async def test_b16_keys_are_rotated_per_environment(client: httpx.AsyncClient) -> None:
    live = await made(client, "/v1/api-keys", {"name": "live"})
    test = await made(client, "/v1/api-keys", {"name": "test", "environment": "test"})
    assert (await client.delete(f"/v1/api-keys?id={live['id']}")).status_code == 204
    assert (await client.get("/v1/customers", headers=bearer(live["key"]))).status_code == 401
    assert (await client.get("/v1/customers", headers=bearer(test["key"]))).status_code == 200


async def test_b17_a_key_is_restricted_to_its_projects(client: httpx.AsyncClient) -> None:
    first, second = await listed(client, "/v1/projects")
    key = await made(client, "/v1/api-keys", {"name": "first only", "project_ids": [first]})
    assert key["project_ids"] == [first]
    assert (await client.get("/v1/customers", headers=bearer(key["key"]))).status_code == 200
    elsewhere = {**bearer(key["key"]), "X-Project-Id": second}
    assert (await client.get("/v1/customers", headers=elsewhere)).status_code == 403
    selecting = await client.patch("/v1/projects", json={"project_id": second}, headers=bearer(key["key"]))
    assert selecting.status_code == 403


async def test_b18_keys_are_rotated_and_revoked(client: httpx.AsyncClient) -> None:
    async def status(key: str) -> int:
        return (await client.get("/v1/customers", headers=bearer(key))).status_code

    path = "/v1/organizations/current/api_keys"
    old = await made(client, path, {"name": "second"})
    answer = await client.post(f"{path}/{old['id']}/rotate")
    assert answer.status_code == 200
    new = answer.json()
    assert new["raw_key"] == new["key"] != old["key"]
    assert (await status(old["key"]), await status(new["key"])) == (401, 200)
    answer = await client.post(f"/v1/api-keys/{new['id']}/rotate", json={"overlap_seconds": 600})
    newest = answer.json()
    assert (await status(new["key"]), await status(newest["key"])) == (200, 200)
    assert (await client.delete(f"{path}/{newest['id']}")).status_code == 204
    assert await status(newest["key"]) == 401
    assert (await client.delete(f"{path}/{newest['id']}")).status_code == 404


async def test_b18_a_revoked_key_is_refused_at_once_for_usage_too(
    client: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    key = await made(client, "/api/api-keys", {"name": "backend"})
    event = {"metric": "API_CALL", "amount": 1, "customerId": "user_123"}

    async def track(name: str) -> int:
        headers = {"x-usageflow-api-key": key["key"], "Idempotency-Key": name}
        return (await anonymous.post("/api/track", json=event, headers=headers)).status_code

    assert [await track(name) for name in ("first", "second")] == [202, 202]
    assert (await client.delete("/v1/api-keys", params={"id": key["id"]})).status_code == 204
    assert await track("after") == 401


async def test_b19_a_secret_is_shown_once(client: httpx.AsyncClient) -> None:
    key = await made(client, "/v1/api-keys", {"name": "ci"})
    for path in ("/v1/api-keys", "/v1/organizations/current/api_keys"):
        entries = (await client.get(path)).json()
        assert key["id"] in [entry["id"] for entry in entries]
        for entry in entries:
            assert key["key"] not in map(str, entry.values())
            assert "raw_key" not in entry
    assert key["key"] not in (await client.get("/v1/audit_logs")).text


async def test_b20_the_dashboard_generates_keys(stack: Stack, client: httpx.AsyncClient) -> None:
    async with stack.caller(follow_redirects=True) as browser:
        page = await browser.post("/ui/login", data={"key": key_of(client)})
        assert "Overview" in page.text
        page = await browser.get("/ui/keys")
        csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert csrf
        page = await browser.post("/ui/keys", data={"csrf": csrf[1], "name": "backend"})
        secret = re.search(r"sk_live_[0-9a-f]{64}", page.text)
        assert secret
        assert secret[0] not in (await browser.get("/ui/keys")).text
    assert (await client.get("/v1/customers", headers=bearer(secret[0]))).status_code == 200
