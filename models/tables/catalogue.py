"""Metrics, products, plans with their immutable versions, and the charges of a version."""

from sqlalchemy import Boolean, CheckConstraint, Column, Index, Integer, Text, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from models.tables.base import DECIMAL, INSTANT, refers_to, tenant_table, unique_index

metrics = tenant_table(
    "metrics",
    Column("key", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("unit", Text),
    Column("aggregation", Text, nullable=False, server_default="sum"),
    # The event property that is aggregated; NULL means the event's value.
    Column("field_name", Text),
    Column("expression", Text),
    # Of the aggregation percentile alone: above 0, at most 100.
    Column("percentile", DECIMAL),
    # Whether what came before a period is carried into it: BoxBilling's `recurring`, our `carry_over`.
    Column("recurring", Boolean, nullable=False, server_default=text("false")),
    # Of the aggregation weighted_sum alone; NULL means prorate.
    Column("partial_period", Text),
    Column("rounding_function", Text),
    Column("rounding_precision", Integer),
    Column("product_ids", ARRAY(Uuid), nullable=False, server_default=text("'{}'::uuid[]")),
    # False once aggregation or field changed: what ingestion kept of an unique_count is not used any more.
    Column("values_kept", Boolean, nullable=False, server_default=text("true")),
    # By which texts of which properties rollups tell events apart: what the metric's filters list. The version grows
    # with every change of them; rollups say theirs.
    Column("rollup_dimensions", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("filters_version", Integer, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False, server_default="active"),
    Column("deleted_at", INSTANT),
    # NUMERIC compares NaN as larger than every number.
    CheckConstraint("percentile > 0 AND percentile <= 100", name="percentile"),
    CheckConstraint("partial_period IN ('prorate', 'full')", name="partial_period"),
    unique_index("uq_metrics_key", "project_id", "key", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

metric_filters = tenant_table(
    "metric_filters",
    Column("metric_id", Uuid, nullable=False),
    refers_to("metric_id", "metrics"),
    Column("key", Text, nullable=False),
    Column("values", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    UniqueConstraint("metric_id", "key"),
)

products = tenant_table(
    "products",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("deleted_at", INSTANT),
    unique_index("uq_products_code", "project_id", "code", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

plans = tenant_table(
    "plans",
    Column("product_id", Uuid),
    refers_to("product_id", "products"),
    Column("code", Text, nullable=False),
    # True if the client chose the code, so that it is shown as the plan's id.
    Column("code_chosen", Boolean, nullable=False, server_default=text("true")),
    Column("status", Text, nullable=False, server_default="active"),
    Column("current_version", Integer, nullable=False, server_default=text("1")),
    Column("deleted_at", INSTANT),
    CheckConstraint("status IN ('active', 'archived')", name="status"),
    unique_index("uq_plans_code", "project_id", "code", where="deleted_at IS NULL"),
    UniqueConstraint("project_id", "id"),
)

plan_versions = tenant_table(
    "plan_versions",
    Column("plan_id", Uuid, nullable=False),
    refers_to("plan_id", "plans"),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    # As the creator wrote it (C13); compared without case.
    Column("currency", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("trial_period_days", Integer, nullable=False, server_default=text("0")),
    # Major units; also present as a flat charge when not zero.
    Column("base_amount", DECIMAL, nullable=False, server_default=text("0")),
    CheckConstraint("interval IN ('weekly', 'monthly', 'quarterly', 'yearly')", name="interval"),
    UniqueConstraint("plan_id", "version"),
    UniqueConstraint("project_id", "id"),
    has_updated=False,
)

plan_charges = tenant_table(
    "plan_charges",
    Column("plan_version_id", Uuid, nullable=False),
    refers_to("plan_version_id", "plan_versions"),
    Column("plan_id", Uuid, nullable=False),
    refers_to("plan_id", "plans"),
    Column("position", Integer, nullable=False),
    Column("metric_id", Uuid),
    refers_to("metric_id", "metrics"),
    Column("description", Text),
    # billing.charges.ChargeModel, validated when written and when read.
    Column("model", JSONB, nullable=False),
    # The shape the creator sent (pricing_model, charge_model, properties), echoed in answers.
    Column("supplied", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # The combinations of property values that are priced apart, each with its own model.
    Column("filters", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # The event properties whose values get an invoice line each.
    Column("group_by", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    UniqueConstraint("plan_version_id", "position"),
    Index("ix_plan_charges_metric_id", "metric_id"),
    has_updated=False,
)
