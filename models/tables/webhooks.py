"""Webhooks that go out: who wants them, what was said, to whom it was delivered, each attempt."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import INSTANT, created, identity, metadata, partial_index, project, refers_to, tenant_table

webhook_endpoints = tenant_table(
    "webhook_endpoints",
    Column("url", Text, nullable=False),
    # Empty means every type; invoice.* is every type about invoices.
    Column("events", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    # The newest is the first; the one before it signs as well until old_secret_until: receivers can change over.
    Column("secrets", ARRAY(Text), nullable=False),
    Column("old_secret_until", INSTANT),
    Column("signature_algo", Text, nullable=False, server_default="hmac"),
    Column("status", Text, nullable=False, server_default="active"),
    # The first failed attempt since something was last accepted.
    Column("failing_since", INSTANT),
    # Why Durabill disabled it; NULL if it is active, or somebody disabled it on purpose.
    Column("disabled_reason", Text),
    Column("deleted_at", INSTANT),
    CheckConstraint("status IN ('active', 'disabled')", name="status"),
    CheckConstraint("signature_algo IN ('hmac')", name="signature_algo"),
    UniqueConstraint("project_id", "id"),
)

webhook_messages = Table(
    "webhook_messages",
    metadata,
    # msg_...: the same on every attempt to every endpoint (C9).
    Column("id", Text, primary_key=True),
    project(),
    # The outbox row that it was made of, so that it is made once.
    Column("outbox_id", BigInteger, nullable=False),
    # Messages of one key (one resource) go to an endpoint one after the other; sequence counts them from 1.
    Column("ordering_key", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    # What is sent: {id, type, created_at, sequence, data}
    Column("payload", JSONB, nullable=False),
    created(),
    UniqueConstraint("outbox_id"),
    UniqueConstraint("project_id", "ordering_key", "sequence"),
    Index("ix_webhook_messages_created", "project_id", "created_at"),
    UniqueConstraint("project_id", "id"),
)

# The last number of a resource whose messages are gone, so that numbers never start again.
webhook_sequences = Table(
    "webhook_sequences",
    metadata,
    Column("project_id", Uuid, primary_key=True),
    Column("ordering_key", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

webhook_deliveries = tenant_table(
    "webhook_deliveries",
    Column("message_id", Text, nullable=False),
    refers_to("message_id", "webhook_messages"),
    Column("endpoint_id", Uuid, nullable=False),
    refers_to("endpoint_id", "webhook_endpoints"),
    # pending (the relay sends it), succeeded, failed (the last attempt did; next_attempt_at says if another follows)
    Column("status", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # Those of the schedule, without the ones that somebody asked for.
    Column("scheduled_attempts", Integer, nullable=False, server_default=text("0")),
    # When the relay (while pending) or the delivery's workflow (after a failure) sends it; NULL: nobody does.
    Column("next_attempt_at", INSTANT),
    Column("last_attempt_at", INSTANT),
    Column("last_http_status", Integer),
    Column("last_response", Text),
    Column("last_error", Text),
    CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
    UniqueConstraint("message_id", "endpoint_id"),
    partial_index(
        "ix_webhook_deliveries_due",
        "endpoint_id",
        "next_attempt_at",
        "id",
        where="status = 'pending' AND next_attempt_at IS NOT NULL",
    ),
    UniqueConstraint("project_id", "id"),
    partial_index(
        "ix_webhook_deliveries_retried",
        "endpoint_id",
        "next_attempt_at",
        where="status = 'failed' AND next_attempt_at IS NOT NULL",
    ),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    identity(),
    project(),
    Column("delivery_id", Uuid, nullable=False),
    refers_to("delivery_id", "webhook_deliveries"),
    Column("number", Integer, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("http_status", Integer),
    Column("response_body", Text),
    Column("error", Text),
    Column("duration_ms", Integer, nullable=False),
    Column("attempted_at", INSTANT, nullable=False),
    UniqueConstraint("delivery_id", "number"),
)
