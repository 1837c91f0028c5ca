"""Filters and groups over stored events: Postgres counts as the rules say, and the parts are the whole (B51)."""

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from adapters.postgres.database import Connection, Database, ProjectScope
from adapters.postgres.events import event_months
from adapters.postgres.usage.usage_store import usages
from billing.aggregations import AGGREGATIONS, CARRY_OVER_AGGREGATIONS, Aggregation, EventValue, aggregation
from billing.charges import Charge
from billing.invoice import TooManyGroups
from billing.period import Period
from billing.scope import MOST_GROUPS, UNGROUPED, Combination, EventScope, PropertyMatch, group_of
from models.identifiers import new_id
from models.tables import events, metrics
from tests.usage.conftest import Shop

SETS = 300
APRIL = Period(start=datetime(2026, 4, 1, 6, tzinfo=UTC), end=datetime(2026, 5, 1, 6, tzinfo=UTC))
PROPERTIES: dict[str, list[Any]] = {"region": ["eu", "us", "uk", None], "tier": ["gold", 5, Decimal("5.0"), True]}
VALUES = {"region": ["eu", "us", "uk"], "tier": ["gold", "5", "true"]}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "unique_count": {"field": "tier"},
    "custom": {"expression": "value"},
    "percentile": {"percentile": 50},
}


def configured(kind: str, *, carries: bool) -> Aggregation:
    given = CONFIGURATIONS.get(kind, {})
    return aggregation(kind, **given, **({"carry_over": True} if carries else {}))


async def metric(connection: Connection, scope: ProjectScope, kind: str, *, carries: bool) -> UUID:
    own = new_id()
    given = CONFIGURATIONS.get(kind, {})
    columns = {"field_name": given.get("field"), **{name: given.get(name) for name in ("expression", "percentile")}}
    values = {"key": f"{kind}-{carries}", "name": kind, "aggregation": kind, "recurring": carries, **columns}
    await connection.execute(insert(metrics).values(id=own, project_id=scope.project_id, **values))
    return own


def some_combination(chance: random.Random) -> Combination:
    keys = chance.sample(sorted(VALUES), chance.randrange(1, 3))
    return Combination(
        matches=tuple(
            PropertyMatch(key=key, values=tuple(chance.sample(VALUES[key], chance.randrange(1, 3)))) for key in keys
        )
    )


def some_charges(chance: random.Random, metric_id: UUID) -> list[Charge]:
    """Return the parts of one charge: its filters and its default bucket, grouped or not."""
    buckets = tuple(some_combination(chance) for _ in range(chance.randrange(4)))
    group_by = tuple(chance.sample(["tier", "region"], chance.randrange(3)))
    scopes = [EventScope(buckets=buckets, bucket=index) for index in (*range(len(buckets)), None)]
    return [
        Charge(
            id=new_id(),
            metric_id=metric_id,
            scope=scope,
            group_by=group_by,
            model={"kind": "per_unit", "unit_price": 1},
        )
        for scope in scopes
    ]


def some_events(chance: random.Random) -> list[EventValue]:
    made = []
    for _ in range(chance.randrange(10)):
        at = APRIL.start + timedelta(hours=chance.randrange(-48, 720))
        chosen = {key: chance.choice(values) for key, values in PROPERTIES.items() if chance.random() < 0.8}
        value = Decimal(chance.randrange(-50, 500)).scaleb(-chance.randrange(3))
        made.append(EventValue(key=str(new_id()), value=value, properties=chosen, occurred_at=at, received_at=at))
    return made


def row(event: EventValue, scope: ProjectScope, subscription: UUID, metric_id: UUID) -> dict[str, Any]:
    """Write an event as a row, with its properties in the notation that they came in."""
    return {
        "project_id": scope.project_id,
        "idempotency_key": event.key,
        "id": UUID(event.key),
        "metric_ref": "m",
        "metric_id": metric_id,
        "subscription_id": subscription,
        "value": event.value,
        "properties": event.properties,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "source": "test",
        "status": "counted",
    }


def expected(folding: Aggregation, charge: Charge, found: Sequence[EventValue]) -> dict[Any, tuple[Decimal, int]]:
    """Fold by the rules: the whole part, and each of its groups."""
    assert charge.scope is not None
    own = [
        event
        for event in found
        if charge.scope.holds(event.properties) and (folding.carries or event.occurred_at >= APRIL.start)
    ]
    groups: defaultdict[Any, list[EventValue]] = defaultdict(list)
    for event in own:
        groups[UNGROUPED].append(event)
        if charge.group_by:
            groups[group_of(charge.group_by, event.properties)].append(event)
    return {
        group: (folding.fold(part, APRIL), sum(APRIL.contains(event.occurred_at) for event in part))
        for group, part in groups.items()
    }


async def test_300_random_sets_of_events_filters_and_groups(database: Database, tenant: ProjectScope) -> None:
    chance = random.Random("buckets in Postgres")
    async with database.transaction(tenant) as connection:
        await event_months.ensure(connection, [APRIL.start - timedelta(days=2), APRIL.start, APRIL.end])
        known = {
            (kind, carries): await metric(connection, tenant, kind, carries=carries)
            for kind in AGGREGATIONS
            for carries in ((False, True) if kind in CARRY_OVER_AGGREGATIONS else (False,))
        }
        sets = [(new_id(), chance.choice(sorted(known)), some_events(chance)) for _ in range(SETS)]
        rows = [
            row(event, tenant, subscription, known[chosen]) for subscription, chosen, found in sets for event in found
        ]
        encoded = [{**each, "properties": json.loads(json.dumps(each["properties"], default=float))} for each in rows]
        await connection.execute(insert(events), encoded)
        for subscription, chosen, found in sets:
            folding, charges = configured(chosen[0], carries=chosen[1]), some_charges(chance, known[chosen])
            used = await usages(connection, subscription, charges, APRIL)
            for charge in charges:
                usage, wanted = used[charge.id], expected(folding, charge, found)
                shown = {part.group: (part.usage.quantity, part.usage.events) for part in usage.groups}
                whole = {UNGROUPED: (usage.quantity, usage.events)} if wanted else {}
                assert whole | shown == wanted, (chosen, charge, found)
            if folding.is_additive:
                assert sum(used[charge.id].quantity for charge in charges) == folding.fold(found, APRIL)


async def test_too_many_groups_are_refused(database: Database, tenant: ProjectScope) -> None:
    async with database.transaction(tenant) as connection:
        await event_months.ensure(connection, [APRIL.start])
        own, subscription = await metric(connection, tenant, "sum", carries=False), new_id()
        charge = Charge(id=new_id(), metric_id=own, group_by=("user",), model={"kind": "per_unit", "unit_price": 1})
        for number in range(2):
            made = [
                EventValue(
                    key=str(new_id()),
                    value=Decimal(1),
                    properties={"user": f"{number}-{user}"},
                    occurred_at=APRIL.start,
                    received_at=APRIL.start,
                )
                for user in range(MOST_GROUPS if number == 0 else 1)
            ]
            await connection.execute(insert(events), [row(event, tenant, subscription, own) for event in made])
            if number == 0:
                used = (await usages(connection, subscription, [charge], APRIL))[charge.id]
                assert len(used.groups) == used.quantity == used.events == MOST_GROUPS
        with pytest.raises(TooManyGroups, match="by user gives more than 500 groups"):
            await usages(connection, subscription, [charge], APRIL)


async def test_usage_with_too_many_groups_is_answered_as_a_problem(shop: Shop) -> None:
    subscription = await combined(shop, group_by=["user"])
    sent = [
        {"customer_id": "acme", "metric_key": "api_calls", "value": 1, "properties": {"user": user}}
        for user in range(MOST_GROUPS + 1)
    ]
    stored = await shop.http.post("/v1/events/batch", json={"events": sent})
    assert stored.status_code == 202, stored.text
    answer = await shop.http.get(f"/v1/subscriptions/{subscription}/current_usage")
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_groups")


PARTS = [
    {"match": {"region": ["eu", "uk"]}, "unit_price": "0.5"},
    {"match": {"region": "eu", "tier": "gold"}, "unit_price": 2, "invoice_display_name": "Gold in the EU"},
]


async def combined(shop: Shop, **more: Any) -> str:
    """Sell calls at 1, in Europe at 0.5, and to gold customers of the EU at 2; returns the subscription."""
    await shop.metric(name="API Calls", unit="calls")
    await shop.made("/v1/metrics/api_calls/filters", key="region", values=["eu", "us", "uk"])
    await shop.made("/v1/metrics/api_calls/filters", key="tier", values=["gold", "iron"])
    charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1, "filters": PARTS, **more}
    plan = await shop.made(
        "/v1/plans", id="plan_a", name="A", currency="usd", billing_period="monthly", charges=[charge]
    )
    assert [part["match"] for part in plan["charges"][0]["filters"]] == [
        {"region": ["eu", "uk"]},
        {"region": ["eu"], "tier": ["gold"]},
    ]
    assert [part["unit_price"] for part in plan["charges"][0]["filters"]] == [0.5, 2]
    await shop.customer()
    return await shop.subscription()


async def use(shop: Shop, value: int, **properties: Any) -> None:
    await shop.send(value=value, properties=properties)


async def test_usage_shows_each_combination_once_and_the_rest_by_itself(shop: Shop) -> None:
    subscription = await combined(shop)
    for value, properties in (
        (1, {"region": "eu", "tier": "gold"}),
        (2, {"region": "eu"}),
        (4, {"region": "us"}),
        (8, {}),
    ):
        await use(shop, value, **properties)
    shown = (await shop.http.get(f"/v1/subscriptions/{subscription}/current_usage")).json()
    assert [
        (each["filters"], each["units"], each["amount_cents"], each["events_count"]) for each in shown["charges"]
    ] == [
        ({}, "12", "1200", 2),
        ({"region": "eu, uk"}, "2", "100", 1),
        ({"region": "eu", "tier": "gold"}, "1", "200", 1),
    ]
    assert shown["amount_cents"] == "1500"
    body = {"subscription_id": subscription, "metric_key": "api_calls", "value": 3}
    for properties, cents in (({"region": "uk"}, "150"), ({"region": "eu", "tier": "gold"}, "600"), ({}, "300")):
        fees = await shop.http.post("/v1/events/estimate_fees", json={**body, "properties": properties})
        assert (fees.status_code, fees.json()["amount_cents"]) == (200, cents), fees.text


async def test_usage_shows_each_group_and_a_rename_at_once(shop: Shop) -> None:
    subscription = await combined(shop, group_by=["tier"])
    for value, properties in ((1, {"tier": "gold"}), (2, {"tier": "iron"}), (4, {"tier": "iron"}), (8, {})):
        await use(shop, value, **properties)
    shown = (await shop.http.get(f"/v1/subscriptions/{subscription}/current_usage")).json()
    default, europe, gold = shown["charges"]
    assert (default["units"], default["amount_cents"], europe["groups"], gold["units"]) == ("15", "1500", [], "0")
    assert [(each["group"], each["units"], each["events_count"]) for each in default["groups"]] == [
        ({"tier": "gold"}, "1", 1),
        ({"tier": "iron"}, "6", 2),
        ({"tier": None}, "8", 1),
    ]
    assert default["billable_metric"]["name"] == "API Calls"
    assert (await shop.http.patch("/v1/metrics/api_calls", json={"name": "Calls"})).status_code == 200
    shown = (await shop.http.get(f"/v1/subscriptions/{subscription}/current_usage")).json()
    assert {each["billable_metric"]["name"] for each in shown["charges"]} == {"Calls"}


async def test_filters_that_cannot_be_are_refused_by_field(shop: Shop) -> None:
    await shop.metric()
    region = await shop.made("/v1/metrics/api_calls/filters", key="region", values=["eu", "us"])
    part = {"match": {"region": "eu"}, "unit_price": 1}
    for filters, field in (
        ([{**part, "billable_metric_filter_id": region["id"]}], "0.match"),
        ([{"unit_price": 1}], "0.match"),
        ([{**part, "match": {"region": ["eu", "mars"]}}], "0.values"),
        ([{**part, "match": {"region": "eu", region["id"]: "us"}}], "0.match"),
        ([{**part, "amount": 3}], "0.amount"),
        ([part, part], "1"),
        ([{**part, "match": {"planet": "mars"}}], None),
    ):
        charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1, "filters": filters}
        body = {"id": "p", "name": "P", "currency": "usd", "billing_period": "monthly", "charges": [charge]}
        answer = await shop.http.post("/v1/plans", json=body)
        if field is None:
            assert (answer.status_code, answer.json()["code"]) == (404, "metric_filter_not_found")
        else:
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["field"] == f"charges.0.filters.{field}", answer.text


async def test_a_fixed_fee_has_neither_filters_nor_groups(shop: Shop) -> None:
    fee = {"pricing_model": "flat_fee", "amount": 5}
    for more, field in (
        ({"group_by": ["region"]}, "group_by"),
        ({"filters": [{"match": {"a": "b"}, "amount": 1}]}, "filters"),
    ):
        body = {"id": "p", "name": "P", "billing_period": "monthly", "charges": [{**fee, **more}]}
        answer = await shop.http.post("/v1/plans", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, f"charges.0.{field}")


async def test_groupings_that_cannot_be_are_refused(shop: Shop) -> None:
    await shop.metric()
    groupings: list[Any] = [["a", "a"], ["a", "b", "c", "d", "e", "f"], [""], "region"]
    for group_by in groupings:
        charge = {"metric_key": "api_calls", "pricing_model": "per_unit", "unit_price": 1, "group_by": group_by}
        body = {"id": "p", "name": "P", "billing_period": "monthly", "charges": [charge]}
        answer = await shop.http.post("/v1/plans", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"].startswith("charges.0.group_by")


async def test_what_is_no_number_is_skipped_with_its_reason(shop: Shop) -> None:
    await shop.ready()
    await shop.metric("bytes", field="size")
    await shop.plan("plan_b", "bytes")
    await shop.subscription(plan="plan_b")
    for metric_key, sent, reason in (
        ("bytes", {"value": 1, "properties": {"size": "big"}}, "property_not_numeric"),
        ("bytes", {"properties": {"size": "1e400"}}, "property_not_numeric"),
        ("bytes", {"properties": {"size": True}}, "property_not_numeric"),
        ("bytes", {"properties": {"size": "1" + "0" * 20}}, "property_not_numeric"),
        ("bytes", {"properties": {"other": 5}}, "property_missing"),
        ("bytes", {"value": 1, "properties": {"size": "7"}}, None),
        ("bytes", {"value": 2, "properties": {}}, None),
        ("api_calls", {"properties": {"value": "many"}}, "property_not_numeric"),
        ("api_calls", {"properties": {"value": 0}}, None),
        ("api_calls", {"properties": {"value": "0.5"}}, None),
        ("api_calls", {}, None),
    ):
        body = {"customer_id": "acme", "metric_key": metric_key, **sent}
        answer = await shop.http.post("/v1/events", json=body)
        assert (answer.status_code, answer.json()["skip_reason"]) == (202, reason), (body, answer.text)
    shown = (await shop.http.get("/v1/events", params={"limit": 50})).json()
    values = sorted((each["metric_key"], each["value"]) for each in shown if each["status"] == "counted")
    assert values == [("api_calls", 0), ("api_calls", 0.5), ("api_calls", 1), ("bytes", 2), ("bytes", 7)]


async def test_30_digits_survive_from_the_event_to_the_total(shop: Shop) -> None:
    await shop.metric(field="size")
    await shop.plan()
    await shop.customer()
    subscription = await shop.subscription()
    for size in ("123456789012.123456789012345678", "0.000000000000000001"):
        body = f'{{"customer_id": "acme", "metric_key": "api_calls", "properties": {{"size": {size}}}}}'
        answer = await shop.http.post("/v1/events", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["skip_reason"]) == (202, None), answer.text
    assert await shop.units(subscription) == "123456789012.123456789012345679"


async def test_a_total_that_no_bill_can_have_is_still_shown(shop: Shop) -> None:
    """Eleven of the largest values: usage and activity show their sum; only an invoice refuses it."""
    subscription = await shop.ready()
    body = {"customer_id": "acme", "metric_key": "api_calls", "value": "9" * 20}
    assert (await shop.http.post("/v1/events/batch", json=[body] * 11)).status_code == 202
    assert await shop.units(subscription) == str(11 * int("9" * 20))
    for path in ("/v1/customers/acme/projected_usage", "/v1/activity", "/api/usage", "/v1/activity/limits"):
        assert (await shop.http.get(path)).status_code == 200, path
    preview = await shop.http.post("/v1/invoices/preview", json={"subscription_id": subscription})
    assert (preview.status_code, preview.json()["code"]) == (422, "absurd_invoice")
