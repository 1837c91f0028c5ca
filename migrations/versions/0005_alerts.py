"""Usage alerts and usage thresholds.

Revision ID: 0005
Revises: 0004
"""

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""


def downgrade() -> None:
    """Go back to the revision before."""
