"""Tenancy: organizations, projects, keys, sessions of the dashboard, members and integrations.

Revision ID: tenancy
Revises: customers
"""

from alembic import op

revision = "tenancy"
down_revision = "customers"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE organizations (
    id uuid CONSTRAINT pk_organizations PRIMARY KEY,
    name text NOT NULL,
    slug text NOT NULL,
    default_currency text DEFAULT 'USD' NOT NULL,
    timezone text DEFAULT 'UTC' NOT NULL,
    email text,
    hmac_key text,
    logo_url text,
    portal_accent_color text,
    portal_welcome_message text,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
CREATE UNIQUE INDEX uq_organizations_slug ON organizations (slug);
CALL protect_table('organizations', 'id', 'organization_id');

CREATE TABLE projects (
    id uuid CONSTRAINT pk_projects PRIMARY KEY,
    organization_id uuid NOT NULL,
    name text NOT NULL,
    environment text DEFAULT 'live' NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    timezone text,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_projects_environment CHECK (environment IN ('live', 'test'))
);
CREATE INDEX ix_projects_organization_id ON projects (organization_id);
CALL protect_table('projects', 'organization_id', 'organization_id');

CREATE TABLE api_keys (
    id uuid CONSTRAINT pk_api_keys PRIMARY KEY,
    organization_id uuid NOT NULL,
    name text,
    key_hash bytea NOT NULL,
    key_prefix text NOT NULL,
    last_four text NOT NULL,
    kind text DEFAULT 'secret' NOT NULL,
    environment text DEFAULT 'live' NOT NULL,
    role text DEFAULT 'ADMIN' NOT NULL,
    project_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    active_project_id uuid NOT NULL,
    rotated_from uuid,
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    scopes text[],
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_api_keys_kind CHECK (kind IN ('secret', 'ingest'))
);
CREATE INDEX ix_api_keys_organization_id ON api_keys (organization_id);
CREATE UNIQUE INDEX uq_api_keys_key_hash ON api_keys (key_hash);
CALL protect_table('api_keys', 'organization_id', 'organization_id');

CREATE TABLE dashboard_sessions (
    token_hash bytea NOT NULL,
    key_id uuid NOT NULL,
    csrf text NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_dashboard_sessions PRIMARY KEY (token_hash)
);
CREATE INDEX ix_dashboard_sessions_expires_at ON dashboard_sessions (expires_at);
ALTER TABLE dashboard_sessions ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON dashboard_sessions TO durabill_system;
CREATE POLICY system_all ON dashboard_sessions TO durabill_system USING (true) WITH CHECK (true);

CREATE TABLE members (
    id uuid CONSTRAINT pk_members PRIMARY KEY,
    organization_id uuid NOT NULL,
    email text NOT NULL,
    role text NOT NULL,
    status text DEFAULT 'invited' NOT NULL,
    invitation_hash bytea,
    invitation_expires_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_members_role CHECK (role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'VIEWER')),
    CONSTRAINT ck_members_status CHECK (status IN ('invited', 'active'))
);
CREATE UNIQUE INDEX uq_members_email ON members (organization_id, lower(email)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX uq_members_invitation_hash ON members (invitation_hash) WHERE invitation_hash IS NOT NULL;
CALL protect_table('members', 'organization_id', 'organization_id');

CREATE TABLE integrations (
    id uuid CONSTRAINT pk_integrations PRIMARY KEY,
    project_id uuid NOT NULL,
    integration_type text NOT NULL,
    provider_type text NOT NULL,
    name text,
    status text DEFAULT 'active' NOT NULL,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    last_sync_at timestamptz,
    error_details jsonb,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
CREATE UNIQUE INDEX uq_integrations_provider_type ON integrations (project_id, provider_type)
    WHERE deleted_at IS NULL;
CALL protect_table('integrations');

CREATE TABLE integration_customers (
    id uuid CONSTRAINT pk_integration_customers PRIMARY KEY,
    project_id uuid NOT NULL,
    integration_id uuid NOT NULL
        CONSTRAINT fk_integration_customers_integration_id_integrations REFERENCES integrations,
    customer_id uuid NOT NULL CONSTRAINT fk_integration_customers_customer_id_customers REFERENCES customers,
    external_customer_id text NOT NULL,
    settings jsonb,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_integration_customers_integration_id_customer_id UNIQUE (integration_id, customer_id)
);
CREATE INDEX ix_integration_customers_customer_id ON integration_customers (customer_id);
CALL protect_table('integration_customers');

CREATE TABLE integration_mappings (
    id uuid CONSTRAINT pk_integration_mappings PRIMARY KEY,
    project_id uuid NOT NULL,
    integration_id uuid NOT NULL
        CONSTRAINT fk_integration_mappings_integration_id_integrations REFERENCES integrations,
    mappable_type text NOT NULL,
    mappable_id uuid NOT NULL,
    external_id text NOT NULL,
    external_data jsonb,
    last_synced_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT uq_integration_mappings_integration_id_mappable_type_ma_2ad3 UNIQUE (integration_id, mappable_type,
        mappable_id)
);
CALL protect_table('integration_mappings');

CREATE TABLE integration_syncs (
    id uuid CONSTRAINT pk_integration_syncs PRIMARY KEY,
    project_id uuid NOT NULL,
    integration_id uuid NOT NULL CONSTRAINT fk_integration_syncs_integration_id_integrations REFERENCES integrations,
    resource_type text NOT NULL,
    resource_id uuid,
    external_id text,
    action text NOT NULL,
    status text NOT NULL,
    error_message text,
    details jsonb,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL
);
CREATE INDEX ix_integration_syncs_integration_id ON integration_syncs (integration_id, id);
CALL protect_table('integration_syncs');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE integration_syncs, integration_mappings, integration_customers, integrations, members,
    dashboard_sessions, api_keys, projects, organizations;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
