"""How old an event may be and how far ahead, as its project says, and what becomes of the others (C4)."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.usage.conftest import Shop


def at(**distance: float) -> str:
    return (datetime.now(UTC) + timedelta(**distance)).isoformat()


async def set_window(shop: Shop, **window: Any) -> dict[str, Any]:
    (project, *_) = (await shop.http.get("/v1/projects")).json()
    answer = await shop.http.patch(f"/v1/projects/{project['id']}", json=window)
    assert answer.status_code == 200, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


async def test_any_age_is_taken_and_five_minutes_ahead(shop: Shop) -> None:
    await shop.ready()
    answer = await shop.send(timestamp="1999-01-01T00:00:00Z")
    assert answer["skip_reason"] == "before_subscription_start"
    assert (await shop.send(timestamp=at(minutes=4)))["skip_reason"] is None
    assert (await shop.send(timestamp=at(minutes=6), status=422))["code"] == "timestamp_in_future"


async def test_a_project_may_refuse_what_lies_outside(shop: Shop) -> None:
    await shop.ready()
    shown = await set_window(shop, event_past_seconds=86_400, event_future_seconds=7200)
    assert (shown["event_past_seconds"], shown["event_future_seconds"]) == (86_400, 7200)
    assert shown["event_outside_window"] == "refuse"
    await shop.send(timestamp=at(hours=1))
    sent = at(hours=-23)
    kept = await shop.send(timestamp=sent, idempotency_key="kept")
    refused = await shop.send(timestamp=at(hours=-25), status=422)
    assert (refused["code"], refused["errors"][0]["field"]) == ("timestamp_too_old", "timestamp")
    assert (await shop.send(timestamp=at(hours=3), status=422))["code"] == "timestamp_in_future"
    await set_window(shop, event_past_seconds=60)
    retried = await shop.send(timestamp=sent, idempotency_key="kept")
    assert (retried["id"], retried["duplicate"]) == (kept["id"], True)
    shown = await set_window(shop, event_past_seconds=None, event_future_seconds=None)
    assert (shown["event_past_seconds"], shown["event_future_seconds"]) == (None, 300)
    await shop.send(timestamp=at(hours=-25))


async def test_a_project_may_keep_what_lies_outside_as_skipped(shop: Shop) -> None:
    subscription = await shop.ready()
    await set_window(shop, event_past_seconds=86_400, event_outside_window="skip")
    old = await shop.send(timestamp=at(hours=-25))
    ahead = await shop.send(timestamp=at(hours=1))
    await shop.send(timestamp=at(hours=-1), value=5)
    assert (old["skip_reason"], ahead["skip_reason"]) == ("too_old", "too_far_in_future")
    assert await shop.units(subscription) == "5"
    activity = (await shop.http.get("/v1/activity", params={"type": "event"})).json()
    assert {"too_old", "too_far_in_future"} <= {entry.get("reason") for entry in activity}
    assert (await shop.send(timestamp=at(days=400), status=422))["code"] == "timestamp_in_future"
    await set_window(shop, event_past_seconds=None)
    await shop.http.post(f"/v1/events/{old['id']}/reprocess")
    assert await shop.status_of(old["id"]) == ("counted", None)


async def test_the_window_is_a_number_of_seconds(shop: Shop) -> None:
    (project, *_) = (await shop.http.get("/v1/projects")).json()
    for body in ({"event_past_seconds": -1}, {"event_future_seconds": 10**9}, {"event_outside_window": "drop"}):
        assert (await shop.http.patch(f"/v1/projects/{project['id']}", json=body)).status_code == 422
