"""Customers: billing entities, test clocks, customers and their payment methods.

Revision ID: customers
Revises: journal
"""

from alembic import op

revision = "customers"
down_revision = "journal"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE billing_entities (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    legal_name text,
    address_line1 text,
    address_line2 text,
    city text,
    state text,
    country text,
    zip_code text,
    tax_id text,
    email text,
    currency text DEFAULT 'USD' NOT NULL,
    timezone text,
    document_locale text DEFAULT 'en' NOT NULL,
    invoice_prefix text,
    next_invoice_number bigint DEFAULT 1 NOT NULL,
    invoice_grace_period integer DEFAULT 0 NOT NULL,
    net_payment_term integer DEFAULT 30 NOT NULL,
    invoice_footer text,
    is_default boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_billing_entities PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_billing_entities_code ON billing_entities (project_id, code) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX uq_billing_entities_default ON billing_entities (project_id)
    WHERE is_default AND deleted_at IS NULL;
CREATE UNIQUE INDEX uq_billing_entities_prefix ON billing_entities (project_id, COALESCE(invoice_prefix, code))
    WHERE deleted_at IS NULL;
ALTER TABLE billing_entities ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON billing_entities TO durabill_system;
CREATE POLICY system_all ON billing_entities TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON billing_entities TO durabill_app;
CREATE POLICY tenant ON billing_entities TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE test_clocks (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text,
    frozen_time timestamptz NOT NULL,
    target_time timestamptz,
    status text DEFAULT 'ready' NOT NULL,
    failure text,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_test_clocks PRIMARY KEY (id),
    CONSTRAINT ck_test_clocks_status CHECK (status IN ('ready', 'advancing', 'failed'))
);
CREATE INDEX ix_test_clocks_project_id ON test_clocks (project_id);
ALTER TABLE test_clocks ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON test_clocks TO durabill_system;
CREATE POLICY system_all ON test_clocks TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON test_clocks TO durabill_app;
CREATE POLICY tenant ON test_clocks TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE customers (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    code text NOT NULL,
    code_chosen boolean DEFAULT true NOT NULL,
    name text,
    email text,
    currency text,
    timezone text,
    corporate_id text,
    domain text,
    payment_provider text,
    payment_provider_customer_id text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    invoice_grace_period integer DEFAULT 0 NOT NULL,
    net_payment_term integer DEFAULT 30 NOT NULL,
    billing_entity_id uuid,
    test_clock_id uuid,
    is_organization boolean DEFAULT false NOT NULL,
    created_by_usage boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_customers PRIMARY KEY (id),
    CONSTRAINT fk_customers_billing_entity_id_billing_entities FOREIGN KEY (billing_entity_id) REFERENCES
        billing_entities(id),
    CONSTRAINT fk_customers_test_clock_id_test_clocks FOREIGN KEY (test_clock_id) REFERENCES test_clocks(id)
);
CREATE INDEX ix_customers_billing_entity_id ON customers (billing_entity_id) WHERE billing_entity_id IS NOT NULL;
CREATE INDEX ix_customers_test_clock_id ON customers (test_clock_id) WHERE test_clock_id IS NOT NULL;
CREATE UNIQUE INDEX uq_customers_code ON customers (project_id, code) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX uq_customers_organization ON customers (project_id) WHERE is_organization;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO durabill_system;
CREATE POLICY system_all ON customers TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON customers TO durabill_app;
CREATE POLICY tenant ON customers TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE payment_methods (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    provider text NOT NULL,
    provider_payment_method_id text NOT NULL,
    type text NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_payment_methods PRIMARY KEY (id),
    CONSTRAINT uq_payment_methods_customer_id_provider_provider_paymen_5779 UNIQUE (customer_id, provider,
        provider_payment_method_id),
    CONSTRAINT fk_payment_methods_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers(id)
);
CREATE INDEX ix_payment_methods_project_id ON payment_methods (project_id, id);
CREATE UNIQUE INDEX uq_payment_methods_default ON payment_methods (customer_id) WHERE is_default;
ALTER TABLE payment_methods ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON payment_methods TO durabill_system;
CREATE POLICY system_all ON payment_methods TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON payment_methods TO durabill_app;
CREATE POLICY tenant ON payment_methods TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE payment_methods;
DROP TABLE customers;
DROP TABLE test_clocks;
DROP TABLE billing_entities;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
