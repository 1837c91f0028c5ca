"""Clean-up of webhooks: what was delivered or given up long ago goes, with its attempts (docs/webhooks.md)."""

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

#: Rows of one transaction.
MOST: Final = 5_000

# Ids begin with their instant, so the old ones are one end of the primary key.
_DELIVERIES: Final = text("""
WITH since AS (
    SELECT clock_timestamp() - CAST(:kept AS interval) AS at
), bound AS MATERIALIZED (
    SELECT at, CAST(rpad(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0'), 32, '0') AS uuid) AS id
    FROM since
), old AS MATERIALIZED (
    SELECT id FROM webhook_deliveries
    WHERE id < (SELECT id FROM bound) AND updated_at < (SELECT at FROM bound)
    ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED
), attempts AS (
    DELETE FROM webhook_attempts a USING old WHERE a.delivery_id = old.id
)
DELETE FROM webhook_deliveries d USING old WHERE d.id = old.id
""")
_MESSAGES: Final = text("""
WITH old AS MATERIALIZED (
    SELECT m.id FROM projects p CROSS JOIN LATERAL (
        SELECT id FROM webhook_messages
        WHERE project_id = p.id AND created_at < clock_timestamp() - CAST(:kept AS interval)
          AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.message_id = webhook_messages.id)
        ORDER BY created_at LIMIT :most
    ) m LIMIT :most
), gone AS (
    DELETE FROM webhook_messages m USING old WHERE m.id = old.id RETURNING m.project_id, m.ordering_key, m.sequence
), numbers AS (
    INSERT INTO webhook_sequences (project_id, ordering_key, sequence)
    SELECT project_id, ordering_key, max(sequence) FROM gone GROUP BY project_id, ordering_key
    ON CONFLICT (project_id, ordering_key)
    DO UPDATE SET sequence = greatest(webhook_sequences.sequence, excluded.sequence)
)
SELECT count(*) FROM gone
""")


async def prune(connection: AsyncConnection, *, kept: timedelta, most: int = MOST) -> int:
    """Delete deliveries that nothing happened to for longer than ``kept``, and messages of that age that none needs.

    At most so many of each; returns how many (system scope). A resource's last number stays, so that its next message
    goes on from there.
    """
    asked: dict[str, Any] = {"kept": kept, "most": most}
    deliveries = (await connection.execute(_DELIVERIES, asked)).rowcount
    return deliveries + int((await connection.execute(_MESSAGES, asked)).scalar_one())
