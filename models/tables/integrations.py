"""Third-party systems of a project: what its customers and objects are called there, and what was tried."""

from sqlalchemy import Column, Index, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import INSTANT, refers_to, tenant_table, unique_index

integrations = tenant_table(
    "integrations",
    Column("integration_type", Text, nullable=False),
    Column("provider_type", Text, nullable=False),
    Column("name", Text),
    Column("status", Text, nullable=False, server_default="active"),
    # As the client sent them; answers mask what is secret.
    Column("settings", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("last_sync_at", INSTANT),
    Column("error_details", JSONB),
    Column("deleted_at", INSTANT),
    unique_index("uq_integrations_provider_type", "project_id", "provider_type", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

integration_customers = tenant_table(
    "integration_customers",
    Column("integration_id", Uuid, nullable=False),
    refers_to("integration_id", "integrations"),
    Column("customer_id", Uuid, nullable=False),
    refers_to("customer_id", "customers"),
    Column("external_customer_id", Text, nullable=False),
    Column("settings", JSONB),
    UniqueConstraint("integration_id", "customer_id"),
    Index("ix_integration_customers_customer_id", "customer_id"),
)

integration_mappings = tenant_table(
    "integration_mappings",
    Column("integration_id", Uuid, nullable=False),
    refers_to("integration_id", "integrations"),
    Column("mappable_type", Text, nullable=False),
    Column("mappable_id", Uuid, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("external_data", JSONB),
    Column("last_synced_at", INSTANT),
    UniqueConstraint("integration_id", "mappable_type", "mappable_id"),
)

integration_syncs = tenant_table(
    "integration_syncs",
    Column("integration_id", Uuid, nullable=False),
    refers_to("integration_id", "integrations"),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Uuid),
    Column("external_id", Text),
    Column("action", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error_message", Text),
    Column("details", JSONB),
    Column("started_at", INSTANT, nullable=False),
    Column("completed_at", INSTANT),
    Index("ix_integration_syncs_integration_id", "integration_id", "id"),
    has_updated=False,
)
