"""Bad input, one test for each kind: refused with its place, or kept with its reason; never counted wrongly."""

from typing import Any

import httpx
import pytest

from tests.usage.conftest import Shop


def event(key: str, **more: Any) -> dict[str, Any]:
    return {"customer_id": "acme", "metric_key": "api_calls", "value": 1, "idempotency_key": key, **more}


async def send_raw(shop: Shop, value: str) -> httpx.Response:
    body = f'{{"customer_id": "acme", "metric_key": "api_calls", "value": {value}}}'
    return await shop.http.post("/v1/events", content=body, headers={"content-type": "application/json"})


async def test_an_unknown_field_is_refused_by_name(shop: Shop) -> None:
    await shop.ready()
    refused = await shop.send(valeu=2, status=422)
    assert (refused["code"], refused["errors"][0]["field"]) == ("unknown_field", "valeu")


async def test_a_property_that_is_no_number_is_skipped_and_visible(shop: Shop) -> None:
    await shop.metric("traffic", field_name="bytes")
    await shop.plan(metric="traffic")
    await shop.customer()
    subscription = await shop.subscription()
    sent = await shop.send(metric_key="traffic", value=None, properties={"bytes": "lots"})
    assert sent["skip_reason"] == "property_not_numeric"
    await shop.send(metric_key="traffic", value=None, properties={"bytes": "12"})
    assert await shop.units(subscription) == "12"
    entries = (await shop.http.get("/v1/activity", params={"type": "event", "status": "skipped"})).json()
    assert [entry["reason"] for entry in entries] == ["property_not_numeric"]


async def test_thirty_digits_stay_exact(shop: Shop) -> None:
    subscription = await shop.ready()
    for _ in range(3):
        assert (await send_raw(shop, "123456789012.123456789012345678")).status_code == 202
    assert await shop.units(subscription) == "370370367036.370370367037037034"


async def test_what_no_number_can_be_is_refused(shop: Shop) -> None:
    for value in ("1e400", "-1e400", "NaN", "Infinity", "-Infinity", '"NaN"', '"1e400"', "1e21", '"1_000"'):
        assert (await send_raw(shop, value)).status_code == 422, value
        answer = await shop.http.post(
            "/v1/events/batch",
            content=f'[{{"customer_id": "acme", "metric_key": "api_calls", "value": {value}}}]',
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 422, value
    assert (await shop.http.get("/v1/events")).json() == []


async def test_a_key_twice_in_one_batch_counts_once(shop: Shop) -> None:
    subscription = await shop.ready()
    batch = [event("a", value=2), event("a", value=2), event("a", value=2.0), event("b")]
    answer = (await shop.http.post("/v1/events/batch", json=batch)).json()
    assert (answer["accepted"], answer["duplicates"], answer["conflicts"]) == (2, 2, [])
    assert await shop.units(subscription) == "3"


async def test_a_key_with_another_body_leaves_the_first(shop: Shop) -> None:
    subscription = await shop.ready()
    first = event("k", value=2, timestamp="2026-04-03T09:30:00Z", properties={"region": "eu", "size": 1.5})
    stored = await shop.send(**first)
    alike = {**first, "value": "2.0", "properties": {"size": 1.50, "region": "eu"}}
    assert (await shop.send(**alike))["duplicate"] is True
    changes: list[dict[str, Any]] = [
        {"value": 3},
        {"properties": {"region": "us", "size": 1.5}},
        {"properties": None},
        {"customer_id": "other"},
        {"metric_key": "nope"},
        {"subscription_id": subscription},
        {"timestamp": "2026-04-03T09:30:01Z"},
    ]
    for change in changes:
        refused = await shop.send(status=409, **{**first, **change})
        assert (refused["code"], refused["event_id"]) == ("idempotency_conflict", stored["id"]), change
    assert (await shop.http.get("/v1/events/k")).json()["value"] == 2


def half_bad() -> list[dict[str, Any]]:
    wrong: list[dict[str, Any]] = [
        {"value": "x"},
        {"metric_key": None},
        {"valeu": 1},
        {"timestamp": "2199-01-01T00:00:00Z"},
    ]
    return [event(f"k{place}", **(wrong[place // 2] if place % 2 else {})) for place in range(8)]


async def test_half_a_batch_malformed_refuses_it_whole(shop: Shop) -> None:
    await shop.ready()
    answer = await shop.http.post("/v1/events/batch", json=half_bad())
    assert (answer.status_code, answer.json()["invalid_indexes"]) == (422, [1, 3, 5])
    well_formed = [each for each in half_bad() if each["idempotency_key"] not in ("k1", "k3", "k5")]
    answer = await shop.http.post("/v1/events/batch", json=well_formed)
    assert (answer.status_code, answer.json()["invalid_indexes"]) == (422, [4])
    assert (await shop.http.get("/v1/events")).json() == []


@pytest.mark.parametrize("path", ["/v1/events/batch", "/v1/usage"])
async def test_partial_stores_the_good_and_lists_the_bad(shop: Shop, path: str) -> None:
    subscription = await shop.ready()
    body = [*half_bad(), event("k9", metric_key="nope"), event("k0", value=7)]
    answer = await shop.http.post(f"{path}?partial=true", json={"events": body})
    assert answer.status_code in (200, 202), answer.text
    document = answer.json()
    assert document["accepted"] == 5
    rejected = [(each["index"], each["errors"][0]["code"]) for each in document["rejected"]]
    codes = ["not_a_number", "missing", "unknown_field", "timestamp_in_future"]
    assert rejected == list(zip([1, 3, 5, 7], codes, strict=True))
    named = [each["errors"][0]["field"].split(".")[1] for each in document["rejected"]]
    assert named == ["1", "3", "5", "7"]
    assert [(each["index"], each["reason"]) for each in document["skipped"]] == [(8, "unknown_metric")]
    assert [each["index"] for each in document["conflicts"]] == [9]
    assert await shop.units(subscription) == "4"


async def test_partial_refuses_what_has_nothing_good(shop: Shop) -> None:
    answer = await shop.http.post("/v1/events/batch?partial=true", json=[event("a", value="x")])
    assert (answer.status_code, answer.json()["invalid_indexes"]) == (422, [0])
    answer = await shop.http.post("/v1/events/batch?partial=true", json=[event("a", timestamp="2199-01-01T00:00:00Z")])
    assert (answer.status_code, answer.json()["invalid_indexes"]) == (422, [0])
    far = event("b", timestamp="2199-01-01T00:00:00Z")
    answer = await shop.http.post("/v1/events/batch?partial=true", json=[event("a", value="x"), far])
    assert answer.json()["invalid_indexes"] == [0, 1]
    assert [each["field"] for each in answer.json()["errors"]] == ["events.0.value", "events.1.timestamp"]
    assert (await shop.http.post("/v1/events/batch?partial=maybe", json=[event("a")])).status_code == 422
