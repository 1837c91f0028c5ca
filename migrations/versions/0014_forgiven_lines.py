"""What voided invoices forgave, and the billing periods that are to be billed again.

Revision ID: forgiven_lines
Revises: alerts
"""

from alembic import op

revision = "forgiven_lines"
down_revision = "alerts"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE invoice_lines ADD COLUMN forgiven_minor bigint;
CREATE TABLE reopened_periods (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    period_start timestamptz NOT NULL,
    plan_version_id uuid NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_reopened_periods PRIMARY KEY (id),
    CONSTRAINT fk_reopened_periods_subscription_id_subscriptions FOREIGN KEY (subscription_id) REFERENCES
        subscriptions(id),
    CONSTRAINT fk_reopened_periods_plan_version_id_plan_versions FOREIGN KEY (plan_version_id) REFERENCES
        plan_versions(id)
);
CREATE INDEX ix_reopened_periods_subscription_id_period_start ON reopened_periods (subscription_id, period_start);
CALL protect_table('reopened_periods');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE reopened_periods;
ALTER TABLE invoice_lines DROP COLUMN forgiven_minor;
"""


def upgrade() -> None:
    """Make the column, and the table with its policies and grants."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them."""
    op.execute(DOWNGRADE)
