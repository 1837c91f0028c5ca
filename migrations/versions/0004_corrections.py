"""Corrections of events and what they leave to be billed.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from adapters.postgres.schema import security_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ["event_reprocessings", "served_versions", "usage_checks", "usage_corrections"]


def upgrade() -> None:
    """Bring the schema to this revision."""
    _corrections()
    _checks()
    _reprocessings()
    _served_versions()
    op.create_index(
        "ix_events_uncounted", "events", ["project_id", "occurred_at"], postgresql_where=sa.text("status <> 'counted'")
    )
    for statement in security_statements(TABLES):
        op.execute(statement)


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_index("ix_events_uncounted", "events")
    for table in TABLES:
        op.drop_table(table)


def _instant(name: str, *, nullable: bool = True) -> sa.Column[sa.DateTime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _created() -> sa.Column[sa.DateTime]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
    )


def _number(name: str) -> sa.Column[sa.BigInteger]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def _corrections() -> None:
    op.create_table(
        "usage_corrections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("backfill_id", sa.Uuid()),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("subscription_id", sa.Uuid()),
        sa.Column("metric_id", sa.Uuid()),
        _instant("occurred_at", nullable=False),
        sa.Column("old_value", sa.Numeric(38, 18)),
        sa.Column("new_value", sa.Numeric(38, 18)),
        sa.Column("old_properties", postgresql.JSONB()),
        sa.Column("new_properties", postgresql.JSONB()),
        sa.Column("reason", sa.Text()),
        sa.Column("actor_type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text()),
        _instant("settled_at"),
        sa.Column("settled_by", sa.Uuid()),
        _created(),
        sa.CheckConstraint("kind IN ('amended', 'voided', 'added')", name=op.f("ck_usage_corrections_kind")),
        sa.ForeignKeyConstraint(
            ["settled_by"],
            ["invoices.id"],
            name=op.f("fk_usage_corrections_settled_by_invoices"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_corrections")),
    )
    op.create_index(
        "ix_usage_corrections_pending",
        "usage_corrections",
        ["subscription_id"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index("ix_usage_corrections_project_id", "usage_corrections", ["project_id", "id"])
    op.create_index("ix_usage_corrections_event_id", "usage_corrections", ["event_id"])
    op.create_index(
        "ix_usage_corrections_settled_by",
        "usage_corrections",
        ["settled_by"],
        postgresql_where=sa.text("settled_by IS NOT NULL"),
    )


def _checks() -> None:
    op.create_table(
        "usage_checks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        _number("checked"),
        _number("differences"),
        sa.Column("details", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        _instant("finished_at"),
        _created(),
        sa.CheckConstraint("status IN ('running', 'clean', 'different')", name=op.f("ck_usage_checks_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_checks")),
    )
    op.create_index("ix_usage_checks_project_id", "usage_checks", ["project_id", "id"])


def _reprocessings() -> None:
    op.create_table(
        "event_reprocessings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        _instant("window_start", nullable=False),
        _instant("window_end", nullable=False),
        sa.Column("metric_ref", sa.Text()),
        sa.Column("customer_ref", sa.Text()),
        _number("total"),
        _number("seen"),
        _number("counted"),
        sa.Column("last_event_id", sa.Uuid()),
        sa.Column("actor_type", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text()),
        _instant("finished_at"),
        _created(),
        sa.CheckConstraint("status IN ('running', 'done')", name=op.f("ck_event_reprocessings_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_reprocessings")),
    )
    op.create_index("ix_event_reprocessings_project_id", "event_reprocessings", ["project_id", "id"])


def _served_versions() -> None:
    op.create_table(
        "served_versions",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        _instant("until", nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("plan_version_id", sa.Uuid(), nullable=False),
        _created(),
        sa.PrimaryKeyConstraint("subscription_id", "until", name=op.f("pk_served_versions")),
    )
