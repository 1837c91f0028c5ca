"""Catalogue: metrics, products, plans, features and entitlements.

Revision ID: catalogue
Revises: usage
"""

from alembic import op

revision = "catalogue"
down_revision = "usage"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE metrics (
    id uuid CONSTRAINT pk_metrics PRIMARY KEY,
    project_id uuid NOT NULL,
    key text NOT NULL,
    name text NOT NULL,
    description text,
    unit text,
    aggregation text DEFAULT 'sum' NOT NULL,
    field_name text,
    expression text,
    recurring boolean DEFAULT false NOT NULL,
    rounding_function text,
    rounding_precision integer,
    product_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    status text DEFAULT 'active' NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    percentile numeric(38,18),
    values_kept boolean DEFAULT true NOT NULL,
    filters_version integer DEFAULT 0 NOT NULL,
    rollup_dimensions jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT ck_metrics_percentile CHECK (percentile > 0 AND percentile <= 100)
);
CREATE UNIQUE INDEX uq_metrics_key ON metrics (project_id, key) WHERE deleted_at IS NULL;
CALL protect_table('metrics');

CREATE TABLE metric_filters (
    id uuid CONSTRAINT pk_metric_filters PRIMARY KEY,
    project_id uuid NOT NULL,
    metric_id uuid NOT NULL CONSTRAINT fk_metric_filters_metric_id_metrics REFERENCES metrics,
    key text NOT NULL,
    values jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_metric_filters_metric_id_key UNIQUE (metric_id, key)
);
CALL protect_table('metric_filters');

CREATE TABLE products (
    id uuid CONSTRAINT pk_products PRIMARY KEY,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    description text,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
CREATE UNIQUE INDEX uq_products_code ON products (project_id, code) WHERE deleted_at IS NULL;
CALL protect_table('products');

CREATE TABLE plans (
    id uuid CONSTRAINT pk_plans PRIMARY KEY,
    project_id uuid NOT NULL,
    product_id uuid CONSTRAINT fk_plans_product_id_products REFERENCES products,
    code text NOT NULL,
    code_chosen boolean DEFAULT true NOT NULL,
    status text DEFAULT 'active' NOT NULL,
    current_version integer DEFAULT 1 NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_plans_status CHECK (status IN ('active', 'archived'))
);
CREATE UNIQUE INDEX uq_plans_code ON plans (project_id, code) WHERE deleted_at IS NULL;
CALL protect_table('plans');

CREATE TABLE plan_versions (
    id uuid CONSTRAINT pk_plan_versions PRIMARY KEY,
    project_id uuid NOT NULL,
    plan_id uuid NOT NULL CONSTRAINT fk_plan_versions_plan_id_plans REFERENCES plans,
    version integer NOT NULL,
    name text NOT NULL,
    description text,
    currency text NOT NULL,
    interval text NOT NULL,
    trial_period_days integer DEFAULT 0 NOT NULL,
    base_amount numeric(38,18) DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_plan_versions_plan_id_version UNIQUE (plan_id, version),
    CONSTRAINT ck_plan_versions_interval CHECK (interval IN ('weekly', 'monthly', 'quarterly', 'yearly'))
);
CALL protect_table('plan_versions');

CREATE TABLE plan_charges (
    id uuid CONSTRAINT pk_plan_charges PRIMARY KEY,
    project_id uuid NOT NULL,
    plan_version_id uuid NOT NULL CONSTRAINT fk_plan_charges_plan_version_id_plan_versions REFERENCES plan_versions,
    plan_id uuid NOT NULL CONSTRAINT fk_plan_charges_plan_id_plans REFERENCES plans,
    position integer NOT NULL,
    metric_id uuid CONSTRAINT fk_plan_charges_metric_id_metrics REFERENCES metrics,
    description text,
    model jsonb NOT NULL,
    supplied jsonb DEFAULT '{}'::jsonb NOT NULL,
    filters jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    group_by text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT uq_plan_charges_plan_version_id_position UNIQUE (plan_version_id, "position")
);
CREATE INDEX ix_plan_charges_metric_id ON plan_charges (metric_id);
CALL protect_table('plan_charges');

CREATE TABLE features (
    id uuid CONSTRAINT pk_features PRIMARY KEY,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    description text,
    feature_type text NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_features_feature_type CHECK (feature_type IN ('boolean', 'quantity', 'custom'))
);
CREATE UNIQUE INDEX uq_features_code ON features (project_id, code) WHERE deleted_at IS NULL;
CALL protect_table('features');

CREATE TABLE entitlements (
    id uuid CONSTRAINT pk_entitlements PRIMARY KEY,
    project_id uuid NOT NULL,
    plan_id uuid NOT NULL CONSTRAINT fk_entitlements_plan_id_plans REFERENCES plans,
    feature_id uuid NOT NULL CONSTRAINT fk_entitlements_feature_id_features REFERENCES features,
    value text NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_entitlements_plan_id_feature_id UNIQUE (plan_id, feature_id)
);
CREATE INDEX ix_entitlements_feature_id ON entitlements (feature_id);
CALL protect_table('entitlements');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE entitlements, features, plan_charges, plan_versions, plans, products, metric_filters, metrics;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
