"""Hard limits of subscriptions, and the quantities that are reserved under them."""

from sqlalchemy import CheckConstraint, Column, Index, Table, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import DECIMAL, INSTANT, metadata, partial_index, project, refers_to, tenant_table

usage_limits = tenant_table(
    "usage_limits",
    Column("subscription_id", Uuid, nullable=False),
    refers_to("subscription_id", "subscriptions"),
    # The capped metric; NULL caps the spend of the subscription's usage.
    Column("metric_id", Uuid),
    refers_to("metric_id", "metrics"),
    # Inclusive: units of the metric, or minor units of the plan's currency.
    Column("cap", DECIMAL, nullable=False),
    CheckConstraint("cap >= 0 AND cap < 'Infinity'", name="cap"),
    UniqueConstraint("subscription_id", "metric_id", postgresql_nulls_not_distinct=True),
    partial_index("ix_usage_limits_metric_id", "metric_id", where="metric_id IS NOT NULL"),
)

usage_reservations = tenant_table(
    "usage_reservations",
    Column("subscription_id", Uuid, nullable=False),
    Column("metric_id", Uuid, nullable=False),
    Column("quantity", DECIMAL, nullable=False),
    # What the event of the usage will carry; filters and dynamic prices read them.
    Column("properties", JSONB),
    # One past its expiry counts for nothing and can no longer be committed, also while it still says open.
    Column("status", Text, nullable=False, server_default=text("'open'")),
    Column("expires_at", INSTANT, nullable=False),
    Column("committed_quantity", DECIMAL),
    Column("event_id", Uuid),
    Column("settled_at", INSTANT),
    CheckConstraint("quantity > 0 AND quantity < 'Infinity'", name="quantity"),
    CheckConstraint("status IN ('open', 'committed', 'released', 'expired')", name="status"),
    CheckConstraint("(status = 'committed') = (committed_quantity IS NOT NULL)", name="committed"),
    Index("ix_usage_reservations_subscription_id", "subscription_id", "id"),
    # What a check of spend prices, and what expired and was not swept yet.
    partial_index("ix_usage_reservations_open", "subscription_id", "expires_at", where="status = 'open'"),
    partial_index("ix_usage_reservations_due", "expires_at", where="status = 'open'"),
    has_updated=False,
)

# The sum of the reservations whose row says open: what a check reads instead of adding them up.
usage_reserved = Table(
    "usage_reserved",
    metadata,
    project(),
    Column("subscription_id", Uuid, primary_key=True),
    Column("metric_id", Uuid, primary_key=True),
    Column("quantity", DECIMAL, nullable=False),
)
