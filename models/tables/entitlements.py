"""Features, and the values that plans grant of them."""

from sqlalchemy import CheckConstraint, Column, Index, Text, UniqueConstraint, Uuid

from models.tables.base import INSTANT, refers_to, tenant_table, unique_index

features = tenant_table(
    "features",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    # Fixed for ever: what plans grant is kept in its form.
    Column("feature_type", Text, nullable=False),
    Column("deleted_at", INSTANT),
    CheckConstraint("feature_type IN ('boolean', 'quantity', 'custom')", name="feature_type"),
    unique_index("uq_features_code", "project_id", "code", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

entitlements = tenant_table(
    "entitlements",
    # Of the plan, not of a version: what is granted changes for pinned subscriptions too.
    Column("plan_id", Uuid, nullable=False),
    refers_to("plan_id", "plans"),
    Column("feature_id", Uuid, nullable=False),
    refers_to("feature_id", "features"),
    # billing.entitlements.entitlement_text
    Column("value", Text, nullable=False),
    UniqueConstraint("plan_id", "feature_id"),
    Index("ix_entitlements_feature_id", "feature_id"),
)
