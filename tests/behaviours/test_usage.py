"""B55, B72, B74-B76: usage as it is watched: quotas, volume, estimates, reprocessing, projection, and its trend."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.behaviours.test_ingestion import event, subscribed, units
from tests.subscriptions.catalogue import get, post
from tests.support import quickstart
from tests.waiting import eventually

pytestmark = pytest.mark.stack


async def test_b72_activity_shows_that_a_quota_is_exceeded(client: httpx.AsyncClient) -> None:
    """The plan grants 100 calls, 150 were used: all are counted and billed, and the excess is shown."""
    await quickstart.catalogue(client, entitlements={"api_calls": 100, "sso": True})
    await quickstart.customer(client)
    subscription = await quickstart.subscription(client, start_date=month_start())
    await post(client, "/v1/events", event("first", 150), 202)

    async def quotas() -> Any:
        return await get(client, "/api/v1/activity/limits", subscription_id=subscription["id"])

    (quota,) = await eventually(quotas)
    shown = {name: quota[name] for name in ("metric_key", "source", "limit", "used", "remaining", "exceeded")}
    assert shown == {
        "metric_key": "api_calls",
        "source": "plan",
        "limit": 100,
        "used": 150,
        "remaining": 0,
        "exceeded": True,
    }
    entries = await client.get("/api/v1/activity", params={"type": "event"})
    assert (entries.headers["x-total-count"], entries.json()[0]["quantity"]) == ("1", 150)
    assert await units(client, subscription["id"]) == "150"


def month_start() -> str:
    return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).isoformat()


async def test_b74_volume_is_counted_by_the_hour(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for number in range(5):
        await post(client, "/v1/events", event(f"now-{number}", timestamp=hour.isoformat()), 202)
    await post(client, "/v1/events", event("before", timestamp=(hour - timedelta(hours=3)).isoformat()), 202)
    points = (await get(client, "/v1/events/volume"))["data_points"]
    assert [point["count"] for point in points] == [1, 5]
    assert points[-1]["timestamp"] == hour.isoformat().replace("+00:00", "Z")
    span = {"from_timestamp": hour.isoformat(), "to_timestamp": (hour + timedelta(hours=1)).isoformat()}
    assert [point["count"] for point in (await get(client, "/v1/events/volume", **span))["data_points"]] == [5]


async def test_b75_a_fee_is_estimated_and_nothing_is_stored(client: httpx.AsyncClient) -> None:
    """100,000 calls are free, the next cost 0.0001: of 200,000 more on 50,000, 150,000 cost 15.00."""
    subscription = await subscribed(client)
    await post(client, "/v1/events", event("first", 50_000), 202)
    body = {"subscription_id": subscription["id"], "metric_key": "api_calls", "value": 200_000}
    estimate = await post(client, "/v1/events/estimate_fees", body, 200)
    assert (estimate["amount_cents"], estimate["units"], estimate["current_usage"]) == ("1500", "200000", "50000")
    assert await units(client, subscription["id"]) == "50000"
    events = await client.get("/v1/events")
    assert events.headers["x-total-count"] == "1"


async def test_b76_reprocessing_a_counted_event_changes_nothing(client: httpx.AsyncClient) -> None:
    subscription = await subscribed(client)
    await post(client, "/v1/events", event("first", 7), 202)
    for _ in range(2):
        again = await post(client, "/v1/events/first/reprocess", {}, 200)
        assert again["status"] == "counted"
        assert await units(client, subscription["id"]) == "7"


async def test_b55_a_window_of_skipped_events_is_counted_in_the_background(client: httpx.AsyncClient) -> None:
    at = datetime.now(UTC) - timedelta(minutes=1)
    early = [event(f"early-{number}", 1, timestamp=at.isoformat()) for number in range(120)]
    await post(client, "/v1/events/batch", {"events": early}, 202)
    subscription = await subscribed(client)
    window = {"from_timestamp": month_start(), "to_timestamp": datetime.now(UTC).isoformat()}
    run = await post(client, "/v1/events/reprocess", {**window, "metric_key": "api_calls"}, 202)
    assert run["total"] == 120

    async def now() -> Any:
        return await get(client, f"/v1/events/reprocess/{run['id']}")

    done = await eventually(now, until=lambda found: found["status"] == "done")
    assert (done["seen"], done["counted"]) == (120, 120)
    assert await units(client, subscription["id"]) == "120"
    # Again: nothing is left to be looked at, nothing counts twice.
    second = await post(client, "/v1/events/reprocess", window, 202)
    assert second["total"] == 0
    assert await units(client, subscription["id"]) == "120"


async def test_the_projection_says_how_it_was_made(client: httpx.AsyncClient) -> None:
    await subscribed(client)
    await post(client, "/v1/events", event("first", 1000), 202)
    projected = await get(client, "/v1/customers/cust_acme/projected_usage")
    assert projected["method"] == "linear"
    (charge,) = [each for each in projected["charges"] if each["metric_key"] == "api_calls"]
    assert float(charge["units"]) >= 1000
