"""Notifications: what the people of a project should look at, each until it was read."""

from sqlalchemy import Column, Index, Text, UniqueConstraint, Uuid

from models.tables.base import INSTANT, partial_index, tenant_table

notifications = tenant_table(
    "notifications",
    # What it is about, as a business fact: the same key makes no second notification.
    Column("key", Text, nullable=False),
    # usage_alert, usage_threshold, payment, billing, webhook, outbox
    Column("category", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("resource_type", Text),
    Column("resource_id", Uuid),
    Column("read_at", INSTANT),
    UniqueConstraint("project_id", "key"),
    Index("ix_notifications_project_id", "project_id", "id"),
    Index("ix_notifications_created_at", "created_at"),
    partial_index("ix_notifications_unread", "project_id", "id", where="read_at IS NULL"),
    has_updated=False,
)
