"""B178: third-party systems, whether they answer, and what things are called there."""

from typing import Any

import httpx
import pytest

from tests.support import quickstart
from tests.support.quickstart import made
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

XERO: dict[str, Any] = {"integration_type": "accounting", "provider_type": "xero"}


async def _tested(client: httpx.AsyncClient, settings: dict[str, Any]) -> dict[str, Any]:
    integration = await made(client, "/v1/integrations", {**XERO, "settings": settings})
    answer = await client.post(f"/v1/integrations/{integration['id']}/test")
    assert answer.status_code == 200, answer.text
    (sync,) = (await client.get(f"/v1/integrations/{integration['id']}/sync_history")).json()
    document: dict[str, Any] = answer.json()
    assert sync["status"] == ("succeeded" if document["success"] else "failed")
    assert (sync["action"], sync["error_message"]) == ("test", document["error"])
    return document


async def test_b178_an_address_that_answers_is_a_success(stack: Stack, client: httpx.AsyncClient) -> None:
    found = await _tested(client, {"base_url": f"{stack.url}/healthz", "api_key": "k"})
    assert (found["success"], found["error"], found["details"]["http_status"]) == (True, None, 200)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "base_url is missing"),
        ({"base_url": 7}, "base_url is missing"),
        ({"base_url": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"base_url": "http://169.254.169.254/latest"}, "refused"),
        ({"base_url": "ftp://files.example"}, "refused"),
        ({"base_url": "http://user:secret@example.com"}, "refused"),
        ({"base_url": "http://nothing.invalid"}, "cannot be reached"),
        ({"base_url": "http://[::"}, "refused"),
    ],
)
async def test_b178_an_address_that_does_not_answer_is_none(
    client: httpx.AsyncClient, settings: dict[str, Any], reason: str
) -> None:
    found = await _tested(client, settings)
    assert found["success"] is False
    assert reason in found["error"]


async def test_b178_secrets_are_masked_and_kept(client: httpx.AsyncClient) -> None:
    settings = {
        "base_url": "https://api.example.com",
        "api_key": "very-secret",
        "oauth": {"client_secret": "too", "scopes": ["a"]},
        "region": "eu",
    }
    made_one = await made(client, "/v1/integrations/", {**XERO, "provider_type": "Xero", "settings": settings})
    path = f"/v1/integrations/{made_one['id']}"
    shown = {**settings, "api_key": "********", "oauth": {"client_secret": "********", "scopes": ["********"]}}
    shown["oauth"] = made_one["settings"]["oauth"]
    assert (made_one["settings"], made_one["provider_type"], made_one["status"]) == (shown, "xero", "active")
    assert "too" not in str(made_one)
    changed = (await client.put(path, json={"settings": {**shown, "region": "us"}})).json()
    assert changed["settings"] == {**shown, "region": "us"}
    assert (await client.put(path, json={"settings": {"other_key": "********"}})).status_code == 422
    log = (await client.get(f"/v1/audit_logs/integration/{made_one['id']}")).text
    listed = (await client.get("/v1/integrations")).text
    assert "very-secret" not in log + listed


async def test_b178_one_integration_for_each_provider(client: httpx.AsyncClient) -> None:
    first = await made(client, "/v1/integrations", XERO)
    again = await client.post("/v1/integrations", json={**XERO, "provider": "XERO"})
    assert (again.status_code, again.json()["code"]) == (409, "integration_exists")
    other = await made(client, "/v1/integrations", {"integration_type": "crm", "provider": "hubspot", "name": "CRM"})
    assert (other["name"], other["provider"]) == ("CRM", "hubspot")
    taken = await client.put(f"/v1/integrations/{other['id']}", json={"provider_type": "xero"})
    assert taken.status_code == 409
    stopped = await client.patch(f"/v1/integrations/{other['id']}", json={"status": "inactive"})
    assert (stopped.json()["status"], stopped.json()["name"]) == ("inactive", "CRM")
    for body in ({}, {"integration_type": "crm"}, {**XERO, "settings": []}, {**XERO, "integration_type": "x" * 31}):
        assert (await client.post("/v1/integrations", json=body)).status_code == 422
    assert (await client.delete(f"/v1/integrations/{first['id']}")).status_code == 204
    assert (await client.get(f"/v1/integrations/{first['id']}")).status_code == 404
    await made(client, "/v1/integrations", XERO)


async def test_b178_what_things_are_called_there(client: httpx.AsyncClient) -> None:
    customer = await quickstart.customer(client)
    integration = await made(client, "/v1/integrations", XERO)
    path = f"/v1/integrations/{integration['id']}"
    body = {"customer_id": "cust_acme", "external_customer_id": "XERO-117"}
    mapped = await made(client, f"{path}/customers", body)
    assert mapped["customer_id"] == customer["uuid"]
    assert (await client.post(f"{path}/customers", json=body)).status_code == 409
    assert (await client.get(f"{path}/customers")).json() == [mapped]
    (seen,) = (await client.get("/v1/customers/cust_acme/integration_mappings")).json()
    assert (seen["integration_provider"], seen["external_customer_id"]) == ("xero", "XERO-117")
    plan = {"mappable_type": "plan", "mappable_id": customer["uuid"], "external_id": "item-42"}
    noted = await made(client, f"{path}/mappings", plan)
    assert (await client.get(f"{path}/mappings")).json() == [noted]
    assert (await client.post(f"{path}/mappings", json=plan)).status_code == 409
    await client.delete(path)
    assert (await client.get("/v1/customers/cust_acme/integration_mappings")).json() == []


async def test_b178_another_organization_sees_none_of_it(stack: Stack) -> None:
    async with stack.client("Ours") as ours, stack.client("Theirs") as theirs:
        path = f"/v1/integrations/{(await made(ours, '/v1/integrations', XERO))['id']}"
        for method, tail in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/sync_history")):
            body: dict[str, Any] | None = {} if method in ("PUT", "POST") else None
            answer = await theirs.request(method, path + tail, json=body)
            assert answer.status_code == 404, (method, tail)
        await made(theirs, "/v1/integrations", XERO)
