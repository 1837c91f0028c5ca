"""Metering rules: what metrics and charges keep beside the first schema.

Revision ID: 0002
Revises: 0001
"""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""


def downgrade() -> None:
    """Go back to the revision before."""
