"""Notifications: what the people of a project should look at, each until it was read."""

from sqlalchemy import Column, Index, Table, Text, UniqueConstraint, Uuid, text

from models.tables.base import INSTANT, created, identity, metadata, project

notifications = Table(
    "notifications",
    metadata,
    identity(),
    project(),
    # What it is about, as a business fact: the same key makes no second notification.
    Column("key", Text, nullable=False),
    # usage_alert, usage_threshold, payment, billing, webhook, outbox
    Column("category", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("resource_type", Text),
    Column("resource_id", Uuid),
    Column("read_at", INSTANT),
    created(),
    UniqueConstraint("project_id", "key"),
    Index("ix_notifications_project_id", "project_id", "id"),
    Index("ix_notifications_unread", "project_id", "id", postgresql_where=text("read_at IS NULL")),
)
