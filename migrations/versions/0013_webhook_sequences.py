"""The last numbers of resources whose webhooks were cleaned up, so that numbers never start again.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

from adapters.postgres.schema import security_statements

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.create_table(
        "webhook_sequences",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("ordering_key", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "ordering_key", name=op.f("pk_webhook_sequences")),
    )
    for statement in security_statements(["webhook_sequences"]):
        op.execute(statement)


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_table("webhook_sequences")
