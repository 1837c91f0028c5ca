"""Webhooks that go out: who wants them, what was said, to whom it was delivered, each attempt."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import INSTANT, created, identity, metadata, project, updated

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    identity(),
    project(),
    Column("url", Text, nullable=False),
    # Empty means every type.
    Column("events", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    # Every secret signs each delivery, so that a receiver can change over; the newest is the first.
    Column("secrets", ARRAY(Text), nullable=False),
    Column("signature_algo", Text, nullable=False, server_default="hmac"),
    Column("status", Text, nullable=False, server_default="active"),
    Column("deleted_at", INSTANT),
    created(),
    updated(),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
    CheckConstraint("signature_algo IN ('hmac')", name="signature_algo"),
    Index("ix_webhook_endpoints_project_id", "project_id", "id"),
)

webhook_messages = Table(
    "webhook_messages",
    metadata,
    # msg_...: the same on every attempt to every endpoint (C9).
    Column("id", Text, primary_key=True),
    project(),
    # The outbox row that it was made of: made once, and grows with what happened to one object.
    Column("sequence", BigInteger, nullable=False),
    # Messages of one key go to an endpoint one after the other.
    Column("ordering_key", Text, nullable=False),
    Column("type", Text, nullable=False),
    # What is sent: {id, type, created_at, sequence, data}
    Column("payload", JSONB, nullable=False),
    created(),
    UniqueConstraint("sequence"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    identity(),
    project(),
    Column("message_id", Text, ForeignKey("webhook_messages.id"), nullable=False),
    Column("endpoint_id", Uuid, ForeignKey("webhook_endpoints.id"), nullable=False),
    # pending (not tried yet), succeeded, failed (the last attempt did; next_attempt_at says whether another follows)
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # NULL: no attempt follows by itself.
    Column("next_attempt_at", INSTANT),
    Column("last_attempt_at", INSTANT),
    Column("last_http_status", Integer),
    Column("last_response", Text),
    Column("last_error", Text),
    created(),
    updated(),
    CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
    UniqueConstraint("message_id", "endpoint_id"),
    Index(
        "ix_webhook_deliveries_due",
        "endpoint_id",
        "next_attempt_at",
        "id",
        postgresql_where=text("next_attempt_at IS NOT NULL"),
    ),
    Index("ix_webhook_deliveries_project_id", "project_id", "id"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    identity(),
    project(),
    Column("delivery_id", Uuid, ForeignKey("webhook_deliveries.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("http_status", Integer),
    Column("response_body", Text),
    Column("error", Text),
    Column("duration_ms", Integer, nullable=False),
    Column("attempted_at", INSTANT, nullable=False),
    UniqueConstraint("delivery_id", "number"),
)
