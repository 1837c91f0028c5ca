"""Wallets: wallets, their transactions and what settles invoices.

Revision ID: wallets
Revises: subscriptions
"""

from alembic import op

revision = "wallets"
down_revision = "subscriptions"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallets (
    id uuid CONSTRAINT pk_wallets PRIMARY KEY,
    project_id uuid NOT NULL,
    customer_id uuid NOT NULL CONSTRAINT fk_wallets_customer_id_customers REFERENCES customers,
    name text,
    code text,
    status text DEFAULT 'active' NOT NULL,
    currency text NOT NULL,
    rate_amount numeric(38,18) NOT NULL,
    priority integer DEFAULT 1 NOT NULL,
    expires_at timestamptz,
    credits_balance numeric(38,18) DEFAULT 0 NOT NULL,
    consumed_credits numeric(38,18) DEFAULT 0 NOT NULL,
    consumed_minor bigint DEFAULT 0 NOT NULL,
    terminated_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_wallets_balance CHECK (credits_balance >= 0),
    CONSTRAINT ck_wallets_priority CHECK (priority BETWEEN 1 AND 50),
    CONSTRAINT ck_wallets_rate CHECK (rate_amount > 0),
    CONSTRAINT ck_wallets_status CHECK (status IN ('active', 'terminated'))
);
CREATE INDEX ix_wallets_customer_id ON wallets (customer_id);
CREATE INDEX ix_wallets_project_id ON wallets (project_id, id);
CREATE UNIQUE INDEX uq_wallets_code ON wallets (customer_id, code) WHERE code IS NOT NULL AND status = 'active';
CALL protect_table('wallets');

CREATE TABLE wallet_transactions (
    id uuid CONSTRAINT pk_wallet_transactions PRIMARY KEY,
    project_id uuid NOT NULL,
    wallet_id uuid NOT NULL CONSTRAINT fk_wallet_transactions_wallet_id_wallets REFERENCES wallets,
    direction text NOT NULL,
    kind text NOT NULL,
    source text NOT NULL,
    credits numeric(38,18) NOT NULL,
    amount_minor bigint,
    invoice_id uuid,
    moved_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_wallet_transactions_credits CHECK (credits >= 0),
    CONSTRAINT ck_wallet_transactions_direction CHECK (direction IN ('inbound', 'outbound')),
    CONSTRAINT ck_wallet_transactions_kind CHECK (kind IN ('granted', 'invoiced', 'transferred', 'returned'))
);
CREATE INDEX ix_wallet_transactions_invoice_id ON wallet_transactions (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX ix_wallet_transactions_wallet_id ON wallet_transactions (wallet_id, id);
CALL protect_table('wallet_transactions');

CREATE TABLE settlements (
    id uuid CONSTRAINT pk_settlements PRIMARY KEY,
    project_id uuid NOT NULL,
    invoice_id uuid NOT NULL,
    type text NOT NULL,
    source_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    settled_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_settlements_invoice_id_type_source_id UNIQUE (invoice_id, type, source_id),
    CONSTRAINT ck_settlements_amount CHECK (amount_minor <> 0),
    CONSTRAINT ck_settlements_type CHECK (type IN ('payment', 'wallet_credit'))
);
CALL protect_table('settlements');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE settlements, wallet_transactions, wallets;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
