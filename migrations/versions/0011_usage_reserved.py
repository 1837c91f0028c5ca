"""What is reserved of a metric as one running figure; reservations that nobody settled are marked expired.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

from adapters.postgres.schema import security_statements

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "usage_reserved",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=False),
        sa.Column("quantity", sa.Numeric(38, 18), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "metric_id", name=op.f("pk_usage_reserved")),
    )
    op.execute(
        "INSERT INTO usage_reserved (project_id, subscription_id, metric_id, quantity) "
        "SELECT project_id, subscription_id, metric_id, sum(quantity) FROM usage_reservations "
        "WHERE status = 'open' GROUP BY project_id, subscription_id, metric_id"
    )
    _statuses("'open', 'committed', 'released', 'expired'")
    op.create_index(
        "ix_usage_reservations_due", "usage_reservations", ["expires_at"], postgresql_where=sa.text("status = 'open'")
    )
    for statement in security_statements(["usage_reserved"]):
        op.execute(statement)


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_index("ix_usage_reservations_due", "usage_reservations")
    op.execute("UPDATE usage_reservations SET status = 'open' WHERE status = 'expired'")
    _statuses("'open', 'committed', 'released'")
    op.drop_table("usage_reserved")


def _statuses(allowed: str) -> None:
    name = op.f("ck_usage_reservations_status")
    op.drop_constraint(name, "usage_reservations")
    op.create_check_constraint(name, "usage_reservations", f"status IN ({allowed})")
