"""External ids of subscriptions: unique among those that have not ended.

Revision ID: external_ids
Revises: carried_amounts
"""

from alembic import op

revision = "external_ids"
down_revision = "carried_amounts"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

DROP INDEX uq_subscriptions_external_id;
CREATE UNIQUE INDEX uq_subscriptions_external_id ON subscriptions (project_id, external_id) WHERE ended_at IS NULL;
CREATE INDEX ix_subscriptions_external_id ON subscriptions (project_id, external_id) WHERE external_id IS NOT NULL;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP INDEX ix_subscriptions_external_id;
DROP INDEX uq_subscriptions_external_id;
CREATE UNIQUE INDEX uq_subscriptions_external_id ON subscriptions (project_id, external_id);
"""


def upgrade() -> None:
    """Replace the unique index."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Take it back; it fails if an id is used twice."""
    op.execute(DOWNGRADE)
