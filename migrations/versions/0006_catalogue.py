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
    id uuid NOT NULL,
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
    CONSTRAINT pk_metrics PRIMARY KEY (id),
    CONSTRAINT ck_metrics_percentile CHECK (percentile > 0 AND percentile <= 100)
);
CREATE UNIQUE INDEX uq_metrics_key ON metrics (project_id, key) WHERE deleted_at IS NULL;
ALTER TABLE metrics ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON metrics TO durabill_system;
CREATE POLICY system_all ON metrics TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON metrics TO durabill_app;
CREATE POLICY tenant ON metrics TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE metric_filters (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    key text NOT NULL,
    values jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_metric_filters PRIMARY KEY (id),
    CONSTRAINT uq_metric_filters_metric_id_key UNIQUE (metric_id, key),
    CONSTRAINT fk_metric_filters_metric_id_metrics FOREIGN KEY (metric_id) REFERENCES metrics(id)
);
ALTER TABLE metric_filters ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON metric_filters TO durabill_system;
CREATE POLICY system_all ON metric_filters TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON metric_filters TO durabill_app;
CREATE POLICY tenant ON metric_filters TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE products (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    description text,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_products PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_products_code ON products (project_id, code) WHERE deleted_at IS NULL;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON products TO durabill_system;
CREATE POLICY system_all ON products TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON products TO durabill_app;
CREATE POLICY tenant ON products TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE plans (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    product_id uuid,
    code text NOT NULL,
    code_chosen boolean DEFAULT true NOT NULL,
    status text DEFAULT 'active' NOT NULL,
    current_version integer DEFAULT 1 NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_plans PRIMARY KEY (id),
    CONSTRAINT ck_plans_status CHECK (status IN ('active', 'archived')),
    CONSTRAINT fk_plans_product_id_products FOREIGN KEY (product_id) REFERENCES products(id)
);
CREATE UNIQUE INDEX uq_plans_code ON plans (project_id, code) WHERE deleted_at IS NULL;
ALTER TABLE plans ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON plans TO durabill_system;
CREATE POLICY system_all ON plans TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON plans TO durabill_app;
CREATE POLICY tenant ON plans TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE plan_versions (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    description text,
    currency text NOT NULL,
    interval text NOT NULL,
    trial_period_days integer DEFAULT 0 NOT NULL,
    base_amount numeric(38,18) DEFAULT 0 NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_plan_versions PRIMARY KEY (id),
    CONSTRAINT uq_plan_versions_plan_id_version UNIQUE (plan_id, version),
    CONSTRAINT ck_plan_versions_interval CHECK (interval IN ('weekly', 'monthly', 'quarterly', 'yearly')),
    CONSTRAINT fk_plan_versions_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans(id)
);
ALTER TABLE plan_versions ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan_versions TO durabill_system;
CREATE POLICY system_all ON plan_versions TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON plan_versions TO durabill_app;
CREATE POLICY tenant ON plan_versions TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE plan_charges (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    plan_version_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    position integer NOT NULL,
    metric_id uuid,
    description text,
    model jsonb NOT NULL,
    supplied jsonb DEFAULT '{}'::jsonb NOT NULL,
    filters jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    group_by text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT pk_plan_charges PRIMARY KEY (id),
    CONSTRAINT uq_plan_charges_plan_version_id_position UNIQUE (plan_version_id, "position"),
    CONSTRAINT fk_plan_charges_metric_id_metrics FOREIGN KEY (metric_id) REFERENCES metrics(id),
    CONSTRAINT fk_plan_charges_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans(id),
    CONSTRAINT fk_plan_charges_plan_version_id_plan_versions FOREIGN KEY (plan_version_id) REFERENCES
        plan_versions(id)
);
CREATE INDEX ix_plan_charges_metric_id ON plan_charges (metric_id);
ALTER TABLE plan_charges ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON plan_charges TO durabill_system;
CREATE POLICY system_all ON plan_charges TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON plan_charges TO durabill_app;
CREATE POLICY tenant ON plan_charges TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE features (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    description text,
    feature_type text NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_features PRIMARY KEY (id),
    CONSTRAINT ck_features_feature_type CHECK (feature_type IN ('boolean', 'quantity', 'custom'))
);
CREATE UNIQUE INDEX uq_features_code ON features (project_id, code) WHERE deleted_at IS NULL;
ALTER TABLE features ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON features TO durabill_system;
CREATE POLICY system_all ON features TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON features TO durabill_app;
CREATE POLICY tenant ON features TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE entitlements (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    plan_id uuid NOT NULL,
    feature_id uuid NOT NULL,
    value text NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_entitlements PRIMARY KEY (id),
    CONSTRAINT uq_entitlements_plan_id_feature_id UNIQUE (plan_id, feature_id),
    CONSTRAINT fk_entitlements_feature_id_features FOREIGN KEY (feature_id) REFERENCES features(id),
    CONSTRAINT fk_entitlements_plan_id_plans FOREIGN KEY (plan_id) REFERENCES plans(id)
);
CREATE INDEX ix_entitlements_feature_id ON entitlements (feature_id);
ALTER TABLE entitlements ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON entitlements TO durabill_system;
CREATE POLICY system_all ON entitlements TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON entitlements TO durabill_app;
CREATE POLICY tenant ON entitlements TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE entitlements;
DROP TABLE features;
DROP TABLE plan_charges;
DROP TABLE plan_versions;
DROP TABLE plans;
DROP TABLE products;
DROP TABLE metric_filters;
DROP TABLE metrics;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
