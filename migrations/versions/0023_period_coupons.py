"""Which coupons discount a billing period, so that a later correction is priced under them.

Revision ID: period_coupons
Revises: backlog
"""

from alembic import op

revision = "period_coupons"
down_revision = "backlog"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE period_coupons (
    project_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    period_start timestamptz NOT NULL,
    application_id uuid NOT NULL,
    since_minor bigint DEFAULT 0 NOT NULL,
    CONSTRAINT pk_period_coupons PRIMARY KEY (subscription_id, period_start, application_id),
    CONSTRAINT fk_period_coupons_subscription_id_subscriptions FOREIGN KEY (subscription_id) REFERENCES
        subscriptions(id),
    CONSTRAINT fk_period_coupons_application_id_applied_coupons FOREIGN KEY (application_id) REFERENCES
        applied_coupons(id)
);
CALL protect_table('period_coupons');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE period_coupons;
"""


def upgrade() -> None:
    """Make the table, its policies and its grants."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Drop them."""
    op.execute(DOWNGRADE)
