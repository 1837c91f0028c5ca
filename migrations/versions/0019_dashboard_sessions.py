"""Sessions of the dashboard, which end at log-out.

Revision ID: dashboard_sessions
Revises: external_ids
"""

from alembic import op

revision = "dashboard_sessions"
down_revision = "external_ids"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE dashboard_sessions (
    token_hash bytea NOT NULL,
    key_id uuid NOT NULL,
    csrf text NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_dashboard_sessions PRIMARY KEY (token_hash)
);
CREATE INDEX ix_dashboard_sessions_expires_at ON dashboard_sessions (expires_at);
ALTER TABLE dashboard_sessions ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON dashboard_sessions TO durabill_system;
CREATE POLICY system_all ON dashboard_sessions TO durabill_system USING (true) WITH CHECK (true);
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE dashboard_sessions;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
