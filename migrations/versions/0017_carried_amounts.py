"""Carried amounts: an index of the lines that carry what a provider cannot take to the next invoice.

Revision ID: carried_amounts
Revises: pauses
"""

from alembic import op

revision = "carried_amounts"
down_revision = "pauses"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE INDEX ix_invoice_lines_carried ON invoice_lines (reference) WHERE kind = 'carried';
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP INDEX ix_invoice_lines_carried;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
