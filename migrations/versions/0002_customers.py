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
    id uuid CONSTRAINT pk_billing_entities PRIMARY KEY,
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
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
CREATE UNIQUE INDEX uq_billing_entities_code ON billing_entities (project_id, code) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX uq_billing_entities_default ON billing_entities (project_id)
    WHERE is_default AND deleted_at IS NULL;
CREATE UNIQUE INDEX uq_billing_entities_prefix ON billing_entities (project_id, COALESCE(invoice_prefix, code))
    WHERE deleted_at IS NULL;
CALL protect_table('billing_entities');

CREATE TABLE test_clocks (
    id uuid CONSTRAINT pk_test_clocks PRIMARY KEY,
    project_id uuid NOT NULL,
    name text,
    frozen_time timestamptz NOT NULL,
    target_time timestamptz,
    status text DEFAULT 'ready' NOT NULL,
    failure text,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_test_clocks_status CHECK (status IN ('ready', 'advancing', 'failed'))
);
CREATE INDEX ix_test_clocks_project_id ON test_clocks (project_id);
CALL protect_table('test_clocks');

CREATE TABLE customers (
    id uuid CONSTRAINT pk_customers PRIMARY KEY,
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
    billing_entity_id uuid CONSTRAINT fk_customers_billing_entity_id_billing_entities REFERENCES billing_entities,
    test_clock_id uuid CONSTRAINT fk_customers_test_clock_id_test_clocks REFERENCES test_clocks,
    is_organization boolean DEFAULT false NOT NULL,
    created_by_usage boolean DEFAULT false NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
CREATE INDEX ix_customers_billing_entity_id ON customers (billing_entity_id) WHERE billing_entity_id IS NOT NULL;
CREATE INDEX ix_customers_test_clock_id ON customers (test_clock_id) WHERE test_clock_id IS NOT NULL;
CREATE UNIQUE INDEX uq_customers_code ON customers (project_id, code) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX uq_customers_organization ON customers (project_id) WHERE is_organization;
CALL protect_table('customers');

CREATE TABLE payment_methods (
    id uuid CONSTRAINT pk_payment_methods PRIMARY KEY,
    project_id uuid NOT NULL,
    customer_id uuid NOT NULL CONSTRAINT fk_payment_methods_customer_id_customers REFERENCES customers,
    provider text NOT NULL,
    provider_payment_method_id text NOT NULL,
    type text NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_payment_methods_customer_id_provider_provider_paymen_5779 UNIQUE (customer_id, provider,
        provider_payment_method_id)
);
CREATE INDEX ix_payment_methods_project_id ON payment_methods (project_id, id);
CREATE UNIQUE INDEX uq_payment_methods_default ON payment_methods (customer_id) WHERE is_default;
CALL protect_table('payment_methods');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE payment_methods, customers, test_clocks, billing_entities;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
