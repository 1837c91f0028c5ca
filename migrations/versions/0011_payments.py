"""Payments: payment attempts, providers' encrypted keys, refunds and the sandbox's charges.

Revision ID: payments
Revises: invoices
"""

from alembic import op

revision = "payments"
down_revision = "invoices"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE payment_attempts (
    id uuid CONSTRAINT pk_payment_attempts PRIMARY KEY,
    project_id uuid NOT NULL,
    invoice_id uuid NOT NULL CONSTRAINT fk_payment_attempts_invoice_id_invoices REFERENCES invoices,
    attempt_no integer,
    status text NOT NULL,
    provider text NOT NULL,
    idempotency_key text NOT NULL,
    method_ref text,
    amount_minor bigint NOT NULL,
    refunded_minor bigint DEFAULT 0 NOT NULL,
    currency text NOT NULL,
    provider_payment_id text,
    failure_code text,
    failure_message text,
    reference text,
    expires_at timestamptz,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    unapplied_minor bigint DEFAULT 0 NOT NULL,
    CONSTRAINT uq_payment_attempts_invoice_id_attempt_no UNIQUE (invoice_id, attempt_no),
    CONSTRAINT ck_payment_attempts_numbered CHECK (attempt_no IS NOT NULL OR provider = 'manual'),
    CONSTRAINT ck_payment_attempts_refunded CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT ck_payment_attempts_status CHECK (status IN ('pending', 'succeeded', 'declined', 'requires_action',
        'unknown', 'refunded')),
    CONSTRAINT ck_payment_attempts_unapplied CHECK (unapplied_minor BETWEEN 0 AND amount_minor - refunded_minor)
);
CREATE INDEX ix_payment_attempts_project_id ON payment_attempts (project_id, id);
CREATE UNIQUE INDEX uq_payment_attempts_open ON payment_attempts (invoice_id)
    WHERE status IN ('pending', 'unknown', 'requires_action') AND attempt_no IS NOT NULL;
CREATE UNIQUE INDEX uq_payment_attempts_succeeded ON payment_attempts (invoice_id)
    WHERE status = 'succeeded' AND attempt_no IS NOT NULL;
CALL protect_table('payment_attempts');

CREATE TABLE payment_credentials (
    id uuid CONSTRAINT pk_payment_credentials PRIMARY KEY,
    project_id uuid NOT NULL,
    provider text NOT NULL,
    mode text NOT NULL,
    sealed_key text NOT NULL,
    last_four text NOT NULL,
    account_id text,
    verified_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_payment_credentials_mode CHECK (mode IN ('live', 'test')),
    CONSTRAINT uq_payment_credentials_project_id_provider UNIQUE (project_id, provider)
);
CALL protect_table('payment_credentials');

CREATE TABLE refunds (
    id uuid CONSTRAINT pk_refunds PRIMARY KEY,
    project_id uuid NOT NULL,
    payment_id uuid NOT NULL CONSTRAINT fk_refunds_payment_id_payment_attempts REFERENCES payment_attempts,
    amount_minor bigint NOT NULL,
    reason text,
    refunded_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_refunds_amount CHECK (amount_minor > 0)
);
CREATE INDEX ix_refunds_payment_id ON refunds (payment_id);
CALL protect_table('refunds');

CREATE TABLE sandbox_charges (
    idempotency_key text CONSTRAINT pk_sandbox_charges PRIMARY KEY,
    payment_intent_id text NOT NULL,
    customer_ref text,
    amount_minor bigint NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    failure_code text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE sandbox_charges ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON sandbox_charges TO durabill_system;
CREATE POLICY system_all ON sandbox_charges TO durabill_system USING (true) WITH CHECK (true);
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE sandbox_charges, refunds, payment_credentials, payment_attempts;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
