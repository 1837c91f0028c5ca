"""What waits, of all tenants: the ages of the oldest rows of the queues, and what was parked (system scope)."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Each part reads one end of a partial index, or a partial index that is nearly empty.
_BACKLOG: Final = text("""
    SELECT
        (SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM outbox
         WHERE delivered_at IS NULL AND parked_at IS NULL AND topic <> 'webhook' ORDER BY id LIMIT 1) AS outbox_seconds,
        (SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 FROM outbox
         WHERE delivered_at IS NULL AND parked_at IS NULL AND topic = 'webhook' ORDER BY id LIMIT 1) AS fan_out_seconds,
        (SELECT extract(epoch FROM clock_timestamp() - min(next_attempt_at))::float8 FROM webhook_deliveries
         WHERE status = 'pending' AND next_attempt_at IS NOT NULL) AS delivery_seconds,
        (SELECT count(*) FROM outbox WHERE parked_at IS NOT NULL) AS parked_rows,
        (SELECT count(*) FROM subscriptions WHERE needs_attention IS NOT NULL) AS parked_subscriptions,
        (SELECT count(*) FROM invoices WHERE needs_attention IS NOT NULL) AS parked_invoices
""")


@dataclass(frozen=True)
class Backlog:
    """Ages in seconds of what has waited longest, 0 where nothing waits, and numbers of what was parked."""

    outbox_seconds: float
    webhook_seconds: float
    parked_rows: int
    parked_subscriptions: int
    parked_invoices: int


async def backlog(connection: AsyncConnection) -> Backlog:
    """Read what waits, in one statement."""
    row = (await connection.execute(_BACKLOG)).one()
    return Backlog(
        outbox_seconds=max(row.outbox_seconds or 0.0, 0.0),
        webhook_seconds=max(row.fan_out_seconds or 0.0, row.delivery_seconds or 0.0, 0.0),
        parked_rows=row.parked_rows,
        parked_subscriptions=row.parked_subscriptions,
        parked_invoices=row.parked_invoices,
    )
