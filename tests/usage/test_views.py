"""Usage in units and money, activity, estimates."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.usage.conftest import Shop


async def test_current_usage_is_exact_to_the_last_answer(shop: Shop) -> None:
    subscription = await shop.ready()
    for _ in range(4):
        await shop.send(value=0.25)
        assert (await shop.http.get(f"/v1/subscriptions/{subscription}/current_usage")).status_code == 200
    assert await shop.units(subscription) == "1"
    await shop.send(value=999)
    answer = (await shop.http.get(f"/v1/subscriptions/{subscription}/current_usage")).json()
    assert (answer["current_usage_amount_cents"], answer["amount_cents"]) == ("1000", "1000")
    assert answer["charges"][0]["billable_metric"] == {
        "code": "api_calls",
        "name": "api_calls",
        "aggregation_type": "sum",
    }


async def test_customer_usage_now_projected_and_past(shop: Shop) -> None:
    await shop.ready()
    await shop.send(value=10)
    await shop.send(value=7, timestamp="2026-01-31T23:59:59.5Z")
    now = (await shop.http.get("/v1/customers/acme/current_usage")).json()
    assert now["charges"][0]["units"] == "10"
    projected = (await shop.http.get("/v1/customers/acme/projected_usage")).json()
    assert float(projected["charges"][0]["units"]) >= 10
    past = (await shop.http.get("/v1/customers/acme/past_usage?periods_count=36")).json()
    assert past[-1]["from_datetime"] == "2026-01-01T00:00:00Z"
    assert past[-1]["charges"][0]["units"] == "7"
    assert (await shop.http.get("/v1/customers/nobody/current_usage")).status_code == 404
    await shop.customer("other")
    assert (await shop.http.get("/v1/customers/other/current_usage")).status_code == 404


async def test_the_trend_has_every_day(shop: Shop) -> None:
    subscription = await shop.ready()
    await shop.send(value=2, timestamp="2026-02-01T00:00:00Z")
    await shop.send(value=3, timestamp="2026-02-01T23:59:59Z")
    url = f"/v1/subscriptions/{subscription}/usage_trend"
    answer = (await shop.http.get(url, params={"start_date": "2026-01-31", "end_date": "2026-02-02"})).json()
    assert [(each["date"], each["value"], each["events_count"]) for each in answer["data_points"]] == [
        ("2026-01-31", "0", 0),
        ("2026-02-01", "5", 2),
        ("2026-02-02", "0", 0),
    ]
    assert len((await shop.http.get(url)).json()["data_points"]) == 30
    assert (await shop.http.get(url, params={"start_date": "2020-01-01"})).status_code == 422
    assert (await shop.http.get(url, params={"end_date": "0001-01-01"})).status_code == 422


async def test_the_trend_of_what_does_not_add_up_is_that_of_each_day(shop: Shop) -> None:
    """Users by day: a and b on the first, b alone on the second; an average is the day's."""
    await shop.metric("users", aggregation="unique_count", field_name="user")
    await shop.metric("load", aggregation="average")
    await shop.plan("plan_u", metric="users")
    await shop.plan("plan_l", metric="load")
    await shop.customer()
    trends = []
    users: list[dict[str, Any]] = [{"properties": {"user": user}} for user in ("a", "b", "a", "b")]
    loads: list[dict[str, Any]] = [{"value": value} for value in (1, 2, 6, 8)]
    for plan, metric, sent in (("plan_u", "users", users), ("plan_l", "load", loads)):
        subscription = await shop.subscription(plan=plan)
        for number, (day, body) in enumerate(zip((1, 1, 1, 2), sent, strict=True)):
            at = f"2026-02-0{day}T0{number}:00:00Z"
            event: dict[str, Any] = {"metric_key": metric, "value": None, "timestamp": at, **body}
            await shop.send(**event)
        url = f"/v1/subscriptions/{subscription}/usage_trend"
        span = {"start_date": "2026-02-01", "end_date": "2026-02-02", "metric_key": metric}
        trends.append([each["value"] for each in (await shop.http.get(url, params=span)).json()["data_points"]])
    assert trends == [["2", "1"], ["3", "8"]]


async def test_an_estimate_stores_nothing(shop: Shop) -> None:
    subscription = await shop.ready()
    await shop.send(value=100)
    body = {"subscription_id": subscription, "metric_key": "api_calls", "value": 50}
    answer = (await shop.http.post("/v1/events/estimate_fees", json=body)).json()
    assert (answer["units"], answer["amount_cents"], answer["unit_amount_cents"]) == ("50", "50", "1")
    assert await shop.units(subscription) == "100"
    unknown = await shop.http.post("/v1/events/estimate_fees", json={**body, "metric_key": "nope"})
    assert unknown.status_code == 404


def per_unit(metric: str, price: str = "1") -> dict[str, Any]:
    return {"metric_key": metric, "pricing_model": "per_unit", "unit_price": price}


async def test_an_estimate_counts_the_event_as_ingestion_would(shop: Shop) -> None:
    """By hand, each unit at 1.00: what each aggregation has after 4 and 2, and then one event of 9 more."""
    kinds: dict[str, dict[str, Any]] = {
        "credits": {"aggregation": "custom", "expression": "value * 2"},
        "users": {"aggregation": "unique_count", "field": "user"},
        "load": {"aggregation": "average"},
        "peak": {"aggregation": "max"},
        "packs": {"round_function": "ceil"},
    }
    for key, settings in kinds.items():
        await shop.metric(key, **settings)
    charges = [*(per_unit(key) for key in kinds), per_unit("peak", "0.5")]
    await shop.made("/v1/plans", id="p", name="p", currency="usd", billing_period="monthly", charges=charges)
    await shop.customer()
    subscription = await shop.subscription(plan="p")
    for value in (4, 2.5):
        for key in kinds:
            await shop.send(metric_key=key, value=value, properties={"user": str(value)})

    async def fee(code: str, **event: Any) -> tuple[str, str, str | None]:
        body = {"subscription_id": subscription, "code": code, **event}
        answer = (await shop.http.post("/v1/events/estimate_fees", json=body)).json()
        return answer["units"], answer["amount_cents"], answer["skip_reason"]

    assert await fee("credits", value=9) == ("18", "1800", None)
    assert await fee("users", properties={"user": "4"}) == ("0", "0", None)
    assert await fee("users", properties={"user": "9"}) == ("1", "100", None)
    assert await fee("load", value="8.5") == ("1.75", "175", None)  # 15 / 3 after 6.5 / 2
    assert await fee("peak", value=9) == ("5", "750", None)
    assert await fee("packs", value=0.5) == ("0", "0", None)  # 6.5 and 7 are 7 both
    assert await fee("packs", properties={"value": 2}) == ("2", "200", None)
    assert await fee("credits") == ("0", "0", "property_not_numeric")
    assert await fee("users") == ("0", "0", "property_missing")
    assert await shop.units(subscription) == "13"


async def test_a_price_in_the_event_is_estimated_and_projected(shop: Shop) -> None:
    await shop.metric("calls")
    charge = {"metric_key": "calls", "charge_model": "dynamic", "properties": {}}
    await shop.made("/v1/plans", id="p", name="p", currency="usd", billing_period="monthly", charges=[charge])
    await shop.customer()
    subscription = await shop.subscription(plan="p")
    await shop.send(metric_key="calls", value=3, properties={"price": "2", "quantity": 3})
    event = {"subscription_id": subscription, "code": "calls", "properties": {"price": "0.25", "quantity": 2}}
    assert (await shop.http.post("/v1/events/estimate_fees", json=event)).json()["amount_cents"] == "50"
    projected = (await shop.http.get("/v1/customers/acme/projected_usage")).json()["charges"][0]
    # 2.00 a unit, whatever part of the period has passed.
    assert abs(float(projected["amount_cents"]) - 200 * float(projected["units"])) <= 1
    assert float(projected["amount_cents"]) > 600


async def test_activity_adds_up_the_charges_of_a_metric(shop: Shop) -> None:
    await shop.metric()
    await shop.metric("gb")
    charges = [per_unit("api_calls"), per_unit("api_calls", "3"), {**per_unit("gb"), "group_by": ["user"]}]
    await shop.made("/v1/plans", id="p", name="p", currency="usd", billing_period="monthly", charges=charges)
    await shop.customer()
    await shop.subscription(plan="p")
    await shop.send(value=2)
    await shop.send(value=2, metric_key="gb")
    entries = (await shop.http.get("/v1/activity")).json()
    assert [(each["metric_key"], each["amount_cents"]) for each in entries] == [("gb", None), ("api_calls", "800")]


async def test_activity_prices_each_event_and_names_the_reason(shop: Shop) -> None:
    await shop.ready()
    await shop.send(value=3)
    await shop.send(value=4)
    await shop.send(value=1, metric_key="nope")
    entries = (await shop.http.get("/api/v1/activity")).json()
    shown = [(each["status"], each["quantity"], each["amount_cents"], each["reason"]) for each in entries]
    assert shown == [("skipped", 1, None, "unknown_metric"), ("counted", 4, "4", None), ("counted", 3, "3", None)]
    assert len((await shop.http.get("/v1/activity?status=skipped")).json()) == 1
    assert len((await shop.http.get("/v1/activity?meter_id=api_calls&limit=1")).json()) == 1
    assert (await shop.http.get("/v1/activity?type=charge")).json() == []
    for ignored in ("order_by=at:asc", f"cursor={'0' * 32}"):
        assert (await shop.http.get(f"/v1/activity?{ignored}")).status_code == 422


async def test_volume_counts_by_hour(shop: Shop) -> None:
    await shop.ready()
    at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    for number in range(5):
        await shop.send(timestamp=(at + timedelta(minutes=number)).isoformat())
    answer = (await shop.http.get("/v1/events/volume")).json()
    assert answer == {"data_points": [{"timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "count": 5}]}


async def test_aggregated_usage_by_metric_and_period(shop: Shop) -> None:
    await shop.ready()
    for number in range(3):
        body: dict[str, Any] = {"metric": "api_calls", "amount": 1000, "customerId": "acme"}
        await shop.http.post("/api/track", json=body, headers={"Idempotency-Key": f"t-{number}"})
    records = (await shop.http.get("/api/usage", params={"metric": "api_calls"})).json()
    assert [(each["metric"], each["total"], each["events"], each["customerId"]) for each in records] == [
        ("api_calls", 3000, 3, "acme")
    ]
    assert (await shop.http.get("/api/usage?customerId=acme")).json() == records
    assert (await shop.http.get("/api/usage?metric=nope")).json() == []


async def test_each_customers_part_is_aggregated_as_the_metric_says(shop: Shop) -> None:
    """Two customers on the organization's subscription: x sends 5, 2 and 5, y sends 9."""
    kinds = {"sum": 12, "count": 3, "max": 5, "min": 2, "unique_count": 2, "latest": 5, "average": 4, "percentile": 5}
    for kind in kinds:
        await shop.metric(kind, aggregation=kind)
    charges = [per_unit(kind) for kind in kinds]
    await shop.made("/v1/plans", id="p", name="p", currency="usd", billing_period="monthly", charges=charges)
    organization = (await shop.http.get("/v1/organizations/current")).json()["id"]
    await shop.made("/api/subscriptions", organizationId=organization, planId="p")
    for number, (customer, amount) in enumerate((("x", 5), ("x", 2), ("x", 5), ("y", 9))):
        for kind in kinds:
            body = {"metric": kind, "amount": amount, "customerId": customer}
            sent = await shop.http.post("/api/track", json=body, headers={"Idempotency-Key": f"{kind}-{number}"})
            assert sent.json()["skipReason"] is None, sent.text
    records = (await shop.http.get("/api/usage?customerId=x")).json()
    assert {each["metric"]: each["total"] for each in records} == kinds
    assert {each["events"] for each in records} == {3}
    first = await shop.http.get("/api/usage?limit=5")
    following = first.headers["Link"].split(";")[0].strip("<>")
    rest = await shop.http.get(following)
    assert sorted(each["metric"] for each in [*first.json(), *rest.json()]) == sorted(kinds)
    assert rest.headers["X-Total-Count"] == "8"


async def test_events_are_listed_and_filtered(shop: Shop) -> None:
    subscription = await shop.ready()
    for number in range(3):
        await shop.send(idempotency_key=f"e-{number}", timestamp=f"2026-02-0{number + 1}T00:00:00Z")
    await shop.send(idempotency_key="other", customer_id="nobody")

    async def keys(**query: str) -> list[str]:
        answer = await shop.http.get("/v1/events", params=query)
        assert answer.status_code == 200, answer.text
        return [each["idempotency_key"] for each in answer.json()]

    assert await keys() == ["other", "e-2", "e-1", "e-0"]
    assert await keys(external_customer_id="acme", limit="2") == ["e-2", "e-1"]
    assert await keys(status="skipped") == ["other"]
    assert await keys(subscription_id=subscription, from_timestamp="2026-02-02", to_timestamp="2026-02-03") == ["e-1"]
    assert await keys(code="api_calls", order_by="timestamp:asc", limit="1") == ["e-0"]
    page = await shop.http.get("/v1/events?limit=2")
    following = page.headers["Link"].split(";")[0].strip("<>")
    assert [each["idempotency_key"] for each in (await shop.http.get(following)).json()] == ["e-1", "e-0"]
    await shop.send(idempotency_key="with #and?", timestamp="2026-02-01T00:00:00Z")
    assert await keys(idempotency_key="with #and?") == await keys(transaction_id="with #and?") == ["with #and?"]
    assert await keys(idempotency_key="e-1", to_timestamp="2026-02-28") == ["e-1"]
    assert await keys(idempotency_key="nope") == []
