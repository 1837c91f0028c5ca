"""Item 36: an id that was accepted can be read, changed and deleted; one that cannot is refused."""

from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import shop, subscribe

pytestmark = pytest.mark.stack

ODD = ["a/b", ".", "..", "a/../b", "/", "a\nb", "%2e%2e"]


@pytest.mark.parametrize("odd", ODD)
async def test_item_36_a_subscription_id_is_refused_or_reachable(client: httpx.AsyncClient, odd: str) -> None:
    await shop(client)
    body = {"external_id": odd, "customer_id": "c", "plan_id": "p", "started_at": "2025-04-01T00:00:00Z"}
    made = await client.post("/v1/subscriptions", json=body)
    if made.status_code == 422:
        return
    path = f"/v1/subscriptions/{quote(odd, safe='')}"
    requests: list[tuple[str, Any]] = [("GET", None), ("PATCH", {"metadata": {"a": "1"}}), ("DELETE", None)]
    for method, sent in requests:
        answer = await client.request(method, path, json=sent)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"


@pytest.mark.parametrize("odd", [*ODD, "corrections", "volume"])
async def test_item_36_an_event_id_is_refused_or_reachable(client: httpx.AsyncClient, odd: str) -> None:
    await shop(client)
    await subscribe(client)
    event = {"customer_id": "c", "metric_key": "u", "value": 1, "idempotency_key": odd}
    if (await client.post("/v1/events", json=event)).status_code == 422:
        return
    path = f"/v1/events/{quote(odd, safe='')}"
    read = await client.get(path)
    assert (read.status_code, read.headers["content-type"]) == (200, "application/json"), read.text
    assert read.json()["idempotency_key"] == odd
    assert (await client.post(f"{path}/amend", json={"value": 2})).status_code == 200
    assert (await client.post(f"{path}/void", json={})).status_code == 200


async def test_item_36_a_reservation_names_its_event_by_a_key_that_paths_take(client: httpx.AsyncClient) -> None:
    await shop(client)
    subscription = await subscribe(client)
    path = f"/v1/subscriptions/{subscription['id']}/reservations"
    reserved = await post(client, path, {"metric": "u", "quantity": 1})
    for odd in ("a/b", ".", "corrections"):
        refused = await client.post(f"/v1/reservations/{reserved['id']}/commit", json={"idempotency_key": odd})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "idempotency_key"), refused.text


async def test_item_36_tracking_makes_no_customer_that_paths_cannot_name(client: httpx.AsyncClient) -> None:
    await shop(client)
    for odd in ("a/b", ".."):
        refused = await client.post("/api/track", json={"metric": "u", "amount": 1, "customerId": odd})
        assert refused.status_code == 422, refused.text
    assert [each["id"] for each in await get(client, "/v1/customers")] == ["c"]


@pytest.mark.parametrize("odd", ["a/b", ".", ".."])
@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("/v1/customers", "id", {"name": "x"}),
        ("/v1/metrics", "key", {"name": "x", "aggregation": "sum"}),
        ("/v1/plans", "id", {"name": "x", "currency": "usd", "billing_period": "monthly", "charges": []}),
        ("/v1/coupons", "code", {"name": "x", "coupon_type": "percentage", "percentage_rate": "10"}),
        ("/v1/add_ons", "code", {"name": "x", "amount_cents": "100", "amount_currency": "USD"}),
        ("/v1/billing_entities", "code", {"name": "x"}),
        ("/v1/features", "code", {"name": "x", "feature_type": "boolean"}),
    ],
)
async def test_item_36_ids_of_other_resources_are_refused_or_reachable(
    client: httpx.AsyncClient, path: str, field: str, body: dict[str, Any], odd: str
) -> None:
    made = await client.post(path, json={**body, field: odd})
    assert made.status_code in (201, 422), made.text
    if made.status_code == 201:
        read = await client.get(f"{path}/{quote(odd, safe='')}")
        assert (read.status_code, read.json().get(field)) == (200, odd), read.text


async def test_item_36_the_audit_log_takes_the_shown_id(client: httpx.AsyncClient) -> None:
    await shop(client)
    subscription = await subscribe(client)
    customer = await get(client, "/v1/customers/c")
    by_uuid = await get(client, f"/v1/audit_logs/customer/{customer['uuid']}")
    assert by_uuid
    assert await get(client, "/v1/audit_logs/customer/c") == by_uuid
    assert await get(client, f"/v1/audit_logs/subscription/{subscription['id']}")
    assert await get(client, "/v1/audit_logs/plan/p")
    assert await get(client, "/v1/audit_logs/metric/u")
