"""What a level of a part of a period counts: its share of the full period, unless the metric says as much as in it.

Revision ID: partial_periods
Revises: project_keys_valid
"""

from alembic import op

revision = "partial_periods"
down_revision = "project_keys_valid"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE metrics ADD COLUMN partial_period text;
ALTER TABLE metrics ADD CONSTRAINT ck_metrics_partial_period CHECK (partial_period IN ('prorate', 'full'));
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE metrics DROP COLUMN partial_period;
"""


def upgrade() -> None:
    """Add the column."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop it."""
    op.execute(DOWNGRADE)
