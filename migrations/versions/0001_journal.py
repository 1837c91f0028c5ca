"""Journal: the audit log, the outbox, notifications and idempotency keys.

Revision ID: journal
Revises:
"""

from alembic import op

revision = "journal"
down_revision = None
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

-- The health check compares the schema's revision with the code's.
GRANT USAGE ON SCHEMA public TO durabill_app, durabill_system;
GRANT SELECT ON alembic_version TO durabill_system;
CREATE SEQUENCE audit_sequence;

-- The second wall of tenancy: the application reads and writes the rows whose column says what its transaction set.
CREATE PROCEDURE protect_table(name text, tenant_column text DEFAULT 'project_id', setting text DEFAULT 'project_id')
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    -- A scalar subquery is evaluated once for a statement; the bare call once for each row.
    visible text := format(
        '%I = (SELECT nullif(current_setting(%L, true), '''')::uuid)', tenant_column, 'durabill.' || setting);
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO durabill_system, durabill_app', name);
    EXECUTE format('CREATE POLICY system_all ON %I TO durabill_system USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY tenant ON %I TO durabill_app USING (%s) WITH CHECK (%s)', name, visible, visible);
END $$;
REVOKE ALL ON PROCEDURE protect_table FROM public;

CREATE TABLE audit_log (
    id uuid CONSTRAINT pk_audit_log PRIMARY KEY,
    organization_id uuid NOT NULL,
    project_id uuid,
    resource_type text NOT NULL,
    resource_id uuid NOT NULL,
    action text NOT NULL,
    title text DEFAULT '' NOT NULL,
    changes jsonb DEFAULT '{}'::jsonb NOT NULL,
    data jsonb DEFAULT '{}'::jsonb NOT NULL,
    actor_type text NOT NULL,
    actor_id text,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    sequence bigint DEFAULT nextval('audit_sequence'::regclass) NOT NULL
);
CREATE INDEX ix_audit_log_project ON audit_log (project_id, sequence);
CREATE INDEX ix_audit_log_recorded_at ON audit_log USING brin (recorded_at) WITH (autosummarize = on);
CREATE INDEX ix_audit_log_resource ON audit_log (resource_type, resource_id, sequence);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON audit_log TO durabill_system;
CREATE POLICY system_all ON audit_log TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON audit_log TO durabill_app;
CREATE POLICY tenant ON audit_log TO durabill_app
    USING (
        organization_id = (SELECT nullif(current_setting('durabill.organization_id', true), '')::uuid)
        AND (project_id IS NULL OR project_id = (SELECT nullif(current_setting('durabill.project_id', true), '')::uuid))
    )
    WITH CHECK (
        organization_id = (SELECT nullif(current_setting('durabill.organization_id', true), '')::uuid)
        AND (project_id IS NULL OR project_id = (SELECT nullif(current_setting('durabill.project_id', true), '')::uuid))
    );

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_outbox PRIMARY KEY,
    project_id uuid NOT NULL,
    topic text NOT NULL,
    ordering_key text NOT NULL,
    payload jsonb NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    last_error text,
    delivered_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    parked_at timestamptz
);
CREATE INDEX ix_outbox_delivered ON outbox (delivered_at) WHERE delivered_at IS NOT NULL;
CREATE INDEX ix_outbox_ordering ON outbox (ordering_key, id)
    WHERE delivered_at IS NULL AND parked_at IS NULL AND topic <> 'webhook';
CREATE INDEX ix_outbox_parked ON outbox (id) WHERE parked_at IS NOT NULL;
CREATE INDEX ix_outbox_webhooks ON outbox (id)
    WHERE delivered_at IS NULL AND parked_at IS NULL AND topic = 'webhook';
CREATE INDEX ix_outbox_workflows ON outbox (id)
    WHERE delivered_at IS NULL AND parked_at IS NULL AND topic <> 'webhook';
CALL protect_table('outbox');

CREATE TABLE notifications (
    id uuid CONSTRAINT pk_notifications PRIMARY KEY,
    project_id uuid NOT NULL,
    key text NOT NULL,
    category text NOT NULL,
    title text NOT NULL,
    message text NOT NULL,
    resource_type text,
    resource_id uuid,
    read_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_notifications_project_id_key UNIQUE (project_id, key)
);
CREATE INDEX ix_notifications_created_at ON notifications (created_at);
CREATE INDEX ix_notifications_project_id ON notifications (project_id, id);
CREATE INDEX ix_notifications_unread ON notifications (project_id, id) WHERE read_at IS NULL;
CALL protect_table('notifications');

CREATE TABLE idempotency_keys (
    project_id uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    response_status integer,
    response_headers jsonb,
    response_body bytea,
    locked_until timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (project_id, route, key)
);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
CALL protect_table('idempotency_keys');

GRANT USAGE ON SEQUENCE audit_sequence, outbox_id_seq TO durabill_app, durabill_system;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE idempotency_keys, notifications, outbox, audit_log;
DROP SEQUENCE audit_sequence;
DROP PROCEDURE protect_table;
REVOKE SELECT ON alembic_version FROM durabill_system;
REVOKE USAGE ON SCHEMA public FROM durabill_app, durabill_system;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
