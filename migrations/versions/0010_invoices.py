"""Invoices: invoices, their lines and numbers, coupons and add-ons.

Revision ID: invoices
Revises: webhooks
"""

from alembic import op

revision = "invoices"
down_revision = "webhooks"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE invoice_counters (
    project_id uuid CONSTRAINT pk_invoice_counters PRIMARY KEY,
    next_number bigint DEFAULT 1 NOT NULL
);
CALL protect_table('invoice_counters');

CREATE TABLE invoices (
    id uuid CONSTRAINT pk_invoices PRIMARY KEY,
    project_id uuid NOT NULL,
    number text,
    customer_id uuid NOT NULL CONSTRAINT fk_invoices_customer_id_customers REFERENCES customers,
    subscription_id uuid CONSTRAINT fk_invoices_subscription_id_subscriptions REFERENCES subscriptions,
    billing_entity_id uuid CONSTRAINT fk_invoices_billing_entity_id_billing_entities REFERENCES billing_entities,
    kind text NOT NULL,
    status text NOT NULL,
    currency text NOT NULL,
    period_start timestamptz,
    period_end timestamptz,
    total_minor bigint NOT NULL,
    settled_minor bigint DEFAULT 0 NOT NULL,
    prepaid_minor bigint DEFAULT 0 NOT NULL,
    billing_key text NOT NULL,
    auto_collect boolean DEFAULT false NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamptz,
    needs_attention text,
    payment_intent_id text,
    issued_at timestamptz,
    due_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_invoices_project_id_billing_key UNIQUE (project_id, billing_key),
    CONSTRAINT ck_invoices_paid_when_settled CHECK (status IN ('draft', 'voided') OR (status = 'paid') =
        (settled_minor >= total_minor)),
    CONSTRAINT ck_invoices_prepaid CHECK (prepaid_minor BETWEEN 0 AND settled_minor),
    CONSTRAINT ck_invoices_settled CHECK (settled_minor BETWEEN 0 AND greatest(total_minor, 0)),
    CONSTRAINT ck_invoices_status CHECK (status IN ('draft', 'issued', 'paid', 'overdue', 'failed', 'voided'))
);
CREATE INDEX ix_invoices_billing_entity_id ON invoices (billing_entity_id) WHERE billing_entity_id IS NOT NULL;
CREATE INDEX ix_invoices_customer_id ON invoices (customer_id);
CREATE INDEX ix_invoices_parked ON invoices (project_id) WHERE needs_attention IS NOT NULL;
CREATE INDEX ix_invoices_project_id ON invoices (project_id, id);
CREATE INDEX ix_invoices_subscription_id ON invoices (subscription_id, period_start);
CREATE UNIQUE INDEX uq_invoices_number ON invoices (project_id, number) WHERE number IS NOT NULL;
CALL protect_table('invoices');

CREATE TABLE invoice_lines (
    id uuid CONSTRAINT pk_invoice_lines PRIMARY KEY,
    project_id uuid NOT NULL,
    invoice_id uuid NOT NULL CONSTRAINT fk_invoice_lines_invoice_id_invoices REFERENCES invoices,
    position integer NOT NULL,
    reference text NOT NULL,
    subscription_id uuid,
    charge_id uuid,
    metric_id uuid,
    kind text NOT NULL,
    description text NOT NULL,
    quantity numeric(38,18) NOT NULL,
    total_quantity numeric(38,18) NOT NULL,
    unit_amount numeric(38,18),
    amount_minor bigint NOT NULL,
    events_count bigint DEFAULT 0 NOT NULL,
    period_start timestamptz,
    period_end timestamptz,
    reason text DEFAULT 'period' NOT NULL,
    steps jsonb DEFAULT '[]'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    group_key jsonb,
    CONSTRAINT uq_invoice_lines_invoice_id_position UNIQUE (invoice_id, "position")
);
CREATE INDEX ix_invoice_lines_billed ON invoice_lines (subscription_id, period_start);
CREATE INDEX ix_invoice_lines_carried ON invoice_lines (reference) WHERE kind = 'carried';
CREATE INDEX ix_invoice_lines_discounts ON invoice_lines (reference) WHERE kind = 'discount';
CALL protect_table('invoice_lines');

CREATE TABLE coupons (
    id uuid CONSTRAINT pk_coupons PRIMARY KEY,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    description text,
    coupon_type text NOT NULL,
    amount_cents numeric(38,18),
    amount_currency text,
    percentage_rate numeric(38,18),
    frequency text NOT NULL,
    frequency_duration integer,
    reusable boolean DEFAULT true NOT NULL,
    max_redemptions integer,
    expiration text DEFAULT 'no_expiration' NOT NULL,
    expiration_at timestamptz,
    status text DEFAULT 'active' NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_coupons_project_id_code UNIQUE (project_id, code),
    CONSTRAINT ck_coupons_coupon_type CHECK (coupon_type = 'percentage' AND percentage_rate BETWEEN 0 AND 100 AND
        amount_cents IS NULL OR coupon_type = 'fixed_amount' AND amount_cents >= 0 AND amount_currency IS NOT NULL
        AND percentage_rate IS NULL),
    CONSTRAINT ck_coupons_expiration CHECK ((expiration = 'time_limit') = (expiration_at IS NOT NULL)),
    CONSTRAINT ck_coupons_frequency CHECK (frequency IN ('once', 'forever') AND frequency_duration IS NULL OR
        frequency = 'recurring' AND frequency_duration > 0),
    CONSTRAINT ck_coupons_status CHECK (status IN ('active', 'terminated'))
);
CALL protect_table('coupons');

CREATE TABLE applied_coupons (
    id uuid CONSTRAINT pk_applied_coupons PRIMARY KEY,
    project_id uuid NOT NULL,
    coupon_id uuid NOT NULL CONSTRAINT fk_applied_coupons_coupon_id_coupons REFERENCES coupons,
    customer_id uuid NOT NULL CONSTRAINT fk_applied_coupons_customer_id_customers REFERENCES customers,
    coupon_type text NOT NULL,
    amount_cents numeric(38,18),
    amount_currency text,
    percentage_rate numeric(38,18),
    frequency text NOT NULL,
    frequency_duration integer,
    uses_left integer,
    used_up_at timestamptz,
    removed_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_applied_coupons_coupon_type CHECK (coupon_type = 'percentage' AND percentage_rate BETWEEN 0 AND 100
        AND amount_cents IS NULL OR coupon_type = 'fixed_amount' AND amount_cents >= 0 AND amount_currency IS NOT
        NULL AND percentage_rate IS NULL),
    CONSTRAINT ck_applied_coupons_uses_left CHECK (uses_left >= 0)
);
CREATE INDEX ix_applied_coupons_coupon_id ON applied_coupons (coupon_id, customer_id);
CREATE INDEX ix_applied_coupons_customer_id ON applied_coupons (customer_id, id);
CALL protect_table('applied_coupons');

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

CREATE TABLE add_ons (
    id uuid CONSTRAINT pk_add_ons PRIMARY KEY,
    project_id uuid NOT NULL,
    code text NOT NULL,
    name text NOT NULL,
    description text,
    invoice_display_name text,
    amount_cents numeric(38,18) NOT NULL,
    amount_currency text NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_add_ons_amount_cents CHECK (amount_cents >= 0)
);
CREATE UNIQUE INDEX uq_add_ons_code ON add_ons (project_id, code) WHERE deleted_at IS NULL;
CALL protect_table('add_ons');

CREATE TABLE applied_add_ons (
    id uuid CONSTRAINT pk_applied_add_ons PRIMARY KEY,
    project_id uuid NOT NULL,
    add_on_id uuid NOT NULL CONSTRAINT fk_applied_add_ons_add_on_id_add_ons REFERENCES add_ons,
    customer_id uuid NOT NULL CONSTRAINT fk_applied_add_ons_customer_id_customers REFERENCES customers,
    amount_cents numeric(38,18) NOT NULL,
    amount_currency text NOT NULL,
    invoice_id uuid
        CONSTRAINT fk_applied_add_ons_invoice_id_invoices REFERENCES invoices DEFERRABLE INITIALLY DEFERRED,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_applied_add_ons_amount_cents CHECK (amount_cents >= 0)
);
CREATE INDEX ix_applied_add_ons_add_on_id ON applied_add_ons (add_on_id, id);
CREATE INDEX ix_applied_add_ons_customer_id ON applied_add_ons (customer_id, id);
CREATE INDEX ix_applied_add_ons_invoice_id ON applied_add_ons (invoice_id) WHERE invoice_id IS NOT NULL;
CALL protect_table('applied_add_ons');

-- These tables came before the one that they point to.
ALTER TABLE usage_corrections ADD CONSTRAINT fk_usage_corrections_settled_by_invoices
    FOREIGN KEY (settled_by) REFERENCES invoices ON DELETE SET NULL;
ALTER TABLE wallet_transactions ADD CONSTRAINT fk_wallet_transactions_invoice_id_invoices
    FOREIGN KEY (invoice_id) REFERENCES invoices;
ALTER TABLE settlements ADD CONSTRAINT fk_settlements_invoice_id_invoices
    FOREIGN KEY (invoice_id) REFERENCES invoices;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

ALTER TABLE usage_corrections DROP CONSTRAINT fk_usage_corrections_settled_by_invoices;
ALTER TABLE wallet_transactions DROP CONSTRAINT fk_wallet_transactions_invoice_id_invoices;
ALTER TABLE settlements DROP CONSTRAINT fk_settlements_invoice_id_invoices;
DROP TABLE applied_add_ons, add_ons, period_coupons, applied_coupons, coupons, invoice_lines, invoices,
    invoice_counters;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
