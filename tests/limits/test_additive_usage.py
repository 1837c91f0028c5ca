"""The one statement for many subscriptions counts what the function for one counts."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from adapters.postgres.database import Database
from adapters.postgres.resolver import METRIC, required
from adapters.postgres.usage.quantity_store import UsageWindow
from adapters.postgres.usage.usage_store import metric_usages, usages_of_many
from api.http.auth import caller_with_key
from billing.period import Period
from models.identifiers import parse_id
from tests.api.conftest import Service
from tests.usage.conftest import Shop

_PERIODS = (
    # Whole days, days cut at both ends, parts of one day
    Period(start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 4, 1, tzinfo=UTC)),
    Period(start=datetime(2026, 3, 2, 6, tzinfo=UTC), end=datetime(2026, 3, 9, 18, tzinfo=UTC)),
    Period(start=datetime(2026, 3, 2, 6, tzinfo=UTC), end=datetime(2026, 3, 2, 18, tzinfo=UTC)),
)
_TIMES = ("01T00:00", "02T05:59", "02T06:00", "02T17:59", "02T18:00", "05T12:00", "09T17:59", "09T18:00", "31T23:59")


async def test_it_agrees_for_every_aggregation_and_every_cut_of_days(shop: Shop, service: Service) -> None:
    await shop.metric()
    await shop.plan()
    kinds = {"api_calls": "sum", "counted": "count", "most": "max", "kinds": "unique_count"}
    rounded = {"rounding_function": "ceil", "rounding_precision": 0}
    for key in ("counted", "most", "kinds"):
        more = {"field_name": "value"} if key == "kinds" else rounded
        await shop.metric(key, aggregation=kinds[key], **more)
    subscriptions: list[UUID] = []
    for number in range(2):
        await shop.customer(f"c{number}")
        made = parse_id(await shop.subscription(f"c{number}"))
        assert made is not None
        subscriptions.append(made)
        for index, at in enumerate(_TIMES):
            for key in kinds:
                value = f"{index}.{number + 5}"
                body: dict[str, Any] = {"customer_id": None, "subscription_id": str(made), "metric_key": key}
                await shop.send(**body, value=value, properties={"value": value}, timestamp=f"2026-03-{at}:00Z")
    database: Database = service.app.state.database
    key = str(shop.http.headers["authorization"]).removeprefix("Bearer ")
    scope = (await caller_with_key(database, key)).scope
    async with database.transaction(scope) as connection:
        metrics = [(await required(connection, scope.project_id, METRIC, name)).id for name in kinds]
        for period in _PERIODS:
            wanted = [UsageWindow(owner, metric, period) for owner in subscriptions for metric in metrics]
            found = await usages_of_many(connection, wanted)
            for owner in subscriptions:
                one = await metric_usages(connection, owner, metrics, period)
                for metric in metrics:
                    many = found[UsageWindow(owner, metric, period)]
                    assert (many.quantity, many.events) == (one[metric].quantity, one[metric].events)
