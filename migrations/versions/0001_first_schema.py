"""The first schema.

Revision ID: 0001
Revises:
"""

from alembic import op

from adapters.postgres.schema import security_statements
from models.tables import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
    for statement in security_statements():
        op.execute(statement)


def downgrade() -> None:
    metadata.drop_all(op.get_bind())
