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
    id uuid NOT NULL,
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
    CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id),
    CONSTRAINT ck_webhook_endpoints_signature_algo CHECK (signature_algo IN ('hmac')),
    CONSTRAINT ck_webhook_endpoints_status CHECK (status IN ('active', 'disabled'))
);
CREATE INDEX ix_webhook_endpoints_project_id ON webhook_endpoints (project_id, id);
ALTER TABLE webhook_endpoints ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints TO durabill_system;
CREATE POLICY system_all ON webhook_endpoints TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoints TO durabill_app;
CREATE POLICY tenant ON webhook_endpoints TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE webhook_messages (
    id text NOT NULL,
    project_id uuid NOT NULL,
    sequence bigint NOT NULL,
    ordering_key text NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    outbox_id bigint NOT NULL,
    CONSTRAINT pk_webhook_messages PRIMARY KEY (id),
    CONSTRAINT uq_webhook_messages_outbox_id UNIQUE (outbox_id),
    CONSTRAINT uq_webhook_messages_project_id_ordering_key_sequence UNIQUE (project_id, ordering_key, sequence)
);
CREATE INDEX ix_webhook_messages_created ON webhook_messages (project_id, created_at);
ALTER TABLE webhook_messages ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_messages TO durabill_system;
CREATE POLICY system_all ON webhook_messages TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_messages TO durabill_app;
CREATE POLICY tenant ON webhook_messages TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE webhook_sequences (
    project_id uuid NOT NULL,
    ordering_key text NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT pk_webhook_sequences PRIMARY KEY (project_id, ordering_key)
);
ALTER TABLE webhook_sequences ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_sequences TO durabill_system;
CREATE POLICY system_all ON webhook_sequences TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_sequences TO durabill_app;
CREATE POLICY tenant ON webhook_sequences TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE webhook_deliveries (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    message_id text NOT NULL,
    endpoint_id uuid NOT NULL,
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
    CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
    CONSTRAINT uq_webhook_deliveries_message_id_endpoint_id UNIQUE (message_id, endpoint_id),
    CONSTRAINT ck_webhook_deliveries_status CHECK (status IN ('pending', 'succeeded', 'failed')),
    CONSTRAINT fk_webhook_deliveries_endpoint_id_webhook_endpoints FOREIGN KEY (endpoint_id) REFERENCES
        webhook_endpoints(id),
    CONSTRAINT fk_webhook_deliveries_message_id_webhook_messages FOREIGN KEY (message_id) REFERENCES
        webhook_messages(id)
);
CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_attempt_at, id)
    WHERE status = 'pending' AND next_attempt_at IS NOT NULL;
CREATE INDEX ix_webhook_deliveries_project_id ON webhook_deliveries (project_id, id);
CREATE INDEX ix_webhook_deliveries_retried ON webhook_deliveries (endpoint_id, next_attempt_at)
    WHERE status = 'failed' AND next_attempt_at IS NOT NULL;
ALTER TABLE webhook_deliveries ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO durabill_system;
CREATE POLICY system_all ON webhook_deliveries TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO durabill_app;
CREATE POLICY tenant ON webhook_deliveries TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE webhook_attempts (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    success boolean NOT NULL,
    http_status integer,
    response_body text,
    error text,
    duration_ms integer NOT NULL,
    attempted_at timestamptz NOT NULL,
    CONSTRAINT pk_webhook_attempts PRIMARY KEY (id),
    CONSTRAINT uq_webhook_attempts_delivery_id_number UNIQUE (delivery_id, number),
    CONSTRAINT fk_webhook_attempts_delivery_id_webhook_deliveries FOREIGN KEY (delivery_id) REFERENCES
        webhook_deliveries(id)
);
ALTER TABLE webhook_attempts ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_attempts TO durabill_system;
CREATE POLICY system_all ON webhook_attempts TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_attempts TO durabill_app;
CREATE POLICY tenant ON webhook_attempts TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_sequences;
DROP TABLE webhook_messages;
DROP TABLE webhook_endpoints;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
