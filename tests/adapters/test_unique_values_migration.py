"""Values of events from before they were kept are taken over as ingestion would have kept them."""

from datetime import timedelta
from typing import Any

import psycopg
from alembic import command
from sqlalchemy import update

from adapters.postgres.events.ingest_events import IngestEvent
from adapters.postgres.migrate import _config
from models.tables import metrics
from tests.conftest import FreshDatabase
from tests.usage.test_quantities import START, Meters, meters
from tests.usage.test_unique_values import USERS

__all__ = ["meters"]


def kept(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        uniques = connection.execute("SELECT u::text FROM usage_uniques u ORDER BY 1").fetchall()
        days = connection.execute(
            "SELECT d::text FROM usage_unique_days d WHERE value_count <> 0 ORDER BY 1"
        ).fetchall()
    return uniques + days


async def test_values_of_older_events_are_taken_over(meters: Meters, fresh_database: FreshDatabase) -> None:
    async with meters.database.transaction(meters.scope) as connection:
        own = metrics.c.id == meters.metric_ids["unique_count"]
        await connection.execute(update(metrics).where(own).values(field_name="user"))
    await meters.subscription("acme")
    sent = [
        IngestEvent("unique_count", "acme", value="7.50", properties={"user": user}, occurred_at=at)
        for place, user in enumerate([*USERS, None])
        for at in (START + timedelta(hours=11 * place), START + timedelta(days=place % 4))
    ]
    await meters.ingest(sent)
    before = kept(fresh_database.admin_url)
    await meters.database.close()
    command.downgrade(_config(fresh_database.admin_url), "0007")
    command.upgrade(_config(fresh_database.admin_url), "0008")
    assert kept(fresh_database.admin_url) == before
    assert len(before) > 20
