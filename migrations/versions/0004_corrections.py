"""Corrections of events and what they leave to be billed.

Revision ID: 0004
Revises: 0003
"""

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""


def downgrade() -> None:
    """Go back to the revision before."""
