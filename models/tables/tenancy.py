"""Organizations, their members, projects, API keys, the audit log and stored answers of idempotent requests."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from models.tables.base import INSTANT, created, identity, metadata, unique_index, updated

organizations = Table(
    "organizations",
    metadata,
    identity(),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("default_currency", Text, nullable=False, server_default="USD"),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    Column("email", Text),
    Column("hmac_key", Text),
    Column("logo_url", Text),
    Column("portal_accent_color", Text),
    Column("portal_welcome_message", Text),
    Column("deleted_at", INSTANT),
    created(),
    updated(),
    unique_index("uq_organizations_slug", "slug"),
)

projects = Table(
    "projects",
    metadata,
    identity(),
    Column("organization_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("environment", Text, nullable=False, server_default="live"),
    Column("is_default", Boolean, nullable=False, server_default=text("false")),
    Column("timezone", Text),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    created(),
    updated(),
    CheckConstraint("environment IN ('live', 'test')", name="environment"),
    Index("ix_projects_organization_id", "organization_id"),
)

api_keys = Table(
    "api_keys",
    metadata,
    identity(),
    Column("organization_id", Uuid, nullable=False),
    Column("name", Text),
    Column("key_hash", LargeBinary, nullable=False),
    Column("key_prefix", Text, nullable=False),
    Column("last_four", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="secret"),
    Column("environment", Text, nullable=False, server_default="live"),
    Column("role", Text, nullable=False, server_default="ADMIN"),
    # What the key may do; null: what keys of its kind may.
    Column("scopes", ARRAY(Text)),
    # Empty means every project of the organization.
    Column("project_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'::uuid[]")),
    Column("active_project_id", Uuid, nullable=False),
    Column("rotated_from", Uuid),
    Column("last_used_at", INSTANT),
    Column("expires_at", INSTANT),
    Column("revoked_at", INSTANT),
    created(),
    updated(),
    CheckConstraint("kind IN ('secret', 'ingest')", name="kind"),
    unique_index("uq_api_keys_key_hash", "key_hash"),
    Index("ix_api_keys_organization_id", "organization_id"),
)

# The people of an organization, and who has been invited to become one (seed 003, B21, B22).
members = Table(
    "members",
    metadata,
    identity(),
    Column("organization_id", Uuid, nullable=False),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="invited"),
    # Of the secret that accepts the invitation; only the hash is kept.
    Column("invitation_hash", LargeBinary),
    Column("invitation_expires_at", INSTANT),
    Column("deleted_at", INSTANT),
    created(),
    updated(),
    CheckConstraint("role IN ('OWNER', 'ADMIN', 'DEVELOPER', 'VIEWER')", name="role"),
    CheckConstraint("status IN ('invited', 'active')", name="status"),
    unique_index("uq_members_email", "organization_id", text("lower(email)"), where="deleted_at IS NULL"),
    unique_index("uq_members_invitation_hash", "invitation_hash", where="invitation_hash IS NOT NULL"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Uuid, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("response_status", Integer),
    Column("response_headers", JSONB),
    Column("response_body", LargeBinary),
    Column("locked_until", INSTANT),
    created(),
    Index("ix_idempotency_keys_created_at", "created_at"),
)

# A session of the dashboard; the cookie holds the token, only its hash is stored.
dashboard_sessions = Table(
    "dashboard_sessions",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("key_id", Uuid, nullable=False),
    Column("csrf", Text, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    created(),
    Index("ix_dashboard_sessions_expires_at", "expires_at"),
)

#: Orders the log within an instant.
audit_sequence = Sequence("audit_sequence", metadata=metadata)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("organization_id", Uuid, nullable=False),
    Column("project_id", Uuid),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Uuid, nullable=False),
    # e.g. created, updated, deleted, status_changed, issued, charged, charge_failed
    Column("action", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    # {"field": {"old": ..., "new": ...}}
    Column("changes", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("data", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # api_key, bootstrap, workflow, system
    Column("actor_type", Text, nullable=False),
    Column("actor_id", Text),
    # In the subscription's time (a test clock's, if it has one)
    Column("occurred_at", INSTANT, nullable=False),
    Column("recorded_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("sequence", BigInteger, nullable=False, server_default=text("nextval('audit_sequence')")),
    Index("ix_audit_log_resource", "resource_type", "resource_id", "sequence"),
    Index("ix_audit_log_project", "project_id", "sequence"),
    Index("ix_audit_log_recorded_at", "recorded_at", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
)
