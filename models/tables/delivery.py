"""The outbox: what must reach Temporal or the outside world, written with the state it tells about."""

from sqlalchemy import BigInteger, Column, Identity, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import INSTANT, created, metadata, partial_index, project

#: What makes a row of the outbox one that is to be delivered.
WAITING = "delivered_at IS NULL AND parked_at IS NULL"

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    project(),
    # workflow.start, workflow.signal, webhook
    Column("topic", Text, nullable=False),
    # Rows of one ordering key are delivered in the order of their ids (for example a workflow's id).
    Column("ordering_key", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("last_error", Text),
    Column("delivered_at", INSTANT),
    # Nobody can read the row (last_error says why): it waits for an operator, and the others go on.
    Column("parked_at", INSTANT),
    created(),
    # Each waiting row is in one of these; queries say the same conditions in the same words.
    partial_index("ix_outbox_workflows", "id", where=f"{WAITING} AND topic <> 'webhook'"),
    partial_index("ix_outbox_webhooks", "id", where=f"{WAITING} AND topic = 'webhook'"),
    partial_index("ix_outbox_ordering", "ordering_key", "id", where=f"{WAITING} AND topic <> 'webhook'"),
    partial_index("ix_outbox_parked", "id", where="parked_at IS NOT NULL"),
    partial_index("ix_outbox_delivered", "delivered_at", where="delivered_at IS NOT NULL"),
)
