"""Indexes of what was parked, for the metrics and for operators.

Revision ID: backlog
Revises: clock_participants
"""

from alembic import op

revision = "backlog"
down_revision = "clock_participants"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE INDEX ix_subscriptions_parked ON subscriptions (project_id) WHERE needs_attention IS NOT NULL;
CREATE INDEX ix_invoices_parked ON invoices (project_id) WHERE needs_attention IS NOT NULL;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP INDEX ix_subscriptions_parked;
DROP INDEX ix_invoices_parked;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
