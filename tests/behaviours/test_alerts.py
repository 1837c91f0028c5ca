"""Usage alerts as a user of the API meets them (seed 002, behaviours B138-B151, B160 and B163)."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.subscriptions.catalogue import get, post, sent
from tests.support.alerting import APRIL, PLAN, advance, shop, subscribe, triggers, use, watch
from tests.support.receiver import Receiver, receiving
from tests.support.stack import Stack
from tests.waiting import eventually

ALERTS = "/v1/usage_alerts"


@pytest.fixture(scope="module")
async def shared(stack: Stack) -> AsyncIterator[dict[str, Any]]:
    """A subscription that no test changes, with its client."""
    async with stack.client() as client:
        yield {**await shop(client), "client": client}


async def alert_now(client: httpx.AsyncClient, alert: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await get(client, f"{ALERTS}/{alert['id']}")
    return found


async def told(receiver: Receiver, kind: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait for webhooks of a type; returns their bodies, one for each id."""

    async def read() -> dict[str, dict[str, Any]]:
        return {one.headers["webhook-id"]: one.document for one in receiver.received if one.document["type"] == kind}

    return list((await eventually(read, until=lambda found: len(found) >= count)).values())


async def test_b138_b139_b163_an_alert_fires_at_its_very_value_and_tells_of_it(client: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        await post(client, "/v1/webhook_endpoints", {"url": receiver.url, "events": ["usage_alert.triggered"]})
        subscription = await shop(client)
        alert = await watch(client, subscription, 10, name="Ten")
        sentinel = await watch(client, subscription, "9.99")
        await use(client, "9.99")
        await triggers(client, sentinel, 1)
        assert (await alert_now(client, alert))["times_triggered"] == 0
        await use(client, "0.01")
        (fired,) = await triggers(client, alert, 1)
        assert (fired["current_usage"], fired["threshold_value"], fired["metric_code"]) == ("10", "10", "api_calls")
        after = await alert_now(client, alert)
        assert (after["times_triggered"], after["triggered_at"]) == (1, fired["triggered_at"])
        messages = await told(receiver, "usage_alert.triggered", 2)
        (data,) = [each["data"] for each in messages if each["data"]["alert_id"] == alert["id"]]
        wanted = {"current_usage": "10", "threshold_value": "10", "metric_code": "api_calls", "level": 100}
        assert {name: data[name] for name in wanted} == wanted
        assert (data["subscription_id"], data["name"]) == (subscription["id"], "Ten")
    (entry,) = [
        each for each in await get(client, "/v1/audit_logs", resource_type="usage_alert") if "10 of 10" in str(each)
    ]
    assert entry["action"] == "triggered"
    notes = await get(client, "/v1/notifications")
    assert any(note["category"] == "usage_alert" and "10 of 10" in note["message"] for note in notes)


async def test_b140_b141_once_stays_once_and_recurring_fires_once_in_each_period(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    once = await watch(client, subscription, 100)
    recurring = await watch(client, subscription, 100, recurring=True)
    await use(client, 150)
    await triggers(client, once, 1)
    await triggers(client, recurring, 1)
    sentinel = await watch(client, subscription, 200)
    await use(client, 100)
    await triggers(client, sentinel, 1)
    assert [(await alert_now(client, each))["times_triggered"] for each in (once, recurring)] == [1, 1]
    await advance(client, subscription, "2026-04-10T00:00:00Z")
    await use(client, 100)
    april = (await triggers(client, recurring, 2))[1]
    assert (april["current_usage"], april["period_start"], april["triggered_at"]) == (
        "100",
        APRIL,
        "2026-04-10T00:00:00Z",
    )
    assert (await alert_now(client, once))["times_triggered"] == 1


async def test_usage_just_before_a_period_ends_fires_in_that_period(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    alert = await watch(client, subscription, 100, recurring=True)
    await use(client, 100)
    await advance(client, subscription, "2026-05-01T00:00:00Z")
    (fired,) = await triggers(client, alert, 1)
    assert fired["period_start"] == "2026-03-01T00:00:00Z"


async def test_b142_concurrent_events_over_the_line_fire_once(client: httpx.AsyncClient) -> None:
    subscription = await shop(client, at=None)
    alert = await watch(client, subscription, 25)
    await asyncio.gather(*(use(client, 1) for _ in range(50)))
    sentinel = await watch(client, subscription, 50)
    await triggers(client, sentinel, 1)
    assert len(await triggers(client, alert, 1)) == 1


async def test_b143_b144_b160_defaults_names_and_ids(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    alert = await watch(client, subscription, "10000")
    wanted = {"recurring": False, "name": None, "times_triggered": 0, "triggered_at": None, "threshold_value": "10000"}
    assert {name: alert[name] for name in wanted} == wanted
    organization = await get(client, "/v1/organizations/current")
    assert str(UUID(alert["id"])) == alert["id"]
    assert str(UUID(alert["organization_id"])) == organization["id"]
    assert (await watch(client, subscription, 1, name="x" * 255))["name"] == "x" * 255
    body = {"subscription_id": subscription["id"], "billable_metric_id": "api_calls", "threshold_value": 1}
    await post(client, ALERTS, {**body, "name": "x" * 256}, 422)


async def test_b145_b147_a_change_takes_effect_at_once_and_history_keeps_its_values(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    other = await subscribe(client, "cust_other")
    alert = await watch(client, subscription, 1000)
    sentinel = await watch(client, subscription, 500)
    await use(client, 500)
    await triggers(client, sentinel, 1)
    change = {"threshold_value": 400, "name": "Lower", "recurring": True, "subscription_id": other["id"]}
    changed = await sent(client, "PATCH", f"{ALERTS}/{alert['id']}", 200, json=change)
    assert (changed["threshold_value"], changed["name"], changed["recurring"]) == ("400", "Lower", True)
    assert changed["subscription_id"] == subscription["id"]
    assert changed["updated_at"] >= alert["updated_at"]
    (fired,) = await triggers(client, alert, 1)
    assert (fired["current_usage"], fired["threshold_value"]) == ("500", "400")
    # B147: what is written about a firing stays, whatever the alert becomes.
    await sent(client, "PATCH", f"{ALERTS}/{alert['id']}", 200, json={"threshold_value": 15000})
    assert (await triggers(client, alert, 1))[0]["threshold_value"] == "400"


async def test_b146_b148_status_and_test_measure_and_fire_nothing(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    alert = await watch(client, subscription, 10000)
    await use(client, 7500)
    status = await get(client, f"{ALERTS}/{alert['id']}/status")
    assert status == {
        "alert_id": alert["id"],
        "current_usage": "7500",
        "threshold_value": "10000",
        "usage_percentage": "75.0",
        "billing_period_start": "2026-03-01T00:00:00Z",
        "billing_period_end": "2026-03-31T23:59:59Z",
        "would_trigger": False,
        "reached_levels": [],
    }
    await use(client, 2750)
    await triggers(client, alert, 1)
    tried = await post(client, f"{ALERTS}/{alert['id']}/test", {}, 200)
    assert (tried["usage_percentage"], tried["would_trigger"], tried["reached_levels"]) == ("102.5", False, [100])
    assert (await alert_now(client, alert))["times_triggered"] == 1


async def test_b149_a_deleted_alert_is_gone_and_never_fires(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    alert, sentinel = await watch(client, subscription, 10), await watch(client, subscription, 10)
    async with receiving() as receiver:
        await post(client, "/v1/webhook_endpoints", {"url": receiver.url, "events": ["usage_alert.triggered"]})
        await sent(client, "DELETE", f"{ALERTS}/{alert['id']}", 204)
        await use(client, 20)
        await triggers(client, sentinel, 1)
        messages = await told(receiver, "usage_alert.triggered")
        assert [each["data"]["alert_id"] for each in messages] == [sentinel["id"]]
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/status"), ("GET", "/triggers")):
        body: dict[str, Any] = {"json": {}} if method == "PATCH" else {}
        gone = await sent(client, method, f"{ALERTS}/{alert['id']}{path}", 404, **body)
        assert gone["code"] == "usage_alert_not_found"


async def test_b150_b151_listing_with_and_without_the_slash(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    other = await subscribe(client, "cust_other")
    for value in (1, 2, 3):
        await watch(client, subscription, value)
    bare = {"subscription_id": other["id"], "billable_metric_id": "api_calls", "threshold_value": 4}
    await post(client, ALERTS, bare)
    assert len(await get(client, f"{ALERTS}/")) == 4
    mine = {"subscription_id": subscription["id"]}
    assert [each["threshold_value"] for each in await get(client, f"{ALERTS}/", limit=2, **mine)] == ["3", "2"]
    assert [each["threshold_value"] for each in await get(client, ALERTS, skip=2, **mine)] == ["1"]
    assert [each["threshold_value"] for each in await get(client, ALERTS, subscription_id=other["id"])] == ["4"]


async def test_each_level_fires_once_and_several_at_one_jump(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    alert = await watch(client, subscription, 1000, levels=[50, 80, 100])
    await use(client, 850)
    fired = await triggers(client, alert, 2)
    assert [(each["level"], each["current_usage"]) for each in fired] == [(50, "850"), (80, "850")]
    await use(client, 150)
    assert [each["level"] for each in await triggers(client, alert, 3)] == [50, 80, 100]
    assert (await alert_now(client, alert))["times_triggered"] == 3


async def test_a_level_with_more_digits_than_any_value_holds_up_no_other_alert(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    far = await watch(client, subscription, "9" * 20, levels=[1000])
    near = await watch(client, subscription, 10)
    await use(client, 11)
    await triggers(client, near, 1)
    assert (await get(client, f"/v1/usage_alerts/{far['id']}"))["times_triggered"] == 0


async def test_alerts_on_spend_on_projections_and_on_a_part_of_the_events(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    money = {"subscription_id": subscription["id"], "kind": "spend", "threshold_value": 5000, "currency": "usd"}
    spend = await post(client, ALERTS, money)
    europe = await watch(client, subscription, 600, filters={"region": ["eu", "uk"]})
    projected = await watch(client, subscription, 2500, kind="projected_usage")
    await advance(client, subscription, "2026-03-11T10:00:00Z")
    await use(client, 400, properties={"region": "eu"})
    await use(client, 400, properties={"region": "us"})
    # After a third of the month: 800 calls become 2,382; and at five cents they are 40 dollars.
    status = await get(client, f"{ALERTS}/{projected['id']}/status")
    assert Decimal("2380") < Decimal(status["current_usage"]) < Decimal("2384")
    assert (await get(client, f"{ALERTS}/{spend['id']}/status"))["current_usage"] == "4000"
    await use(client, 200, properties={"region": "uk"})
    assert [each["current_usage"] for each in await triggers(client, europe, 1)] == ["600"]
    (fired,) = await triggers(client, spend, 1)
    assert (fired["current_usage"], fired["metric_code"]) == ("5000", "spend")
    assert Decimal((await triggers(client, projected, 1))[0]["current_usage"]) >= 2500


async def test_what_does_not_grow_with_time_is_its_own_projection(client: httpx.AsyncClient) -> None:
    """As GET projected_usage has it: a peak of 100 after a third of the month is no sign of a peak of 300."""
    await post(client, "/v1/metrics", {"key": "api_calls", "name": "Most calls at once", "aggregation": "max"})
    await post(client, "/v1/price-plans", PLAN)
    subscription = await subscribe(client, "cust_acme")
    far, near = [await watch(client, subscription, line, kind="projected_usage") for line in (101, 100)]
    await use(client, 100)
    await advance(client, subscription, "2026-03-11T00:00:00Z")
    (fired,) = await triggers(client, near, 1)
    assert (fired["current_usage"], fired["triggered_at"]) == ("100", "2026-03-04T02:24:00Z")
    path = f"/v1/usage_alerts/{far['id']}"
    assert (await get(client, path))["times_triggered"] == 0
    assert (await get(client, f"{path}/status"))["current_usage"] == "100"


async def test_an_alert_on_a_wallet_fires_when_its_balance_falls(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    filled = {"customer_id": "cust_acme", "name": "Prepaid", "currency": "USD", "initial_granted_credits": "2000"}
    wallet = await post(client, "/v1/wallets", filled)
    low = {"subscription_id": subscription["id"], "kind": "wallet_balance", "threshold_value": 1000}
    alert = await post(client, ALERTS, low)
    assert (await get(client, f"{ALERTS}/{alert['id']}/status"))["current_usage"] == "2000"
    # March costs the fee and 50 calls: 12.50 of the 20 dollars.
    await use(client, 50)
    await advance(client, subscription, APRIL)
    (fired,) = await triggers(client, alert, 1)
    assert (fired["current_usage"], fired["metric_code"]) == ("750", "wallet_balance")
    assert wallet["balance_cents"] == "2000"


async def test_what_time_alone_reaches_fires_without_further_usage(client: httpx.AsyncClient) -> None:
    """A projection begins after a tenth of the period; what a wallet holds expires."""
    subscription = await shop(client)
    projected = await watch(client, subscription, 2500, kind="projected_usage")
    filled = {"customer_id": "cust_acme", "name": "Gift", "currency": "USD", "initial_granted_credits": "2000"}
    await post(client, "/v1/wallets", {**filled, "expires_at": "2026-03-20T12:00:00Z"})
    low = {"subscription_id": subscription["id"], "kind": "wallet_balance", "threshold_value": 1000}
    wallet = await post(client, ALERTS, low)
    await use(client, 400)
    await advance(client, subscription, "2026-03-25T00:00:00Z")
    (fired,) = await triggers(client, projected, 1)
    assert (fired["current_usage"], fired["triggered_at"]) == ("4000", "2026-03-04T02:24:00Z")
    (fired,) = await triggers(client, wallet, 1)
    assert (fired["current_usage"], fired["triggered_at"]) == ("0", "2026-03-20T12:00:00Z")


async def test_a_correction_below_the_line_does_not_unfire(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    alert = await watch(client, subscription, 100, recurring=True)
    await use(client, 120)
    await triggers(client, alert, 1)
    await use(client, -100)
    status = await get(client, f"{ALERTS}/{alert['id']}/status")
    assert (status["current_usage"], status["would_trigger"]) == ("20", False)
    sentinel = await watch(client, subscription, 130)
    await use(client, 130)
    await triggers(client, sentinel, 1)
    assert len(await triggers(client, alert, 1)) == 1
    assert (await alert_now(client, alert))["times_triggered"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold_value": 0},
        {"threshold_value": -1},
        {"threshold_value": "many"},
        {"threshold_value": None},
        {"threshold_value": "1e3"},
        {"levels": []},
        {"levels": [50, 50]},
        {"levels": [0]},
        {"kind": "spend"},
        {"kind": "weather"},
        {"filters": {}},
        {"billable_metric_id": None},
        {"currency": "EUR"},
        {"currency": "XXQ"},
    ],
)
async def test_an_alert_that_means_nothing_is_refused(shared: dict[str, Any], wrong: dict[str, Any]) -> None:
    body = {"subscription_id": shared["id"], "billable_metric_id": "api_calls", "threshold_value": 1, **wrong}
    await post(shared["client"], ALERTS, body, 422)


async def test_alerts_need_a_live_subscription_and_a_metric_of_its_plan(client: httpx.AsyncClient) -> None:
    subscription = await shop(client)
    await post(client, "/v1/metrics", {"key": "storage", "name": "Storage", "aggregation": "max"})
    body = {"subscription_id": subscription["id"], "billable_metric_id": "api_calls", "threshold_value": 1}
    for wrong, status, code in (
        ({"subscription_id": "sub_unknown"}, 404, "subscription_not_found"),
        ({"billable_metric_id": "unknown"}, 404, "metric_not_found"),
        ({"billable_metric_id": "storage"}, 409, "metric_not_in_plan"),
    ):
        assert (await post(client, ALERTS, {**body, **wrong}, status))["code"] == code
    await asyncio.gather(*(post(client, ALERTS, body) for _ in range(100)))
    refused = await post(client, ALERTS, body, 409)
    assert (refused["code"], refused["limit"]) == ("too_many_alerts", 100)
    await post(client, f"/v1/subscriptions/{subscription['id']}/cancel", {}, 200)
    await advance(client, subscription, APRIL)
    ended = await post(client, ALERTS, body, 409)
    assert ended["code"] == "subscription_ended"
