"""Amending, voiding and replacing events: usage, rollups and keys right after the answer (C3)."""

import asyncio
from typing import Any

import httpx

from adapters.postgres.database import SYSTEM, Database
from tests.usage.conftest import Shop

DAY = "2026-03-05T10:00:00Z"
WINDOW = {"from_timestamp": "2026-03-05T00:00:00Z", "to_timestamp": "2026-03-06T00:00:00Z"}


async def rollups(database: Database) -> list[tuple[Any, ...]]:
    """Read every rollup: day, sum, count, max, min."""
    async with database.transaction(SYSTEM) as connection:
        rows = await connection.exec_driver_sql(
            "SELECT day::text, value_sum, event_count, value_max, value_min FROM usage_rollups ORDER BY day"
        )
        return [tuple(row) for row in rows]


async def post(http: httpx.AsyncClient, path: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
    answer = await http.post(path, json=body)
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def send_three(shop: Shop) -> None:
    for key, value in (("a", 5), ("b", 2), ("c", 9)):
        await shop.send(value=value, timestamp=DAY, idempotency_key=key)


async def test_an_amended_event_counts_its_new_value(shop: Shop, database: Database) -> None:
    await shop.ready()
    await send_three(shop)
    amended = await post(shop.http, "/v1/events/c/amend", {"value": 4.5, "reason": "typo"})
    assert (amended["value"], amended["status"]) == (4.5, "counted")
    assert await rollups(database) == [("2026-03-05", 11.5, 3, 5, 2)]
    await post(shop.http, "/v1/events/a/amend", {"value": 7})
    assert await rollups(database) == [("2026-03-05", 13.5, 3, 7, 2)]
    (row, *_) = (await shop.http.get("/v1/events/corrections")).json()
    assert (row["kind"], row["old_value"], row["new_value"], row["pending"]) == ("amended", 5, 7, True)
    for ref in ("a", amended["id"]):
        (one,) = (await shop.http.get("/v1/events/corrections", params={"event_id": ref})).json()
        assert one["kind"] == "amended"
    assert (await shop.http.get("/v1/events/corrections?event_id=none")).status_code == 404
    # The same content again changes nothing.
    await post(shop.http, "/v1/events/a/amend", {"value": 7})
    assert len((await shop.http.get("/v1/events/corrections")).json()) == 2


async def test_a_voided_event_counts_no_more_and_keeps_its_key(shop: Shop, database: Database) -> None:
    await shop.ready()
    await send_three(shop)
    voided = await post(shop.http, "/v1/events/c/void", {"reason": "test run"})
    assert voided["status"] == "voided"
    (entry,) = (await shop.http.get("/v1/audit_logs", params={"action": "voided"})).json()
    assert (entry["changes"]["status"], entry["actor_type"]) == ({"old": "counted", "new": "voided"}, "api_key")
    assert await rollups(database) == [("2026-03-05", 7, 2, 5, 2)]
    again = await shop.send(value=9, timestamp=DAY, idempotency_key="c")
    assert again["duplicate"] is True
    assert await rollups(database) == [("2026-03-05", 7, 2, 5, 2)]
    assert (await post(shop.http, "/v1/events/c/void", {}, status=409))["code"] == "event_voided"
    assert (await post(shop.http, "/v1/events/c/amend", {"value": 1}, status=409))["code"] == "event_voided"


async def test_what_cannot_be_corrected_is_refused(shop: Shop, database: Database) -> None:
    await shop.ready()
    await send_three(shop)
    before = await rollups(database)
    for path in ("/v1/events/none/amend", "/v1/events/none/void"):
        sent: dict[str, Any] = {"value": 1} if path.endswith("amend") else {}
        assert (await post(shop.http, path, sent, status=404))["code"] == "event_not_found"
    malformed: tuple[dict[str, Any], ...] = ({}, {"value": "NaN"}, {"value": 1, "timestamp": DAY}, {"properties": []})
    for body in malformed:
        await post(shop.http, "/v1/events/a/amend", body, status=422)
    for too_long in ("0.1234567890123456789", "123456789012345678901"):
        refused = await post(shop.http, "/v1/events/a/amend", {"value": too_long}, status=422)
        assert refused["errors"][0]["field"] == "value"
    assert await rollups(database) == before


async def test_a_difference_of_38_digits_stays_exact(shop: Shop, database: Database) -> None:
    subscription = await shop.ready()
    await shop.send(value="12345678901234567890.123456789012345678", idempotency_key="long")
    await post(shop.http, "/v1/events/long/amend", {"value": 1})
    assert await shop.units(subscription) == "1"
    await post(shop.http, "/v1/events/long/amend", {"value": "98765432109876543210.987654321098765432"})
    assert await shop.units(subscription) == "98765432109876543210.987654321098765432"
    await post(shop.http, "/v1/events/long/void", {})
    assert (await rollups(database)) == []


async def test_properties_are_read_as_ingestion_reads_them(shop: Shop, database: Database) -> None:
    await shop.metric("tokens", field_name="n")
    await shop.plan("plan_t", metric="tokens")
    await shop.customer()
    await shop.subscription(plan="plan_t")
    event = {"transaction_id": "t1", "external_customer_id": "acme", "code": "tokens", "properties": {"n": 10}}
    assert (await shop.http.post("/v1/events", json={**event, "timestamp": DAY})).status_code == 201
    await post(shop.http, "/v1/events/t1/amend", {"properties": {"n": 4, "model": "small"}})
    assert (await rollups(database))[0][1] == 4
    refused = await post(shop.http, "/v1/events/t1/amend", {"properties": {"n": "many"}}, status=422)
    assert refused["code"] == "property_not_numeric"
    assert (await rollups(database))[0][1] == 4


async def test_a_skipped_event_is_amended_without_counting(shop: Shop, database: Database) -> None:
    await shop.customer()
    await shop.send(idempotency_key="early", timestamp=DAY)
    amended = await post(shop.http, "/v1/events/early/amend", {"value": 3})
    assert (amended["status"], amended["value"]) == ("skipped", 3)
    assert await rollups(database) == []
    (row,) = (await shop.http.get("/v1/events/corrections")).json()
    assert row["pending"] is False


async def test_a_backfill_replaces_a_window(shop: Shop, database: Database) -> None:
    await shop.ready()
    await send_three(shop)
    await shop.send(value=100, timestamp="2026-03-06T00:00:00Z", idempotency_key="outside")
    events = [
        {"value": 5, "timestamp": DAY, "idempotency_key": "a"},
        {"value": 3, "timestamp": DAY, "idempotency_key": "b"},
        {"value": 20, "timestamp": "2026-03-05T23:59:59Z", "idempotency_key": "d"},
    ]
    body = {**WINDOW, "metric_key": "api_calls", "customer_id": "acme", "reason": "exporter bug", "events": events}
    done = await post(shop.http, "/v1/events/backfill", body)
    assert {name: done[name] for name in ("voided", "amended", "unchanged", "added")} == {
        "voided": 1,
        "amended": 1,
        "unchanged": 1,
        "added": 1,
    }
    assert await rollups(database) == [("2026-03-05", 28, 3, 20, 3), ("2026-03-06", 100, 1, 100, 100)]
    of_it = (await shop.http.get("/v1/events/corrections", params={"backfill_id": done["id"]})).json()
    assert sorted((row["kind"], row["idempotency_key"]) for row in of_it) == [
        ("added", "d"),
        ("amended", "b"),
        ("voided", "c"),
    ]


async def test_the_same_backfill_again_changes_nothing(shop: Shop, database: Database) -> None:
    await shop.ready()
    await send_three(shop)
    events = [{"value": 1, "timestamp": DAY, "idempotency_key": "z"}]
    body = {**WINDOW, "metric_key": "api_calls", "customer_id": "acme", "reason": "x", "events": events}
    await post(shop.http, "/v1/events/backfill", body)
    before = await rollups(database)
    again = await post(shop.http, "/v1/events/backfill", body)
    assert (again["voided"], again["amended"], again["unchanged"], again["added"]) == (0, 0, 1, 0)
    assert await rollups(database) == before == [("2026-03-05", 1, 1, 1, 1)]
    assert (await post(shop.http, "/v1/events/backfill", {**body, "events": []}))["voided"] == 1
    assert await rollups(database) == []


async def test_a_backfill_replaces_what_was_sent_before_there_was_a_customer(shop: Shop, database: Database) -> None:
    await shop.metric()
    await shop.plan()
    await shop.send(value=9, timestamp=DAY, idempotency_key="early")
    await shop.customer()
    await shop.subscription()
    events = [{"value": 2, "timestamp": DAY, "idempotency_key": "right"}]
    body = {**WINDOW, "metric_key": "api_calls", "customer_id": "acme", "reason": "sent too early", "events": events}
    assert (await post(shop.http, "/v1/events/backfill", body))["voided"] == 1
    assert await shop.status_of("early") == ("voided", "unknown_customer")
    assert await rollups(database) == [("2026-03-05", 2, 1, 2, 2)]


WRONG: tuple[tuple[dict[str, Any], int, str], ...] = (
    ({"timestamp": "2026-03-07T00:00:00Z"}, 422, "validation_failed"),
    ({"timestamp": DAY, "metric_key": "other"}, 422, "validation_failed"),
    ({"timestamp": DAY, "nonsense": 1}, 422, "invalid_events"),
    ({"timestamp": DAY, "idempotency_key": "outside"}, 409, "idempotency_conflict"),
    ({"timestamp": "2026-03-05T11:00:00Z", "idempotency_key": "a"}, 409, "idempotency_conflict"),
)


async def test_a_wrong_backfill_changes_nothing(shop: Shop, database: Database) -> None:
    await shop.ready()
    await send_three(shop)
    await shop.send(timestamp="2026-03-06T00:00:00Z", idempotency_key="outside")
    before = await rollups(database)
    body = {**WINDOW, "metric_key": "api_calls", "customer_id": "acme", "reason": "x"}
    for event, status, code in WRONG:
        sent = {**body, "events": [{"value": 1, **event}]}
        assert (await post(shop.http, "/v1/events/backfill", sent, status=status))["code"] == code
    await post(shop.http, "/v1/events/backfill", {**body, "events": [], "to_timestamp": DAY[:10]}, status=422)
    assert await rollups(database) == before


async def test_corrections_and_ingestion_at_once_leave_exact_rollups(shop: Shop, database: Database) -> None:
    await shop.ready()
    for number in range(6):
        await shop.send(value=number, timestamp=DAY, idempotency_key=f"old-{number}")
    work = [shop.send(value=1, timestamp=DAY, idempotency_key=f"new-{number}") for number in range(10)]
    changes = [post(shop.http, f"/v1/events/old-{number}/void", {}) for number in range(3)]
    changes += [post(shop.http, f"/v1/events/old-{number}/amend", {"value": 10}) for number in (3, 4)]
    await asyncio.gather(*work, *changes)
    assert await rollups(database) == [("2026-03-05", 10 + 20 + 5, 13, 10, 1)]
