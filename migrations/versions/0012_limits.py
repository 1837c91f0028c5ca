"""Limits: limits and reservations of usage.

Revision ID: limits
Revises: payments
"""

from alembic import op

revision = "limits"
down_revision = "payments"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE usage_limits (
    id uuid CONSTRAINT pk_usage_limits PRIMARY KEY,
    project_id uuid NOT NULL,
    subscription_id uuid NOT NULL CONSTRAINT fk_usage_limits_subscription_id_subscriptions REFERENCES subscriptions,
    metric_id uuid CONSTRAINT fk_usage_limits_metric_id_metrics REFERENCES metrics,
    cap numeric(38,18) NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_usage_limits_subscription_id_metric_id UNIQUE NULLS NOT DISTINCT (subscription_id, metric_id),
    CONSTRAINT ck_usage_limits_cap CHECK (cap >= 0 AND cap < 'Infinity')
);
CREATE INDEX ix_usage_limits_metric_id ON usage_limits (metric_id) WHERE metric_id IS NOT NULL;
CALL protect_table('usage_limits');

CREATE TABLE usage_reservations (
    id uuid CONSTRAINT pk_usage_reservations PRIMARY KEY,
    project_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    quantity numeric(38,18) NOT NULL,
    properties jsonb,
    status text DEFAULT 'open' NOT NULL,
    expires_at timestamptz NOT NULL,
    committed_quantity numeric(38,18),
    event_id uuid,
    settled_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_usage_reservations_committed CHECK ((status = 'committed') = (committed_quantity IS NOT NULL)),
    CONSTRAINT ck_usage_reservations_quantity CHECK (quantity > 0 AND quantity < 'Infinity'),
    CONSTRAINT ck_usage_reservations_status CHECK (status IN ('open', 'committed', 'released', 'expired'))
);
CREATE INDEX ix_usage_reservations_due ON usage_reservations (expires_at) WHERE status = 'open';
CREATE INDEX ix_usage_reservations_open ON usage_reservations (subscription_id, expires_at) WHERE status = 'open';
CREATE INDEX ix_usage_reservations_subscription_id ON usage_reservations (subscription_id, id);
CALL protect_table('usage_reservations');

CREATE TABLE usage_reserved (
    project_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    quantity numeric(38,18) NOT NULL,
    CONSTRAINT pk_usage_reserved PRIMARY KEY (subscription_id, metric_id)
);
CALL protect_table('usage_reserved');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE usage_reserved, usage_reservations, usage_limits;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
