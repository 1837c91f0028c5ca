"""The lines of alerts hold every level of every threshold value.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_STORED = sa.Numeric(38, 18)


def upgrade() -> None:
    """Bring the schema to this revision; no row is rewritten."""
    op.alter_column("usage_lines", "quantity", type_=sa.Numeric(), existing_type=_STORED, existing_nullable=False)


def downgrade() -> None:
    """Go back to the revision before; lines too long for it are drawn again by the next look."""
    op.execute("DELETE FROM usage_lines WHERE quantity >= 1e20")
    op.alter_column("usage_lines", "quantity", type_=_STORED, existing_type=sa.Numeric(), existing_nullable=False)
