"""Item 43b: an external id is free again after its subscription ended; epoch seconds where a source has them."""

from typing import Any

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import UNIT, advance, clock_at, in_test_project, plan, shop, subscribe

pytestmark = pytest.mark.stack


async def test_item_43b_an_external_id_is_free_again_after_its_subscription_ended(client: httpx.AsyncClient) -> None:
    await shop(client)
    body = {"external_id": "acme-1", "customer_id": "c", "plan_id": "p", "started_at": "2025-04-01T00:00:00Z"}
    first = await post(client, "/v1/subscriptions", body)
    taken = await client.post("/v1/subscriptions", json=body)
    assert (taken.status_code, taken.json()["code"]) == (409, "subscription_exists")
    assert (await client.delete(f"/v1/subscriptions/{first['id']}")).status_code < 300
    second = await post(client, "/v1/subscriptions", body)
    assert second["uuid"] != first["uuid"]
    # The name means the one that lives; the other is found by its own id.
    assert (await get(client, "/v1/subscriptions/acme-1"))["uuid"] == second["uuid"]
    assert (await get(client, f"/v1/subscriptions/{first['id']}"))["uuid"] == first["uuid"]


async def test_item_43b_a_canceled_one_frees_its_external_id_when_it_ends(client: httpx.AsyncClient) -> None:
    await in_test_project(client)
    clock = await clock_at(client)
    await shop(client, test_clock_id=clock)
    await plan(client, UNIT, code="q")
    body = {"external_id": "acme-1", "customer_id": "c", "plan_id": "p", "started_at": "2025-04-01T00:00:00Z"}
    first = await post(client, "/v1/subscriptions", body)
    await post(client, f"/v1/subscriptions/{first['id']}/cancel", {}, 200)
    # It runs until 1 May: the id is taken until then.
    assert (await client.post("/v1/subscriptions", json={**body, "plan_id": "q"})).status_code == 409
    await advance(client, clock, "2025-05-02T00:00:00Z")
    later = {**body, "plan_id": "q", "started_at": "2025-05-02T00:00:00Z"}
    assert (await client.post("/v1/subscriptions", json=later)).status_code == 201


async def test_item_43b_events_name_the_subscription_that_lives(client: httpx.AsyncClient) -> None:
    """Two ended ones and a live one had the id `acme-1`: usage that names it belongs to the live one."""
    await shop(client)
    body = {"external_id": "acme-1", "customer_id": "c", "plan_id": "p", "started_at": "2025-04-01T00:00:00Z"}
    for _ in range(2):
        ended = await post(client, "/v1/subscriptions", body)
        assert (await client.delete(f"/v1/subscriptions/{ended['id']}")).status_code == 204
    living = await post(client, "/v1/subscriptions", body)
    event = {"subscription_id": "acme-1", "metric_key": "u", "value": 1, "timestamp": "2025-04-02T10:00:00Z"}
    stored = await post(client, "/v1/events", event, 202)
    (shown,) = await get(client, "/v1/events", subscription_id=living["id"])
    assert (shown["id"], shown["status"]) == (stored["id"], "counted")


@pytest.mark.parametrize("odd", [-1, True, "1e9", 99999999999, "1743588000.1234567"])
async def test_item_43b_what_is_no_epoch_second_is_refused(client: httpx.AsyncClient, odd: object) -> None:
    await shop(client)
    body = {"transaction_id": "t", "external_customer_id": "c", "code": "u", "value": 1, "timestamp": odd}
    assert (await client.post("/v1/events", json=body)).status_code == 422


async def test_item_43b_epoch_seconds_are_taken_in_boxbilling_events(client: httpx.AsyncClient) -> None:
    await shop(client)
    await subscribe(client)
    # 1743588000 = 2025-04-02T10:00:00Z (20180 days of 86,400 s = 1,743,552,000, and ten hours = 36,000).
    for place, at in enumerate((1743588000, "1743588000", "1743588000.5")):
        body: dict[str, Any] = {
            "transaction_id": f"t{place}",
            "external_customer_id": "c",
            "code": "u",
            "value": 1,
            "timestamp": at,
        }
        answer = await client.post("/v1/events", json=body)
        assert answer.status_code == 201, answer.text
    times = {event["idempotency_key"]: event["timestamp"] for event in await get(client, "/v1/events")}
    assert (times["t0"], times["t1"]) == ("2025-04-02T10:00:00Z", "2025-04-02T10:00:00Z")
    assert times["t2"].startswith("2025-04-02T10:00:00")


async def test_item_43b_epoch_seconds_are_refused_where_no_shape_knows_them(client: httpx.AsyncClient) -> None:
    await shop(client)
    body = {"customer_id": "c", "metric_key": "u", "value": 1, "timestamp": 1743588000}
    assert (await client.post("/v1/events", json=body)).status_code == 422
