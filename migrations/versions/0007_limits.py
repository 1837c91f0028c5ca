"""Hard limits and reservations; payments that came for an invoice that was settled before.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from adapters.postgres.schema import security_statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = ["usage_limits", "usage_reservations"]


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "usage_limits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=True),
        sa.Column("cap", sa.Numeric(38, 18), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("cap >= 0 AND cap < 'Infinity'", name=op.f("ck_usage_limits_cap")),
        sa.ForeignKeyConstraint(["metric_id"], ["metrics.id"], name=op.f("fk_usage_limits_metric_id_metrics")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_usage_limits_subscription_id_subscriptions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_limits")),
        sa.UniqueConstraint(
            "subscription_id",
            "metric_id",
            name=op.f("uq_usage_limits_subscription_id_metric_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_usage_limits_metric_id", "usage_limits", ["metric_id"], postgresql_where=sa.text("metric_id IS NOT NULL")
    )
    op.create_table(
        "usage_reservations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Numeric(38, 18), nullable=False),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("status", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("committed_quantity", sa.Numeric(38, 18), nullable=True),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("quantity > 0 AND quantity < 'Infinity'", name=op.f("ck_usage_reservations_quantity")),
        sa.CheckConstraint("status IN ('open', 'committed', 'released')", name=op.f("ck_usage_reservations_status")),
        sa.CheckConstraint(
            "(status = 'committed') = (committed_quantity IS NOT NULL)", name=op.f("ck_usage_reservations_committed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_reservations")),
    )
    op.create_index("ix_usage_reservations_subscription_id", "usage_reservations", ["subscription_id", "id"])
    op.create_index(
        "ix_usage_reservations_open",
        "usage_reservations",
        ["subscription_id", "expires_at"],
        postgresql_where=sa.text("status = 'open'"),
    )
    op.add_column(
        "payment_attempts", sa.Column("unapplied_minor", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_payment_attempts_unapplied"),
        "payment_attempts",
        "unapplied_minor BETWEEN 0 AND amount_minor - refunded_minor",
    )
    for statement in security_statements(TABLES):
        op.execute(statement)


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_constraint(op.f("ck_payment_attempts_unapplied"), "payment_attempts")
    op.drop_column("payment_attempts", "unapplied_minor")
    for table in reversed(TABLES):
        op.drop_table(table)
