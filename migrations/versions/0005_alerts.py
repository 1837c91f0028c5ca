"""Usage alerts and usage thresholds.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from adapters.postgres.schema import security_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ["usage_alerts", "usage_alert_triggers", "usage_thresholds", "usage_threshold_crossings", "usage_lines"]


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "usage_alerts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="usage", nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=True),
        sa.Column("filter", postgresql.JSONB(), nullable=True),
        sa.Column("threshold_value", sa.Numeric(38, 18), nullable=False),
        sa.Column("levels", sa.ARRAY(sa.Integer()), server_default=sa.text("'{100}'::integer[]"), nullable=False),
        sa.Column("recurring", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("times_triggered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("triggered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "(kind IN ('usage', 'projected_usage')) = (metric_id IS NOT NULL)", name=op.f("ck_usage_alerts_metric")
        ),
        sa.CheckConstraint(
            "kind IN ('usage', 'projected_usage', 'spend', 'wallet_balance')", name=op.f("ck_usage_alerts_kind")
        ),
        sa.CheckConstraint(
            "threshold_value > 0 AND threshold_value <> 'NaN'", name=op.f("ck_usage_alerts_threshold_value")
        ),
        sa.CheckConstraint("cardinality(levels) BETWEEN 1 AND 10", name=op.f("ck_usage_alerts_levels")),
        sa.CheckConstraint("filter IS NULL OR metric_id IS NOT NULL", name=op.f("ck_usage_alerts_filter")),
        sa.ForeignKeyConstraint(["metric_id"], ["metrics.id"], name=op.f("fk_usage_alerts_metric_id_metrics")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_usage_alerts_subscription_id_subscriptions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_alerts")),
    )
    op.create_index("ix_usage_alerts_project_id", "usage_alerts", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_usage_alerts_subscription_id",
        "usage_alerts",
        ["subscription_id", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "usage_alert_triggers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("usage_alert_id", sa.Uuid(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("current_usage", sa.Numeric(), nullable=False),
        sa.Column("threshold_value", sa.Numeric(38, 18), nullable=False),
        sa.Column("metric_code", sa.Text(), nullable=False),
        sa.Column("triggered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["usage_alert_id"], ["usage_alerts.id"], name=op.f("fk_usage_alert_triggers_usage_alert_id_usage_alerts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_alert_triggers")),
        sa.UniqueConstraint(
            "usage_alert_id", "level", "occasion", name=op.f("uq_usage_alert_triggers_usage_alert_id_level_occasion")
        ),
    )
    op.create_index("ix_usage_alert_triggers_alert", "usage_alert_triggers", ["usage_alert_id", "id"], unique=False)
    op.create_table(
        "usage_thresholds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=True),
        sa.Column("subscription_id", sa.Uuid(), nullable=True),
        sa.Column("amount_cents", sa.Numeric(38, 18), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("recurring", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("threshold_display_name", sa.Text(), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "amount_cents >= 0 AND amount_cents <> 'NaN'", name=op.f("ck_usage_thresholds_amount_cents")
        ),
        sa.CheckConstraint("num_nonnulls(plan_id, subscription_id) = 1", name=op.f("ck_usage_thresholds_owner")),
        sa.ForeignKeyConstraint(["plan_id"], ["plans.id"], name=op.f("fk_usage_thresholds_plan_id_plans")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_usage_thresholds_subscription_id_subscriptions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_thresholds")),
    )
    op.create_index(
        "ix_usage_thresholds_plan_id",
        "usage_thresholds",
        ["plan_id", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index(
        "ix_usage_thresholds_subscription_id",
        "usage_thresholds",
        ["subscription_id", "id"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "usage_threshold_crossings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("usage_threshold_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("spend_minor", sa.Numeric(38, 18), nullable=False),
        sa.Column("billing_key", sa.Text(), nullable=False),
        sa.Column("crossed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_usage_threshold_crossings_subscription_id_subscriptions"),
        ),
        sa.ForeignKeyConstraint(
            ["usage_threshold_id"],
            ["usage_thresholds.id"],
            name=op.f("fk_usage_threshold_crossings_usage_threshold_id_usage_thresholds"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_threshold_crossings")),
        sa.UniqueConstraint(
            "usage_threshold_id",
            "subscription_id",
            "occasion",
            name=op.f("uq_usage_threshold_crossings_usage_threshold_id_subscription_id_occasion"),
        ),
    )
    op.create_index(
        "ix_usage_threshold_crossings_subscription_id",
        "usage_threshold_crossings",
        ["subscription_id", "period_start"],
        unique=False,
    )
    op.create_table(
        "usage_lines",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Numeric(38, 18), nullable=False),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "metric_id", name=op.f("pk_usage_lines")),
    )
    for statement in security_statements(TABLES):
        op.execute(statement)


def downgrade() -> None:
    """Go back to the revision before."""
    for table in reversed(TABLES):
        op.drop_table(table)
