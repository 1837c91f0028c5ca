"""Items 35, 43a: what an event says is taken exactly, or refused; never guessed."""

import json

import httpx
import pytest

from tests.subscriptions.catalogue import get, post
from tests.support.core_edges import raw, shop, subscribe, use

pytestmark = pytest.mark.stack

EVENT = '{"customer_id": "c", "metric_key": "u", "timestamp": "2025-04-02T10:00:00Z"'
CLOUD = '{"specversion": "1.0", "id": "e", "source": "s", "type": "u", "subject": "c"'
SHAPES = {
    "/v1/events": "%s",
    "/v1/events/batch": '{"events": [%s]}',
    "/v1/usage": "[%s]",
    "/api/track": "%s",
    "/api/v1/usage": "[%s]",
}


async def nothing_stored(client: httpx.AsyncClient) -> None:
    assert await get(client, "/v1/events") == []


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("name", ["value", "quantity", "amount"])
async def test_item_35_a_null_value_is_refused_on_every_ingest_shape(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    await shop(client)
    await subscribe(client)
    refused = await raw(client, path, SHAPES[path] % f'{EVENT}, "{name}": null}}')
    assert refused.status_code == 422, refused.text
    await nothing_stored(client)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch"])
async def test_item_35_a_null_value_is_refused_in_a_boxbilling_body(client: httpx.AsyncClient, path: str) -> None:
    await shop(client)
    event = '{"transaction_id": "t", "external_customer_id": "c", "code": "u", "value": null}'
    assert (await raw(client, path, SHAPES[path] % event)).status_code == 422
    await nothing_stored(client)


async def test_item_35_a_null_value_is_refused_in_a_cloud_event(client: httpx.AsyncClient) -> None:
    await shop(client)
    refused = await raw(client, "/v1/events", CLOUD + ', "data": null}', "application/cloudevents+json")
    assert refused.status_code == 422, refused.text
    await nothing_stored(client)


async def test_item_35_a_null_value_among_the_properties_is_skipped_and_never_counted(
    client: httpx.AsyncClient,
) -> None:
    await shop(client)
    await subscribe(client)
    event = await raw(client, "/v1/events", EVENT + ', "properties": {"value": null}, "idempotency_key": "p"}')
    assert (event.status_code, event.json()["skip_reason"]) == (202, "property_not_numeric"), event.text
    cloud = CLOUD + ', "data": {"value": null}}'
    taken = await raw(client, "/v1/events", cloud, "application/cloudevents+json")
    assert (taken.status_code, taken.json()["skip_reason"]) == (202, "property_not_numeric"), taken.text


async def test_item_35_a_null_value_is_refused_in_a_partial_batch_and_a_backfill(client: httpx.AsyncClient) -> None:
    await shop(client)
    await subscribe(client)
    good = EVENT + ', "value": 2, "idempotency_key": "good"}'
    answer = await raw(client, "/v1/events/batch?partial=true", f'[{EVENT}, "value": null}}, {good}]')
    assert [each["index"] for each in answer.json().get("rejected", [])] == [0], answer.text
    window = {"from_timestamp": "2025-04-02T00:00:00Z", "to_timestamp": "2025-04-03T00:00:00Z"}
    event = {"value": None, "timestamp": "2025-04-02T10:00:00Z", "idempotency_key": "b"}
    body = {"metric_key": "u", "customer_id": "c", "reason": "r", "events": [event], **window}
    assert (await client.post("/v1/events/backfill", json=body)).status_code == 422
    assert [event["idempotency_key"] for event in await get(client, "/v1/events")] == ["good"]


async def test_item_35_a_null_value_is_refused_when_an_event_is_amended(client: httpx.AsyncClient) -> None:
    await shop(client)
    await subscribe(client)
    event = await use(client, 3, "2025-04-02T10:00:00Z")
    refused = await client.post(f"/v1/events/{event['id']}/amend", json={"value": None, "properties": {"a": 1}})
    assert refused.status_code == 422, refused.text


TWICE = [
    EVENT + ', "value": 1, "value": 1000}',
    EVENT + ', "value": 1, "customer_id": "other"}',
    EVENT + ', "value": 1, "properties": {"region": "eu", "region": "us"}}',
    EVENT + ', "value": 1, "properties": {"a": [{"b": 1, "\\u0062": 2}]}}',
]


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("event", TWICE)
async def test_item_35_duplicate_keys_are_refused_on_every_ingest_shape(
    client: httpx.AsyncClient, path: str, event: str
) -> None:
    await shop(client)
    await subscribe(client)
    refused = await raw(client, path, SHAPES[path] % event)
    assert (refused.status_code, refused.json().get("code")) == (400, "duplicate_json_key"), refused.text
    await nothing_stored(client)


async def test_item_35_duplicate_keys_are_refused_in_every_body(client: httpx.AsyncClient) -> None:
    await shop(client)
    bodies = {
        "/v1/customers": '{"id": "d", "name": "d", "name": "e"}',
        "/v1/plans": '{"id": "q", "name": "q", "currency": "usd", "billing_period": "monthly", "charges": '
        '[{"metric_key": null, "pricing_model": "flat_fee", "amount": "1", "amount": "1000"}]}',
        "/v1/invoices/one_off": '{"customer_id": "c", "currency": "USD", "line_items": '
        '[{"description": "x", "quantity": 1, "unit_price": 100, "unit_price": 100000}]}',
    }
    for path, body in bodies.items():
        refused = await raw(client, path, body)
        assert (refused.status_code, refused.json().get("code")) == (400, "duplicate_json_key"), refused.text
    cloud = await raw(client, "/v1/events", CLOUD + ', "data": 1, "data": 1000}', "application/cloudevents+json")
    assert (cloud.status_code, cloud.json().get("code")) == (400, "duplicate_json_key"), cloud.text


LOCAL = ["2025-04-02T10:00:00", "2025-04-02T10:00:00.250", "2025-04-02 10:00:00"]


@pytest.mark.parametrize("path", SHAPES)
@pytest.mark.parametrize("text", LOCAL)
@pytest.mark.parametrize("name", ["timestamp", "occurred_at"])
async def test_item_35_a_timestamp_without_offset_is_refused_on_every_ingest_shape(
    client: httpx.AsyncClient, path: str, text: str, name: str
) -> None:
    await shop(client)
    await subscribe(client)
    event = json.dumps({"customer_id": "c", "metric_key": "u", "value": 1, name: text})
    refused = await raw(client, path, SHAPES[path] % event)
    assert refused.status_code == 422, refused.text
    problem = refused.json()
    codes = {problem["code"], *(error["code"] for error in problem.get("errors", []))}
    assert "timestamp_without_offset" in codes, problem
    # The way out: say Z or an offset.
    assert "Z" in json.dumps(problem), problem
    await nothing_stored(client)


async def test_item_35_a_timestamp_without_offset_is_refused_wherever_an_instant_is_taken(
    client: httpx.AsyncClient,
) -> None:
    await shop(client)
    cloud = await raw(
        client, "/v1/events", CLOUD + ', "time": "2025-04-02T10:00:00", "data": 1}', "application/cloudevents+json"
    )
    assert cloud.status_code == 422, cloud.text
    local = "2025-04-02T10:00:00"
    started = await client.post("/v1/subscriptions", json={"customer_id": "c", "plan_id": "p", "start_date": local})
    assert started.status_code == 422, started.text
    assert (await client.post("/v1/test_clocks", json={"frozen_time": local})).status_code == 422
    assert (await client.get("/v1/events", params={"from_timestamp": local})).status_code == 422
    assert (await client.get("/v1/audit_logs", params={"start_date": local})).status_code == 422


async def test_item_35_plain_dates_and_offsets_stay(client: httpx.AsyncClient) -> None:
    await shop(client)
    await subscribe(client)
    for place, text in enumerate(("2025-04-02", "2025-04-02T10:00:00+02:00", "2025-04-02T08:00:00Z")):
        await use(client, 1, text, idempotency_key=f"k{place}")
    shown = {event["idempotency_key"]: event["timestamp"] for event in await get(client, "/v1/events")}
    # 10:00 at +02:00 is 08:00 UTC; a plain date is its midnight.
    assert shown == {"k0": "2025-04-02T00:00:00Z", "k1": "2025-04-02T08:00:00Z", "k2": "2025-04-02T08:00:00Z"}


FRACTIONS = ["2025-04-02T10:00:00.75Z", "2025-04-02T10:00:00.000001Z", "2025-04-02T10:00:00.999999Z"]


@pytest.mark.parametrize("text", FRACTIONS)
async def test_item_43a_an_event_time_is_shown_with_its_fraction(client: httpx.AsyncClient, text: str) -> None:
    await shop(client)
    await subscribe(client)
    await use(client, 1, text, idempotency_key="k")
    shown = str((await get(client, "/v1/events/k"))["timestamp"])
    # What is shown is the same instant: sent again it is the same event, and listing from it finds the event.
    assert float(shown.rstrip("Z").partition("T")[2][6:]) == float(text.rstrip("Z").partition("T")[2][6:]), shown
    again = await use(client, 1, shown, idempotency_key="k")
    assert again["duplicate"] is True
    assert len(await get(client, "/v1/events", from_timestamp=shown)) == 1
    assert await get(client, "/v1/events", to_timestamp=shown) == []


async def test_item_43a_corrections_and_activity_show_the_fraction(client: httpx.AsyncClient) -> None:
    await shop(client)
    await subscribe(client)
    event = await use(client, 1, "2025-04-02T10:00:00.75Z", idempotency_key="k")
    amended = await post(client, f"/v1/events/{event['id']}/amend", {"value": 2}, 200)
    (correction,) = await get(client, "/v1/events/corrections")
    assert ".75" in amended["timestamp"]
    assert ".75" in correction["timestamp"]
