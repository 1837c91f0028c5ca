"""Test clocks wait for ended subscriptions of which something is still due.

Revision ID: clock_participants
Revises: pruning
"""

from alembic import op

revision = "clock_participants"
down_revision = "pruning"
branch_labels = None
depends_on = None

# Whoever has ended before this revision is not waited for, as before it.
UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE subscriptions ADD COLUMN left_clock_at timestamptz;
ALTER TABLE subscriptions ADD COLUMN late_usage_at timestamptz;
UPDATE subscriptions SET left_clock_at = ended_at WHERE ended_at IS NOT NULL AND test_clock_id IS NOT NULL;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE subscriptions DROP COLUMN late_usage_at;
ALTER TABLE subscriptions DROP COLUMN left_clock_at;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
