"""Webhooks: endpoints, messages, deliveries, attempts and sequences of webhooks.

Revision ID: webhooks
Revises: wallets
"""

from alembic import op

revision = "webhooks"
down_revision = "wallets"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE webhook_endpoints (
    id uuid CONSTRAINT pk_webhook_endpoints PRIMARY KEY,
    project_id uuid NOT NULL,
    url text NOT NULL,
    events text[] DEFAULT '{}'::text[] NOT NULL,
    secrets text[] NOT NULL,
    signature_algo text DEFAULT 'hmac' NOT NULL,
    status text DEFAULT 'active' NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    old_secret_until timestamptz,
    failing_since timestamptz,
    disabled_reason text,
    CONSTRAINT ck_webhook_endpoints_signature_algo CHECK (signature_algo IN ('hmac')),
    CONSTRAINT ck_webhook_endpoints_status CHECK (status IN ('active', 'disabled'))
);
CREATE INDEX ix_webhook_endpoints_project_id ON webhook_endpoints (project_id, id);
CALL protect_table('webhook_endpoints');

CREATE TABLE webhook_messages (
    id text CONSTRAINT pk_webhook_messages PRIMARY KEY,
    project_id uuid NOT NULL,
    sequence bigint NOT NULL,
    ordering_key text NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    outbox_id bigint NOT NULL,
    CONSTRAINT uq_webhook_messages_outbox_id UNIQUE (outbox_id),
    CONSTRAINT uq_webhook_messages_project_id_ordering_key_sequence UNIQUE (project_id, ordering_key, sequence)
);
CREATE INDEX ix_webhook_messages_created ON webhook_messages (project_id, created_at);
CALL protect_table('webhook_messages');

CREATE TABLE webhook_sequences (
    project_id uuid NOT NULL,
    ordering_key text NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT pk_webhook_sequences PRIMARY KEY (project_id, ordering_key)
);
CALL protect_table('webhook_sequences');

CREATE TABLE webhook_deliveries (
    id uuid CONSTRAINT pk_webhook_deliveries PRIMARY KEY,
    project_id uuid NOT NULL,
    message_id text NOT NULL CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages REFERENCES webhook_messages,
    endpoint_id uuid NOT NULL
        CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints REFERENCES webhook_endpoints,
    status text DEFAULT 'pending' NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamptz,
    last_attempt_at timestamptz,
    last_http_status integer,
    last_response text,
    last_error text,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    scheduled_attempts integer DEFAULT 0 NOT NULL,
    CONSTRAINT uq_webhook_deliveries_message_id_endpoint_id UNIQUE (message_id, endpoint_id),
    CONSTRAINT ck_webhook_deliveries_status CHECK (status IN ('pending', 'succeeded', 'failed'))
);
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_attempt_at, id)
    WHERE status = 'pending' AND next_attempt_at IS NOT NULL;
CREATE INDEX ix_webhook_deliveries_project_id ON webhook_deliveries (project_id, id);
CREATE INDEX ix_webhook_deliveries_retried ON webhook_deliveries (endpoint_id, next_attempt_at)
    WHERE status = 'failed' AND next_attempt_at IS NOT NULL;
CALL protect_table('webhook_deliveries');

CREATE TABLE webhook_attempts (
    id uuid CONSTRAINT pk_webhook_attempts PRIMARY KEY,
    project_id uuid NOT NULL,
    delivery_id uuid NOT NULL
        CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries REFERENCES webhook_deliveries,
    number integer NOT NULL,
    success boolean NOT NULL,
    http_status integer,
    response_body text,
    error text,
    duration_ms integer NOT NULL,
    attempted_at timestamptz NOT NULL,
    CONSTRAINT uq_webhook_attempts_delivery_id_number UNIQUE (delivery_id, number)
);
CALL protect_table('webhook_attempts');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE webhook_attempts, webhook_deliveries, webhook_sequences, webhook_messages, webhook_endpoints;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
