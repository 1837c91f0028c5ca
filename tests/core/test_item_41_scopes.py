"""Item 41: a key may do what its scopes say, checked in one place; an ingest key may send usage and read its own."""

from typing import Any

import httpx
import pytest

from api.http.routing import ResourceRoute
from api.routers import ROUTERS, UNVERSIONED_TOO
from models.scopes import AREAS, area_of
from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import shop, subscribe, use
from tests.support.stack import Stack

pytestmark = pytest.mark.stack

FORBIDDEN: list[tuple[str, str, Any]] = [
    ("GET", "/v1/invoices", None),
    ("GET", "/v1/customers", None),
    ("GET", "/v1/customers/c", None),
    ("GET", "/v1/audit_logs", None),
    ("GET", "/v1/api-keys", None),
    ("GET", "/v1/organizations/current/api_keys", None),
    ("GET", "/v1/organizations/current", None),
    ("GET", "/v1/projects", None),
    ("GET", "/v1/plans", None),
    ("GET", "/v1/payments", None),
    ("GET", "/v1/subscriptions", None),
    ("GET", "/v1/wallets", None),
    ("GET", "/v1/webhook_endpoints", None),
    ("POST", "/v1/plans", {"id": "q", "name": "q", "currency": "usd", "billing_period": "monthly", "charges": []}),
    ("POST", "/v1/metrics", {"key": "m", "name": "m", "aggregation": "sum"}),
    ("POST", "/v1/customers", {"id": "d", "name": "d"}),
    ("PATCH", "/v1/customers/c", {"name": "d"}),
    ("POST", "/v1/webhook_endpoints", {"url": "https://example.com/hook"}),
    ("POST", "/v1/subscriptions", {"customer_id": "c", "plan_id": "p"}),
    ("POST", "/v1/invoices", {"customer_id": "c"}),
    ("POST", "/v1/invoices/one_off", {"customer_id": "c", "line_items": [{"description": "x", "amount": "1"}]}),
    ("POST", "/v1/test_clocks", {"frozen_time": "2025-04-01T00:00:00Z"}),
    ("POST", "/v1/events/backfill", {}),
    ("PATCH", "/v1/projects", {"name": "x"}),
    ("POST", "/v1/api-keys", {"name": "x"}),
    ("POST", "/v1/portal/token", {"customer_id": "c"}),
    ("GET", "/v1/customers/c/portal_url", None),
    ("GET", "/v1/portal/auth/c", None),
]


async def ingest_key(client: httpx.AsyncClient) -> str:
    made = await post(client, "/v1/api-keys", {"name": "i", "kind": "ingest"})
    assert made["key"].startswith("uf_live_")
    return str(made["key"])


@pytest.mark.parametrize(("method", "path", "body"), FORBIDDEN, ids=lambda part: str(part)[:40])
async def test_item_41_an_ingest_key_is_refused_everywhere_but_ingestion(
    stack: Stack, client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    await shop(client)
    headers = {"authorization": f"Bearer {await ingest_key(client)}"}
    async with stack.caller(headers=headers) as sender:
        refused = await sender.request(method, path, **({} if body is None else {"json": body}))
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope"), refused.text


async def test_item_41_no_route_of_the_document_serves_an_ingest_key_but_those_of_usage(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    """The kind: every GET of OpenAPI is refused but those that read usage; found by walking, so new routes count."""
    document = await get(client, "/openapi.json")
    public = ("/healthz", "/livez", "/", "/portal", "/p/")
    own = ("usage", "/events", "/activity")
    open_ones = []
    headers = {"authorization": f"Bearer {await ingest_key(client)}"}
    async with stack.caller(headers=headers) as sender:
        for path, methods in document["paths"].items():
            operation = methods.get("get")
            if operation is None or operation.get("security") == [] or path in public:
                continue
            if any(word in path for word in own) or path.startswith("/portal"):
                continue
            answer = await sender.get(path.replace("{", "").replace("}", ""))
            if answer.status_code != 403:
                open_ones.append((path, answer.status_code))
    assert open_ones == []


async def test_item_41_an_ingest_key_does_not_log_in(stack: Stack, client: httpx.AsyncClient) -> None:
    key = await ingest_key(client)
    async with stack.caller() as browser:
        answer = await browser.post("/ui/login", data={"key": key})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), answer.text


async def test_item_41_an_ingest_key_sends_usage_and_reads_its_own(stack: Stack, client: httpx.AsyncClient) -> None:
    await shop(client)
    subscription = await subscribe(client)
    headers = {"authorization": f"Bearer {await ingest_key(client)}"}
    async with stack.caller(headers=headers) as sender:
        await use(sender, 3, "2025-04-02T00:00:00Z", idempotency_key="k")
        batch = [{"customer_id": "c", "metric_key": "u", "value": 1, "idempotency_key": "b"}]
        assert (await sender.post("/v1/events/batch", json=batch)).status_code == 202
        tracked = {"metric": "u", "amount": 1, "customerId": "c", "idempotency_key": "t"}
        assert (await sender.post("/api/track", json=tracked)).status_code == 202
        current = await sender.get(f"/v1/subscriptions/{subscription['id']}/current_usage")
        assert current.status_code == 200, current.text
        assert (await sender.get("/v1/events/k")).status_code == 200


async def test_item_41_scopes_are_given_at_creation_and_shown(client: httpx.AsyncClient) -> None:
    scopes = ["events:write", "usage:read"]
    made = await post(client, "/v1/api-keys", {"name": "s", "scopes": scopes})
    assert sorted(made["scopes"]) == scopes
    listed = {each["id"]: each for each in await get(client, "/v1/api-keys")}
    assert sorted(listed[made["id"]]["scopes"]) == scopes
    rotated = await post(client, f"/v1/api-keys/{made['id']}/rotate", {}, 200)
    assert sorted(rotated["scopes"]) == scopes
    unknown = await client.post("/v1/api-keys", json={"name": "s", "scopes": ["everything"]})
    assert unknown.status_code == 422, unknown.text


async def test_item_41_a_secret_key_with_scopes_does_no_more_than_they_say(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    await shop(client)
    made = await post(client, "/v1/api-keys", {"name": "s", "scopes": ["invoices:read"]})
    async with stack.caller(headers={"authorization": f"Bearer {made['key']}"}) as reader:
        assert (await reader.get("/v1/invoices")).status_code == 200
        for method, path in (("GET", "/v1/customers"), ("POST", "/v1/invoices"), ("POST", "/v1/events")):
            refused = await reader.request(method, path, json={"customer_id": "c", "metric_key": "u", "value": 1})
            assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope"), (path, refused.text)


async def test_item_41_a_key_that_only_reads_mints_no_portal_token(stack: Stack, client: httpx.AsyncClient) -> None:
    await shop(client)
    made = await post(client, "/v1/api-keys", {"name": "s", "scopes": ["portal:read", "customers:read"]})
    async with stack.caller(headers={"authorization": f"Bearer {made['key']}"}) as reader:
        for path in ("/portal/auth/c", "/v1/customers/c/portal_url"):
            refused = await reader.get(path)
            assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope"), (path, refused.text)


async def test_item_41_secret_keys_may_do_all_and_give_no_more_than_they_have(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    full = await post(client, "/v1/api-keys", {"name": "full"})
    assert full["scopes"], "a secret key shows its scopes"
    narrow = await post(client, "/v1/api-keys", {"name": "n", "scopes": ["api_keys:write"]})
    async with stack.caller(headers={"authorization": f"Bearer {narrow['key']}"}) as caller:
        wider = await caller.post("/v1/api-keys", json={"name": "w", "scopes": ["invoices:read"]})
    assert (wider.status_code, wider.json()["code"]) == (403, "insufficient_scope"), wider.text


def test_item_41_every_route_belongs_to_an_area() -> None:
    routers = (*ROUTERS, *UNVERSIONED_TOO)
    routes = [route for router in routers for route in router.routes if isinstance(route, ResourceRoute)]
    assert len(routes) > 150
    for route in routes:
        if not route.public:
            assert (route.area or area_of(route.path.split("/")[1])) in AREAS, route.path
