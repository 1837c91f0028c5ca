"""Pauses: the time for which no fee is due, and what becomes of usage in it.

Revision ID: pauses
Revises: payment_credentials
"""

from alembic import op

revision = "pauses"
down_revision = "payment_credentials"
branch_labels = None
depends_on = None

# What is paused now is paused as it always was: its fees stop when the pause began.
UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE subscriptions ADD COLUMN pauses jsonb DEFAULT '[]'::jsonb NOT NULL;
UPDATE subscriptions SET pauses = jsonb_build_array(jsonb_build_object(
    'since', to_char(coalesce(paused_at, updated_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'until', NULL, 'behavior', 'skip'))
WHERE status = 'paused';
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE subscriptions DROP COLUMN pauses;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
