"""Tenancy: organizations, projects, keys, members and integrations.

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
    id uuid NOT NULL,
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
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_organizations PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_organizations_slug ON organizations (slug);
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON organizations TO durabill_system;
CREATE POLICY system_all ON organizations TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON organizations TO durabill_app;
CREATE POLICY tenant ON organizations TO durabill_app
    USING (id = nullif(current_setting('durabill.organization_id', true), '')::uuid)
    WITH CHECK (id = nullif(current_setting('durabill.organization_id', true), '')::uuid);

CREATE TABLE projects (
    id uuid NOT NULL,
    organization_id uuid NOT NULL,
    name text NOT NULL,
    environment text DEFAULT 'live' NOT NULL,
    is_default boolean DEFAULT false NOT NULL,
    timezone text,
    settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_projects PRIMARY KEY (id),
    CONSTRAINT ck_projects_environment CHECK (environment IN ('live', 'test'))
);
CREATE INDEX ix_projects_organization_id ON projects (organization_id);
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON projects TO durabill_system;
CREATE POLICY system_all ON projects TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON projects TO durabill_app;
CREATE POLICY tenant ON projects TO durabill_app
    USING (organization_id = nullif(current_setting('durabill.organization_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('durabill.organization_id', true), '')::uuid);

CREATE TABLE api_keys (
    id uuid NOT NULL,
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
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT ck_api_keys_kind CHECK (kind IN ('secret', 'ingest'))
);
CREATE INDEX ix_api_keys_organization_id ON api_keys (organization_id);
CREATE UNIQUE INDEX uq_api_keys_key_hash ON api_keys (key_hash);
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys TO durabill_system;
CREATE POLICY system_all ON api_keys TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON api_keys TO durabill_app;
CREATE POLICY tenant ON api_keys TO durabill_app
    USING (organization_id = nullif(current_setting('durabill.organization_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('durabill.organization_id', true), '')::uuid);

CREATE TABLE members (
    id uuid NOT NULL,
    organization_id uuid NOT NULL,
    email text NOT NULL,
    role text NOT NULL,
    status text DEFAULT 'invited' NOT NULL,
    invitation_hash bytea,
    invitation_expires_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_members PRIMARY KEY (id),
    CONSTRAINT ck_members_role CHECK (role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'VIEWER')),
    CONSTRAINT ck_members_status CHECK (status IN ('invited', 'active'))
);
CREATE UNIQUE INDEX uq_members_email ON members (organization_id, lower(email)) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX uq_members_invitation_hash ON members (invitation_hash) WHERE invitation_hash IS NOT NULL;
ALTER TABLE members ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON members TO durabill_system;
CREATE POLICY system_all ON members TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON members TO durabill_app;
CREATE POLICY tenant ON members TO durabill_app
    USING (organization_id = nullif(current_setting('durabill.organization_id', true), '')::uuid)
    WITH CHECK (organization_id = nullif(current_setting('durabill.organization_id', true), '')::uuid);

CREATE TABLE integrations (
    id uuid NOT NULL,
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
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_integrations PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_integrations_provider_type ON integrations (project_id, provider_type)
    WHERE deleted_at IS NULL;
ALTER TABLE integrations ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON integrations TO durabill_system;
CREATE POLICY system_all ON integrations TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON integrations TO durabill_app;
CREATE POLICY tenant ON integrations TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE integration_customers (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    customer_id uuid NOT NULL,
    external_customer_id text NOT NULL,
    settings jsonb,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_integration_customers PRIMARY KEY (id),
    CONSTRAINT uq_integration_customers_integration_id_customer_id UNIQUE (integration_id, customer_id),
    CONSTRAINT fk_integration_customers_customer_id_customers FOREIGN KEY (customer_id) REFERENCES customers(id),
    CONSTRAINT fk_integration_customers_integration_id_integrations FOREIGN KEY (integration_id) REFERENCES
        integrations(id)
);
CREATE INDEX ix_integration_customers_customer_id ON integration_customers (customer_id);
ALTER TABLE integration_customers ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_customers TO durabill_system;
CREATE POLICY system_all ON integration_customers TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_customers TO durabill_app;
CREATE POLICY tenant ON integration_customers TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE integration_mappings (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    mappable_type text NOT NULL,
    mappable_id uuid NOT NULL,
    external_id text NOT NULL,
    external_data jsonb,
    last_synced_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_integration_mappings PRIMARY KEY (id),
    CONSTRAINT uq_integration_mappings_integration_id_mappable_type_ma_2ad3 UNIQUE (integration_id,
        mappable_type, mappable_id),
    CONSTRAINT fk_integration_mappings_integration_id_integrations FOREIGN KEY (integration_id) REFERENCES
        integrations(id)
);
ALTER TABLE integration_mappings ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_mappings TO durabill_system;
CREATE POLICY system_all ON integration_mappings TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_mappings TO durabill_app;
CREATE POLICY tenant ON integration_mappings TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);

CREATE TABLE integration_syncs (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    integration_id uuid NOT NULL,
    resource_type text NOT NULL,
    resource_id uuid,
    external_id text,
    action text NOT NULL,
    status text NOT NULL,
    error_message text,
    details jsonb,
    started_at timestamptz NOT NULL,
    completed_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_integration_syncs PRIMARY KEY (id),
    CONSTRAINT fk_integration_syncs_integration_id_integrations FOREIGN KEY (integration_id) REFERENCES
        integrations(id)
);
CREATE INDEX ix_integration_syncs_integration_id ON integration_syncs (integration_id, id);
ALTER TABLE integration_syncs ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_syncs TO durabill_system;
CREATE POLICY system_all ON integration_syncs TO durabill_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON integration_syncs TO durabill_app;
CREATE POLICY tenant ON integration_syncs TO durabill_app
    USING (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid)
    WITH CHECK (project_id = nullif(current_setting('durabill.project_id', true), '')::uuid);
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE integration_syncs;
DROP TABLE integration_mappings;
DROP TABLE integration_customers;
DROP TABLE integrations;
DROP TABLE members;
DROP TABLE api_keys;
DROP TABLE projects;
DROP TABLE organizations;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
