"""What a key may do beyond its role: scopes, of which an ingest key has those of ingestion alone.

Revision ID: scopes
Revises: period_coupons
"""

from alembic import op

revision = "scopes"
down_revision = "period_coupons"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE api_keys ADD COLUMN scopes text[];
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE api_keys DROP COLUMN scopes;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
