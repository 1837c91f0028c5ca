"""Alerts: alerts, thresholds and what reached them.

Revision ID: alerts
Revises: limits
"""

from alembic import op

revision = "alerts"
down_revision = "limits"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE usage_alerts (
    id uuid CONSTRAINT pk_usage_alerts PRIMARY KEY,
    project_id uuid NOT NULL,
    subscription_id uuid NOT NULL CONSTRAINT fk_usage_alerts_subscription_id_subscriptions REFERENCES subscriptions,
    kind text DEFAULT 'usage' NOT NULL,
    metric_id uuid CONSTRAINT fk_usage_alerts_metric_id_metrics REFERENCES metrics,
    filter jsonb,
    threshold_value numeric(38,18) NOT NULL,
    levels integer[] DEFAULT '{100}'::integer[] NOT NULL,
    recurring boolean DEFAULT false NOT NULL,
    name text,
    times_triggered integer DEFAULT 0 NOT NULL,
    triggered_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_usage_alerts_filter CHECK (filter IS NULL OR metric_id IS NOT NULL),
    CONSTRAINT ck_usage_alerts_kind CHECK (kind IN ('usage', 'projected_usage', 'spend', 'wallet_balance')),
    CONSTRAINT ck_usage_alerts_levels CHECK (cardinality(levels) BETWEEN 1 AND 10),
    CONSTRAINT ck_usage_alerts_metric CHECK ((kind IN ('usage', 'projected_usage')) = (metric_id IS NOT NULL)),
    CONSTRAINT ck_usage_alerts_threshold_value CHECK (threshold_value > 0 AND threshold_value <> 'NaN')
);
CREATE INDEX ix_usage_alerts_project_id ON usage_alerts (project_id, id);
CREATE INDEX ix_usage_alerts_subscription_id ON usage_alerts (subscription_id, id) WHERE deleted_at IS NULL;
CALL protect_table('usage_alerts');

CREATE TABLE usage_alert_triggers (
    id uuid CONSTRAINT pk_usage_alert_triggers PRIMARY KEY,
    project_id uuid NOT NULL,
    usage_alert_id uuid NOT NULL
        CONSTRAINT fk_usage_alert_triggers_usage_alert_id_usage_alerts REFERENCES usage_alerts,
    level integer NOT NULL,
    occasion text NOT NULL,
    period_start timestamptz NOT NULL,
    current_usage numeric NOT NULL,
    threshold_value numeric(38,18) NOT NULL,
    metric_code text NOT NULL,
    triggered_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_usage_alert_triggers_usage_alert_id_level_occasion UNIQUE (usage_alert_id, level, occasion)
);
CREATE INDEX ix_usage_alert_triggers_alert ON usage_alert_triggers (usage_alert_id, id);
CALL protect_table('usage_alert_triggers');

CREATE TABLE usage_thresholds (
    id uuid CONSTRAINT pk_usage_thresholds PRIMARY KEY,
    project_id uuid NOT NULL,
    plan_id uuid CONSTRAINT fk_usage_thresholds_plan_id_plans REFERENCES plans,
    subscription_id uuid CONSTRAINT fk_usage_thresholds_subscription_id_subscriptions REFERENCES subscriptions,
    amount_cents numeric(38,18) NOT NULL,
    currency text NOT NULL,
    recurring boolean DEFAULT false NOT NULL,
    threshold_display_name text,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_usage_thresholds_amount_cents CHECK (amount_cents >= 0 AND amount_cents <> 'NaN'),
    CONSTRAINT ck_usage_thresholds_owner CHECK (num_nonnulls(plan_id, subscription_id) = 1)
);
CREATE INDEX ix_usage_thresholds_plan_id ON usage_thresholds (plan_id, id) WHERE deleted_at IS NULL;
CREATE INDEX ix_usage_thresholds_subscription_id ON usage_thresholds (subscription_id, id) WHERE deleted_at IS NULL;
CALL protect_table('usage_thresholds');

CREATE TABLE usage_threshold_crossings (
    id uuid CONSTRAINT pk_usage_threshold_crossings PRIMARY KEY,
    project_id uuid NOT NULL,
    usage_threshold_id uuid NOT NULL
        CONSTRAINT fk_usage_threshold_crossings_usage_threshold_id_usage_t_51c1 REFERENCES usage_thresholds,
    subscription_id uuid NOT NULL
        CONSTRAINT fk_usage_threshold_crossings_subscription_id_subscriptions REFERENCES subscriptions,
    occasion text NOT NULL,
    period_start timestamptz NOT NULL,
    spend_minor numeric(38,18) NOT NULL,
    billing_key text NOT NULL,
    crossed_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_usage_threshold_crossings_usage_threshold_id_subscri_5e18 UNIQUE (usage_threshold_id,
        subscription_id, occasion)
);
CREATE INDEX ix_usage_threshold_crossings_subscription_id ON usage_threshold_crossings (subscription_id,
    period_start);
CALL protect_table('usage_threshold_crossings');

CREATE TABLE evaluation_thresholds (
    subscription_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    project_id uuid NOT NULL,
    quantity numeric NOT NULL,
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    suppressed_until timestamptz,
    CONSTRAINT pk_evaluation_thresholds PRIMARY KEY (subscription_id, metric_id)
);
CALL protect_table('evaluation_thresholds');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE evaluation_thresholds, usage_threshold_crossings, usage_thresholds, usage_alert_triggers, usage_alerts;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
