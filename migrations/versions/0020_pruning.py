"""Indexes by time, for pruning what grows.

Revision ID: pruning
Revises: dashboard_sessions
"""

from alembic import op

revision = "pruning"
down_revision = "dashboard_sessions"
branch_labels = None
depends_on = None

# Block ranges suit tables that grow at their end, and cost an insert next to nothing.
UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE INDEX ix_event_keys_event_id ON event_keys USING brin (event_id) WITH (autosummarize = on);
CREATE INDEX ix_audit_log_recorded_at ON audit_log USING brin (recorded_at) WITH (autosummarize = on);
CREATE INDEX ix_notifications_created_at ON notifications (created_at);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
CREATE INDEX ix_outbox_delivered ON outbox (delivered_at) WHERE delivered_at IS NOT NULL;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP INDEX ix_event_keys_event_id;
DROP INDEX ix_audit_log_recorded_at;
DROP INDEX ix_notifications_created_at;
DROP INDEX ix_idempotency_keys_created_at;
DROP INDEX ix_outbox_delivered;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
