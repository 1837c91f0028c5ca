"""Raw events, their rollups, and the marks that tell the relay which subscriptions have new usage."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Date, Index, Numeric, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import DECIMAL, INSTANT, metadata, project

events = Table(
    "events",
    metadata,
    # The identity of an event is (project, idempotency key), for ever (C3).
    Column("project_id", Uuid, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    # A UUID version 7: sorts by arrival.
    Column("id", Uuid, nullable=False),
    # What the client sent
    Column("metric_ref", Text, nullable=False),
    Column("customer_ref", Text),
    Column("subscription_ref", Text),
    Column("product_item_ref", Text),
    # What it counts for: as sent, or the number in the property that the metric names.
    Column("value", DECIMAL),
    Column("properties", JSONB),
    Column("occurred_at", INSTANT, nullable=False),
    # False when the client sent no time, so that a retry is not taken for another event.
    Column("occurred_at_given", Boolean, nullable=False, server_default=text("true")),
    Column("source", Text, nullable=False),
    # What it resolved to
    Column("metric_id", Uuid),
    Column("customer_id", Uuid),
    Column("subscription_id", Uuid),
    Column("status", Text, nullable=False),
    Column("skip_reason", Text),
    Column("received_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("status IN ('counted', 'skipped', 'voided')", name="status"),
    # Not unique: uniqueness is the key's, and this one serves look-up and lists, newest first.
    Index("ix_events_id", "project_id", "id"),
    Index(
        "ix_events_usage",
        "subscription_id",
        "metric_id",
        "occurred_at",
        postgresql_where=text("status = 'counted'"),
    ),
)

usage_rollups = Table(
    "usage_rollups",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("metric_id", Uuid, primary_key=True),
    # A UTC day
    Column("day", Date, primary_key=True),
    project(),
    # Unbounded: the sum of many storable values may need more digits than one of them has.
    Column("value_sum", Numeric, nullable=False, server_default=text("0")),
    Column("event_count", BigInteger, nullable=False, server_default=text("0")),
    Column("value_max", DECIMAL),
    Column("value_min", DECIMAL),
)

usage_marks = Table(
    "usage_marks",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    project(),
    # Grows with each ingest transaction; the subscription is dirty while signalled_version is behind.
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("signalled_version", BigInteger, nullable=False, server_default=text("0")),
    Column("marked_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("signalled_at", INSTANT),
    Index("ix_usage_marks_dirty", "marked_at", postgresql_where=text("version > signalled_version")),
)
