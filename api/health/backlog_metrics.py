"""Gauges of what waits in Postgres, read again at a scrape when they are older than a few seconds."""

import time
from typing import Final

from prometheus_client import Gauge

from adapters.postgres.database import SYSTEM, Database
from adapters.postgres.reports import backlog_store
from models.problems import Problem

_FRESH_SECONDS: Final = 5.0
_DATABASE: Final = Gauge("durabill_database_up", "Whether the figures of the database could be read: 1 or 0.")
_LAG: Final = Gauge("durabill_lag_seconds", "Age of what has waited longest: outbox or webhook.", ["queue"])
_PARKED: Final = Gauge("durabill_parked", "What waits for an operator: outbox, subscription or invoice.", ["what"])
_read_at = {"seconds": float("-inf")}


async def refresh(database: Database) -> None:
    """Read the gauges, unless that was done a moment ago; without an answer only ``durabill_database_up`` changes."""
    now = time.monotonic()
    if now - _read_at["seconds"] < _FRESH_SECONDS:
        return
    _read_at["seconds"] = now
    try:
        async with database.transaction(SYSTEM) as connection:
            found = await backlog_store.backlog(connection)
    except Problem:
        _DATABASE.set(0)
        return
    _DATABASE.set(1)
    _LAG.labels("outbox").set(found.outbox_seconds)
    _LAG.labels("webhook").set(found.webhook_seconds)
    _PARKED.labels("outbox").set(found.parked_rows)
    _PARKED.labels("subscription").set(found.parked_subscriptions)
    _PARKED.labels("invoice").set(found.parked_invoices)
