"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

# Frozen SQL: it imports nothing of the code, whose names and rules move on. CALL protect_table('...') gives a new table
# of projects the rights and policies that adapters.postgres.schema.security_statements([table]) demands.
UPGRADE = """
SET LOCAL lock_timeout = '5s';

"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
