"""CloudEvents, as the official SDK writes them, in all three HTTP forms."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from tests.usage.conftest import Shop

BATCH = {"content-type": "application/cloudevents-batch+json"}


def cloud_event(data: Any = None, **attributes: Any) -> CloudEvent:
    given = {
        "id": "1",
        "source": "/gateway",
        "type": "api_calls",
        "subject": "acme",
        "specversion": "1.0",
        **attributes,
    }
    return CloudEvent({"datacontenttype": "application/json", **given}, data)


async def post(shop: Shop, message: HTTPMessage, path: str = "/v1/events") -> httpx.Response:
    return await shop.http.post(path, content=message.body, headers=message.headers)


async def post_batch(shop: Shop, *events: CloudEvent, query: str = "", path: str = "/v1/events") -> httpx.Response:
    body = b"[" + b",".join(to_structured_event(event).body for event in events) + b"]"
    return await shop.http.post(path + query, content=body, headers=BATCH)


@pytest.mark.parametrize("write", [to_structured_event, to_binary_event], ids=["structured", "binary"])
async def test_one_event_in_either_form(shop: Shop, write: Any) -> None:
    subscription = await shop.ready()
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    sent = cloud_event({"value": 2.5, "region": "eü"}, source="/gätéway 1", time=at, traceparent="00-ab-cd-01")
    answer = await post(shop, write(sent))
    assert answer.status_code == 202, answer.text
    again = await post(shop, write(sent))
    assert (again.status_code, again.json()["duplicate"]) == (202, True)
    assert await shop.units(subscription) == "2.5"
    stored = (await shop.http.get(f"/v1/events/{answer.json()['id']}")).json()
    assert (stored["customer_id"], stored["code"]) == ("acme", "api_calls")
    assert stored["properties"] == {"value": 2.5, "region": "eü"}
    assert datetime.fromisoformat(stored["timestamp"]) == at
    other = await post(shop, write(cloud_event({"value": 3, "region": "eü"}, source="/gätéway 1", time=at)))
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_both_forms_are_the_same_event(shop: Shop) -> None:
    await shop.ready()
    sent = cloud_event({"value": 1}, time=datetime.now(UTC))
    first = await post(shop, to_structured_event(sent))
    second = await post(shop, to_binary_event(sent))
    assert (second.json()["id"], second.json()["duplicate"]) == (first.json()["id"], True)


async def test_source_and_id_are_a_pair_and_never_joined(shop: Shop) -> None:
    subscription = await shop.ready()
    pairs = [
        ("a", "b,c"),
        ("a,b", "c"),
        ("a", 'b","c'),
        ('a","b', "c"),
        ("a b", "c"),
        ("a", "b c"),
        ("ab", "c"),
        ("a", "bc"),
    ]
    sent = [cloud_event({"value": 1}, source=source, id=own) for source, own in pairs]
    answer = await post_batch(shop, *sent)
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(pairs)), answer.text
    assert await shop.units(subscription) == str(len(pairs))


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/batch"])
async def test_a_batch_of_cloud_events(shop: Shop, path: str) -> None:
    subscription = await shop.ready()
    sent = [cloud_event({"value": 1}, id=str(number)) for number in range(3)]
    answer = await post_batch(shop, *sent, sent[0], path=path)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["duplicates"]) == (202, 3, 1)
    assert await shop.units(subscription) == "3"


async def test_data_is_properties_or_a_number_with_every_digit(shop: Shop) -> None:
    subscription = await shop.ready()
    head = '{"specversion":"1.0","source":"s","type":"api_calls","subject":"acme","id":"%s","data":%s}'
    exact = "123456789012.123456789012345678"
    for own, data in (("plain", exact), ("object", '{"value": %s}' % exact)):  # noqa: UP031 - the braces are JSON's
        answer = await shop.http.post(
            "/v1/events",
            content=head % (own, data),
            headers={"content-type": "application/cloudevents+json; charset=utf-8"},
        )
        assert answer.json()["skip_reason"] is None, answer.text
    assert await shop.units(subscription) == "246913578024.246913578024691356"


async def test_what_cannot_be_a_number_is_kept_and_said(shop: Shop) -> None:
    await shop.ready()
    answer = await post(shop, to_structured_event(cloud_event({"value": "many"})))
    assert (answer.status_code, answer.json()["skip_reason"]) == (202, "property_not_numeric")


async def test_a_subscription_may_be_named_by_extension(shop: Shop) -> None:
    subscription = await shop.ready()
    sent = cloud_event({"value": 4}, subscriptionid=subscription)
    message = to_structured_event(sent)
    document = json.loads(message.body)
    del document["subject"]
    answer = await shop.http.post("/v1/events", json=document, headers={"content-type": "application/cloudevents+json"})
    assert answer.status_code == 202, answer.text
    assert await shop.units(subscription) == "4"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"specversion": "0.3"}, "specversion"),
    ({"id": None}, "id"),
    ({"source": ""}, "source"),
    ({"type": 5}, "type"),
    ({"subject": None}, "subject"),
    ({"subject": "x" * 256}, "subject"),
    ({"time": "yesterday"}, "time"),
    ({"data": "text"}, "data"),
    ({"data": True}, "data"),
    ({"data": 10**30}, "data"),
    ({"data_base64": "AAAA"}, "data"),
    ({"datacontenttype": "text/plain", "data": {}}, "data"),
]


async def test_wrong_attributes_are_named(shop: Shop) -> None:
    good = json.loads(to_structured_event(cloud_event({"value": 1})).body)
    structured = {"content-type": "application/cloudevents+json"}
    for change, field in WRONG:
        wrong = {**good, **change}
        answer = await shop.http.post("/v1/events", json=wrong, headers=structured)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field), answer.text
        answer = await shop.http.post("/v1/events", json=[good, wrong], headers=BATCH)
        assert (answer.status_code, answer.json()["invalid_indexes"]) == (422, [1])
    assert (await shop.http.get("/v1/events")).json() == []
    answer = await shop.http.post("/v1/events?partial=true", json=[{**good, **WRONG[0][0]}, good], headers=BATCH)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    assert [each["index"] for each in answer.json()["rejected"]] == [0]


async def test_other_formats_and_empty_batches_are_refused(shop: Shop) -> None:
    answer = await shop.http.post(
        "/v1/events", content=b"<a/>", headers={"content-type": "application/cloudevents+xml"}
    )
    assert answer.status_code == 415
    assert (await shop.http.post("/v1/events", json=[], headers=BATCH)).status_code == 422
