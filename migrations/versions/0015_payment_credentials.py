"""Payment credentials: keys of payment providers, encrypted, one for each provider and project.

Revision ID: payment_credentials
Revises: far_events
"""

from alembic import op

revision = "payment_credentials"
down_revision = "far_events"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE payment_credentials (
    id uuid CONSTRAINT pk_payment_credentials PRIMARY KEY,
    project_id uuid NOT NULL,
    provider text NOT NULL,
    mode text NOT NULL,
    sealed_key text NOT NULL,
    last_four text NOT NULL,
    account_id text,
    verified_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_payment_credentials_mode CHECK (mode IN ('live', 'test')),
    CONSTRAINT uq_payment_credentials_project_id_provider UNIQUE (project_id, provider)
);
CALL protect_table('payment_credentials');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE payment_credentials;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
