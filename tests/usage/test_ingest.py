"""The ingest routes: shapes, duplicates, references, refusals."""

import asyncio
from typing import Any

import pytest

from tests.api.conftest import Service, bearer
from tests.usage.conftest import Shop


async def test_an_event_is_accepted_and_counts(shop: Shop) -> None:
    await shop.ready()
    answer = await shop.send(idempotency_key="k-1", value=3)
    assert answer["status"] == "accepted"
    assert answer["idempotency_key"] == "k-1"
    assert await shop.status_of(answer["id"]) == ("counted", None)


async def test_a_retry_succeeds_and_another_content_is_a_conflict(shop: Shop) -> None:
    await shop.ready()
    first = await shop.send(idempotency_key="k", value=3)
    again = await shop.send(idempotency_key="k", value=3.0)
    assert (again["id"], again["duplicate"]) == (first["id"], True)
    refused = await shop.send(idempotency_key="k", value=4, status=409)
    assert refused["code"] == "idempotency_conflict"
    stored = (await shop.http.get("/v1/events/k")).json()
    assert stored["value"] == 3


async def test_a_batch_counts_duplicates_and_lists_conflicts(shop: Shop) -> None:
    await shop.ready()

    def event(key: str, value: int) -> dict[str, Any]:
        return {"customer_id": "acme", "metric_key": "api_calls", "value": value, "idempotency_key": key}

    batch = [event("a", 1), event("b", 1), event("a", 1), event("b", 2), {**event("c", 1), "metric_key": "nope"}]
    answer = (await shop.http.post("/v1/events/batch", json=batch)).json()
    assert (answer["accepted"], answer["duplicates"]) == (3, 1)
    assert [(each["index"], each["idempotency_key"]) for each in answer["conflicts"]] == [(3, "b")]
    assert [(each["index"], each["reason"]) for each in answer["skipped"]] == [(4, "unknown_metric")]
    again = (await shop.http.post("/v1/events/batch", json={"events": batch})).json()
    assert (again["accepted"], again["duplicates"], len(again["conflicts"])) == (0, 4, 1)


async def test_parallel_duplicates_count_once(shop: Shop) -> None:
    await shop.ready()
    answers = await asyncio.gather(*(shop.send(idempotency_key="same", value=7) for _ in range(20)))
    assert sum(not answer["duplicate"] for answer in answers) == 1
    assert len({answer["id"] for answer in answers}) == 1


REASONS = [
    ({"metric_key": "nope"}, "unknown_metric"),
    ({"customer_id": "nobody"}, "unknown_customer"),
    ({"subscription_id": "sub.none"}, "unknown_subscription"),
    ({"timestamp": "2025-12-31T23:59:59Z"}, "before_subscription_start"),
    ({"customer_id": "without"}, "no_subscription_charges_metric"),
    ({"customer_id": "without", "subscription_id": "SUB"}, "subscription_of_other_customer"),
]


@pytest.mark.parametrize(("change", "reason"), REASONS, ids=[reason for _, reason in REASONS])
async def test_what_cannot_count_is_kept_with_its_reason(shop: Shop, change: dict[str, Any], reason: str) -> None:
    subscription = await shop.ready()
    await shop.customer("without")
    if change.get("subscription_id") == "SUB":
        change = {**change, "subscription_id": subscription}
    answer = await shop.send(**change)
    assert answer["skip_reason"] == reason
    assert await shop.status_of(answer["id"]) == ("skipped", reason)


BAD = [
    ({"value": "x"}, "not_a_number"),
    ({"value": True}, "not_a_number"),
    ({"value": {}}, "not_a_number"),
    ({"value": 123456789012345678901}, "not_a_number"),
    ({"value": "1.1234567890123456789"}, "not_a_number"),
    ({"metric_key": None}, "missing"),
    ({"metric_key": ""}, "invalid_reference"),
    ({"metric_key": "x" * 256}, "invalid_reference"),
    ({"customer_id": None}, "missing"),
    ({"customer_id": 5}, "invalid_reference"),
    ({"timestamp": "yesterday"}, "invalid_timestamp"),
    ({"timestamp": 1712}, "invalid_timestamp"),
    ({"timestamp": "0001-01-01T00:00:00+23:00"}, "invalid_timestamp"),
    ({"properties": []}, "invalid_type"),
    ({"valeu": 1}, "unknown_field"),
    ({"timestamp": "2199-01-01T00:00:00Z"}, "timestamp_in_future"),
]


@pytest.mark.parametrize(("change", "code"), BAD)
async def test_structural_mistakes_are_refused(shop: Shop, change: dict[str, Any], code: str) -> None:
    refused = await shop.send(status=422, **change)
    assert refused["code"] == code
    assert refused["errors"][0]["code"] == code
    batch = [{"customer_id": "acme", "metric_key": "api_calls", "value": 1}]
    batch.append({**batch[0], **change})
    answer = await shop.http.post("/v1/events/batch", json=batch)
    assert answer.status_code == 422, answer.text
    assert answer.json()["invalid_indexes"] == [1]
    assert (await shop.http.get("/v1/events")).json() == []


async def test_thirty_digits_are_kept_exactly(shop: Shop) -> None:
    await shop.ready()
    body = b'{"customer_id":"acme","metric_key":"api_calls","value":123456789012.123456789012345678,'
    body += b'"properties":{"p":0.1234567890123456789012345},"idempotency_key":"long"}'
    assert (await shop.http.post("/v1/events", content=body)).status_code == 202
    assert b"123456789012.123456789012345678" in (await shop.http.get("/v1/events/long")).content
    assert b"0.1234567890123456789012345" in (await shop.http.get("/v1/events/long")).content
    assert (await shop.http.post("/v1/events", content=body)).json()["duplicate"] is True


async def test_both_usagebox_shapes_on_both_prefixes(shop: Shop) -> None:
    subscription = await shop.ready()
    by_keys = [{"subscription": "sub.x", "product_item": "item.y", "meter": "meter.api-calls", "value": 42}]
    by_ids = {"events": [{"subscription_id": subscription, "meter_id": "api_calls", "quantity": 1}]}
    for prefix in ("/v1", "/api/v1"):
        for body in (by_keys, by_ids):
            answer = await shop.http.post(f"{prefix}/usage", json=body)
            assert answer.status_code == 200, answer.text
            assert "Usage batch accepted" in answer.text
    assert (await shop.http.post("/v1/usage", json=[{**by_keys[0], "value": None}])).status_code == 422


async def test_boxbilling_bodies_get_boxbilling_answers(shop: Shop) -> None:
    await shop.metric("bytes", field_name="size")
    await shop.plan("plan_b", "bytes")
    await shop.customer()
    await shop.subscription(plan="plan_b")

    def event(key: str, **properties: Any) -> dict[str, Any]:
        return {
            "transaction_id": key,
            "external_customer_id": "acme",
            "code": "bytes",
            "timestamp": "2026-02-01T00:00:00Z",
            "properties": properties,
        }

    answer = await shop.http.post("/v1/events", json=event("t-1", size=150))
    assert answer.status_code == 201, answer.text
    assert answer.json()["transaction_id"] == "t-1"
    assert (answer.json()["value"], answer.json()["status"]) == (150, "counted")
    again = await shop.http.post("/v1/events", json=event("t-1", size=2))
    assert (again.status_code, again.json()["value"]) == (201, 150)
    batch = {"events": [event("t-1"), event("t-2", size="0.5"), event("t-2", size="0.5"), event("t-3", size="big")]}
    answer = await shop.http.post("/v1/events/batch", json=batch)
    assert answer.status_code == 201
    assert (answer.json()["ingested"], answer.json()["duplicates"]) == (2, 2)
    assert [each["skip_reason"] for each in answer.json()["events"]] == [None, None, None, "property_not_numeric"]


async def test_a_skipped_event_counts_once_after_reprocessing(shop: Shop) -> None:
    first = await shop.send(idempotency_key="early", timestamp="2026-02-01T00:00:00Z")
    assert first["skip_reason"] == "unknown_metric"
    await shop.ready()
    for _ in range(2):
        answer = await shop.http.post("/v1/events/early/reprocess")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["status"], answer.json()["subscriptions_checked"]) == ("counted", 1)
    again = await shop.send(idempotency_key="early", timestamp="2026-02-01T00:00:00Z")
    assert again["duplicate"] is True


async def test_an_expression_is_computed_once_when_a_skipped_event_counts(shop: Shop) -> None:
    """Twice 5 is 10, also for an event that waited for its subscription, and 14 for one that was amended meanwhile."""
    await shop.metric("credits", aggregation="custom", expression="value * 2")
    await shop.customer()
    for key in ("early", "wrong"):
        sent = await shop.send(metric_key="credits", value=5, idempotency_key=key, timestamp="2026-02-01T00:00:00Z")
        assert sent["skip_reason"] == "no_subscription_charges_metric"
    amended = await shop.http.post("/v1/events/wrong/amend", json={"value": 7})
    assert (amended.json()["value"], amended.json()["status"]) == (7, "skipped")
    await shop.plan(metric="credits")
    await shop.subscription()
    for key, counts_for in (("early", 10), ("wrong", 14)):
        answer = (await shop.http.post(f"/v1/events/{key}/reprocess")).json()
        assert (answer["status"], answer["value"]) == ("counted", counts_for)


async def test_track_creates_the_customer_and_reads_the_header(shop: Shop) -> None:
    body = {"metric": "API_CALL", "amount": 1000, "customerId": "user_123", "metadata": {"endpoint": "/v1/chat"}}
    for _ in range(2):
        answer = await shop.http.post("/api/track", json=body, headers={"Idempotency-Key": "unique-event-id"})
        assert answer.status_code == 202, answer.text
    stored = (await shop.http.get("/v1/events/unique-event-id")).json()
    assert stored["metadata"] == {"endpoint": "/v1/chat"}
    assert (await shop.http.get("/v1/customers/user_123")).status_code == 200
    assert (await shop.http.post("/api/track", json={**body, "amount": None})).status_code == 422


async def test_the_header_names_events_that_have_no_key(shop: Shop) -> None:
    """A retry of the whole request counts once, also of a batch; a key in the body wins, other content is refused."""
    subscription = await shop.ready()
    header = {"Idempotency-Key": "request-1"}
    one = {"customer_id": "acme", "metric_key": "api_calls", "value": 1}
    meter = [{"meter": "api_calls", "subscription": subscription, "value": 1}]
    keyed = {**one, "idempotency_key": "own"}
    for path, body in (("events", one), ("events/batch", {"events": [one, one, keyed]}), ("usage", meter)):
        for _ in range(2):
            sent = await shop.http.post(f"/v1/{path}", json=body, headers={"Idempotency-Key": f"{path}-1"})
            assert sent.status_code in (200, 202), sent.text
    assert await shop.units(subscription) == "5"
    assert (await shop.http.post("/v1/events", json=one, headers=header)).json()["idempotency_key"] == "request-1"
    assert (await shop.http.post("/v1/events", json={**one, "value": 2}, headers=header)).status_code == 409
    changed = await shop.http.post(
        "/v1/events/batch", json=[{**one, "value": 3}], headers={"Idempotency-Key": "events/batch-1"}
    )
    assert [each["idempotency_key"] for each in changed.json()["conflicts"]] == ['["events/batch-1", 0]']
    assert (await shop.http.post("/v1/events", json=one, headers={"Idempotency-Key": "k" * 256})).status_code == 422
    assert await shop.units(subscription) == "6"


async def test_a_revoked_key_is_refused_at_once(shop: Shop) -> None:
    await shop.ready()
    made = (await shop.http.post("/v1/api-keys", json={"name": "short"})).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    body = {"customer_id": "acme", "metric_key": "api_calls", "value": 1}
    assert (await shop.http.post("/v1/events", json=body, headers=headers)).status_code == 202
    assert (await shop.http.post("/v1/events", json=body, headers=headers)).status_code == 202
    assert (await shop.http.delete(f"/v1/api-keys/{made['id']}")).status_code in (200, 204)
    assert (await shop.http.post("/v1/events", json=body, headers=headers)).status_code == 401
    assert (await shop.http.post("/v1/events", json=body, headers={"Authorization": "Bearer x"})).status_code == 401


async def test_a_thousand_are_taken_and_one_more_is_not(shop: Shop) -> None:
    await shop.ready()
    many = [
        {"customer_id": "acme", "metric_key": "api_calls", "value": 0, "idempotency_key": f"m-{number}"}
        for number in range(1001)
    ]
    answer = await shop.http.post("/v1/events/batch", json={"events": many})
    assert answer.status_code == 422
    assert answer.json()["code"] == "too_many_events"
    answer = await shop.http.post("/v1/events/batch", json={"events": many[:1000]})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1000)
    assert (await shop.http.get("/v1/events?limit=1")).headers["X-Total-Count"] == "1000"


async def test_a_test_clocks_customer_lives_in_its_time(shop: Shop) -> None:
    await shop.metric()
    await shop.plan()
    (project,) = [each for each in (await shop.http.get("/v1/projects")).json() if each["active"]]
    await shop.http.patch(f"/v1/projects/{project['id']}", json={"allow_test_clocks": True})
    clock = (await shop.http.post("/v1/test_clocks", json={"frozen_time": "2026-03-01T00:00:00Z"})).json()["id"]
    await shop.customer(test_clock_id=clock)
    await shop.subscription()
    undated = await shop.send()
    stored = (await shop.http.get(f"/v1/events/{undated['id']}")).json()
    assert stored["timestamp"] == "2026-03-01T00:00:00Z"
    assert (await shop.send(timestamp="2026-03-01T00:05:00Z"))["skip_reason"] is None
    refused = await shop.send(timestamp="2026-03-01T00:05:01Z", status=422)
    assert refused["code"] == "timestamp_in_future"


async def test_another_projects_customer_is_unknown(shop: Shop, service: Service) -> None:
    await shop.ready()
    headers = bearer(await service.key("Other"))
    body = {"customer_id": "acme", "metric_key": "api_calls", "value": 1, "idempotency_key": "k"}
    first = await shop.http.post("/v1/events", json=body, headers=headers)
    assert first.json()["skip_reason"] == "unknown_metric"
    own = await shop.send(idempotency_key="k")
    assert (own["duplicate"], own["skip_reason"]) == (False, None)
