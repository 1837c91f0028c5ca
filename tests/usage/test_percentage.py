"""Percentages of single events in SQL: what Postgres folds is what the rule folds, for every kind of limit (R7)."""

from decimal import Decimal
from functools import reduce
from typing import Any

from adapters.postgres.database import Database
from adapters.postgres.reports import usage_report_store
from adapters.postgres.usage import usage_store
from api.http.auth import caller_with_key
from billing.charges import Percentage
from billing.usage import NO_USAGE
from tests.api.conftest import Service
from tests.usage.conftest import Shop

_LIMITS: tuple[dict[str, Any], ...] = (
    {"free_events": 2},
    {"free_amount": "70.5"},
    {"transaction_min": "1"},
    {"transaction_max": "2.5"},
    {"free_events": 1, "transaction_min": "1", "transaction_max": "3"},
    {"free_amount": "10", "transaction_max": "0.9"},
)
#: In the order of their times; two have the same one, and the earlier arrival counts first.
_VALUES = ("20", "50.5", "-15", "120", "0.01", "60", "33.333333333333333333")
_TIMES = ("03T09:00", "03T09:00", "04T00:00", "10T12:00", "11T00:00", "12T23:59", "13T00:00")


async def test_postgres_and_the_rule_agree(shop: Shop, service: Service) -> None:
    await shop.metric()
    charges = [
        {"metric_key": "api_calls", "pricing_model": "percentage", "rate": "2", "fixed_fee": "0.3", **limits}
        for limits in _LIMITS
    ]
    charges.append({**charges[0], "group_by": ["region"]})
    body = {"id": "plan_a", "name": "P", "currency": "usd", "billing_period": "monthly", "charges": charges}
    shown = (await shop.made("/v1/plans", **body))["charges"]
    assert {name: str(shown[4][name]) for name in _LIMITS[4]} == {n: str(v) for n, v in _LIMITS[4].items()}
    await shop.customer()
    subscription = await shop.subscription(start_date="2026-11-01T06:00:00Z")
    for value, at in zip(_VALUES, _TIMES, strict=True):
        properties = {"region": "eu" if Decimal(value) > 50 else "us"}
        await shop.send(value=value, timestamp=f"2026-11-{at}:00Z", properties=properties)
    estimated = await shop.http.post(
        "/v1/events/estimate_fees", json={"subscription_id": subscription, "code": "api_calls", "value": "100"}
    )
    # Five charges ask 2.30 and one its most, 0.90; the event is the first of its group, so free for the last.
    assert estimated.json()["amount_cents"] == "1240", estimated.text
    database: Database = service.app.state.database
    key = str(shop.http.headers["authorization"]).removeprefix("Bearer ")
    scope = (await caller_with_key(database, key)).scope
    async with database.transaction(scope) as connection:
        of = await usage_report_store.subscribed(connection, scope.project_id, subscription)
        found = await usage_store.usages(connection, of.subscription.id, of.metered, of.current)
    for charge in of.metered:
        assert isinstance(charge.model, Percentage)
        usage = found[charge.id]
        parts = [part.usage for part in usage.groups] or [usage]
        chosen = (
            [[v for v in _VALUES if (Decimal(v) > 50) == big] for big in (True, False)] if usage.groups else [_VALUES]
        )
        for part, values in zip(parts, chosen, strict=True):
            folded = reduce(charge.model.with_event, (Decimal(value) for value in values), NO_USAGE)
            figures = ("quantity", "events", "charged_value", "charged_events", "priced")
            assert [getattr(part, name) for name in figures] == [getattr(folded, name) for name in figures]
