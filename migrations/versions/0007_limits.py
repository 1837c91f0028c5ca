"""Hard limits and reservations.

Revision ID: 0007
Revises: 0006
"""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""


def downgrade() -> None:
    """Go back to the revision before."""
