"""Usage alerts and usage thresholds: the lines that people draw, when they were reached, and what to look at next."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import DECIMAL, INSTANT, metadata, partial_index, project, refers_to, tenant_table

ALERT_KINDS = ("usage", "projected_usage", "spend", "wallet_balance")

usage_alerts = tenant_table(
    "usage_alerts",
    Column("subscription_id", Uuid, nullable=False),
    refers_to("subscription_id", "subscriptions"),
    Column("kind", Text, nullable=False, server_default="usage"),
    # NULL for an alert on money
    Column("metric_id", Uuid),
    refers_to("metric_id", "metrics"),
    # Only events with one of these values: {"key": ..., "values": [...]}
    Column("filter", JSONB(none_as_null=True)),
    # Units of the metric; minor units for an alert on money
    Column("threshold_value", DECIMAL, nullable=False),
    # The percentages of threshold_value at which it fires
    Column("levels", ARRAY(Integer), nullable=False, server_default=text("'{100}'::integer[]")),
    Column("recurring", Boolean, nullable=False, server_default=text("false")),
    Column("name", Text),
    Column("times_triggered", Integer, nullable=False, server_default=text("0")),
    Column("triggered_at", INSTANT),
    # A deleted alert stays for its triggers.
    Column("deleted_at", INSTANT),
    CheckConstraint("kind IN (" + ", ".join(repr(kind) for kind in ALERT_KINDS) + ")", name="kind"),
    CheckConstraint("(kind IN ('usage', 'projected_usage')) = (metric_id IS NOT NULL)", name="metric"),
    CheckConstraint("filter IS NULL OR metric_id IS NOT NULL", name="filter"),
    CheckConstraint("threshold_value > 0 AND threshold_value <> 'NaN'", name="threshold_value"),
    CheckConstraint("cardinality(levels) BETWEEN 1 AND 10", name="levels"),
    partial_index("ix_usage_alerts_subscription_id", "subscription_id", "id", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

# One row for each level that an alert reached: once, or once a period.
usage_alert_triggers = tenant_table(
    "usage_alert_triggers",
    Column("usage_alert_id", Uuid, nullable=False),
    refers_to("usage_alert_id", "usage_alerts"),
    Column("level", Integer, nullable=False),
    # "once", or the start of the period
    Column("occasion", Text, nullable=False),
    Column("period_start", INSTANT, nullable=False),
    # As they were when it fired
    Column("current_usage", Numeric, nullable=False),
    Column("threshold_value", DECIMAL, nullable=False),
    Column("metric_code", Text, nullable=False),
    Column("triggered_at", INSTANT, nullable=False),
    UniqueConstraint("usage_alert_id", "level", "occasion"),
    Index("ix_usage_alert_triggers_alert", "usage_alert_id", "id"),
    has_updated=False,
)

usage_thresholds = tenant_table(
    "usage_thresholds",
    # Of a plan, for every subscription to it, or of one subscription
    Column("plan_id", Uuid),
    refers_to("plan_id", "plans"),
    Column("subscription_id", Uuid),
    refers_to("subscription_id", "subscriptions"),
    Column("amount_cents", DECIMAL, nullable=False),
    Column("currency", Text, nullable=False),
    Column("recurring", Boolean, nullable=False, server_default=text("false")),
    Column("threshold_display_name", Text),
    Column("deleted_at", INSTANT),
    CheckConstraint("num_nonnulls(plan_id, subscription_id) = 1", name="owner"),
    CheckConstraint("amount_cents >= 0 AND amount_cents <> 'NaN'", name="amount_cents"),
    partial_index("ix_usage_thresholds_plan_id", "plan_id", "id", where="deleted_at IS NULL"),
    partial_index("ix_usage_thresholds_subscription_id", "subscription_id", "id", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

usage_threshold_crossings = tenant_table(
    "usage_threshold_crossings",
    Column("usage_threshold_id", Uuid, nullable=False),
    refers_to("usage_threshold_id", "usage_thresholds"),
    Column("subscription_id", Uuid, nullable=False),
    refers_to("subscription_id", "subscriptions"),
    # "once", or the start of the period
    Column("occasion", Text, nullable=False),
    Column("period_start", INSTANT, nullable=False),
    Column("spend_minor", DECIMAL, nullable=False),
    # The progressive invoice of the crossing: several thresholds that one jump crosses share one.
    Column("billing_key", Text, nullable=False),
    Column("crossed_at", INSTANT, nullable=False),
    UniqueConstraint("usage_threshold_id", "subscription_id", "occasion"),
    Index("ix_usage_threshold_crossings_subscription_id", "subscription_id", "period_start"),
    has_updated=False,
)

# The nearest threshold of each metric of a subscription: the relay tells its workflow at once when usage gets there.
evaluation_thresholds = Table(
    "evaluation_thresholds",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("metric_id", Uuid, primary_key=True),
    project(),
    # A level of a long number has more digits than a number that anybody sends.
    Column("quantity", Numeric, nullable=False),
    Column("period_start", INSTANT, nullable=False),
    Column("period_end", INSTANT, nullable=False),
    # A line that was told is not told again before: the subscription looks, and draws the next one.
    Column("suppressed_until", INSTANT),
)
