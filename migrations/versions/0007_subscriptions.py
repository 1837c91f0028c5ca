"""Subscriptions: subscriptions and the plan versions that they were served.

Revision ID: subscriptions
Revises: catalogue
"""

from alembic import op

revision = "subscriptions"
down_revision = "catalogue"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE subscriptions (
    id uuid CONSTRAINT pk_subscriptions PRIMARY KEY,
    project_id uuid NOT NULL,
    customer_id uuid NOT NULL CONSTRAINT fk_subscriptions_customer_id_customers REFERENCES customers,
    plan_id uuid NOT NULL CONSTRAINT fk_subscriptions_plan_id_plans REFERENCES plans,
    plan_version_id uuid NOT NULL CONSTRAINT fk_subscriptions_plan_version_id_plan_versions REFERENCES plan_versions,
    plan_version integer NOT NULL,
    previous_plan_id uuid,
    external_id text,
    external_reference text,
    status text NOT NULL,
    interval text NOT NULL,
    anchor timestamptz NOT NULL,
    timezone text DEFAULT 'UTC' NOT NULL,
    alignment text DEFAULT 'anniversary' NOT NULL,
    starts_at timestamptz NOT NULL,
    starts_at_supplied text,
    customer_supplied text,
    plan_supplied text,
    bills_automatically_from timestamptz NOT NULL,
    current_period_start timestamptz,
    current_period_end timestamptz,
    trial_period_days integer DEFAULT 0 NOT NULL,
    trial_ends_at timestamptz,
    pay_in_advance boolean DEFAULT false NOT NULL,
    on_termination_action text DEFAULT 'generate_invoice' NOT NULL,
    contract jsonb,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    pauses jsonb DEFAULT '[]'::jsonb NOT NULL,
    test_clock_id uuid CONSTRAINT fk_subscriptions_test_clock_id_test_clocks REFERENCES test_clocks,
    clock_reached_at timestamptz,
    left_clock_at timestamptz,
    late_usage_at timestamptz,
    activated_at timestamptz,
    paused_at timestamptz,
    resumed_at timestamptz,
    cancel_at timestamptz,
    canceled_at timestamptz,
    ended_at timestamptz,
    needs_attention text,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_subscriptions_alignment CHECK (alignment IN ('anniversary', 'calendar')),
    CONSTRAINT ck_subscriptions_status CHECK (status IN ('pending', 'trialing', 'active', 'paused', 'suspended',
        'canceled', 'terminated'))
);
CREATE INDEX ix_subscriptions_customer_id ON subscriptions (customer_id, created_at);
CREATE INDEX ix_subscriptions_plan_version_id ON subscriptions (plan_version_id);
CREATE INDEX ix_subscriptions_project_id ON subscriptions (project_id, id);
CREATE INDEX ix_subscriptions_test_clock_id ON subscriptions (test_clock_id) WHERE test_clock_id IS NOT NULL;
CREATE INDEX ix_subscriptions_parked ON subscriptions (project_id) WHERE needs_attention IS NOT NULL;
CREATE INDEX ix_subscriptions_external_id ON subscriptions (project_id, external_id) WHERE external_id IS NOT NULL;
CREATE UNIQUE INDEX uq_subscriptions_external_id ON subscriptions (project_id, external_id) WHERE ended_at IS NULL;
CALL protect_table('subscriptions');

CREATE TABLE served_versions (
    subscription_id uuid NOT NULL,
    until timestamptz NOT NULL,
    project_id uuid NOT NULL,
    plan_version_id uuid NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_served_versions PRIMARY KEY (subscription_id, until)
);
CALL protect_table('served_versions');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE served_versions, subscriptions;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
