"""Corrections of events, checks of the rollups, reprocessing runs, and the plan versions of earlier periods."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import DECIMAL, INSTANT, created, metadata, partial_index, project, refers_to, tenant_table

# One row for each event that was changed after it was counted: what it was and what it became. Append-only, but for
# the two columns that say which close has looked at it.
usage_corrections = tenant_table(
    "usage_corrections",
    Column("kind", Text, nullable=False),
    # The rows of one backfill share it.
    Column("backfill_id", Uuid),
    Column("event_id", Uuid, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("subscription_id", Uuid),
    Column("metric_id", Uuid),
    Column("occurred_at", INSTANT, nullable=False),
    Column("old_value", DECIMAL),
    Column("new_value", DECIMAL),
    Column("old_properties", JSONB),
    Column("new_properties", JSONB),
    Column("reason", Text),
    Column("actor_type", Text, nullable=False),
    Column("actor_id", Text),
    # Set by the first close that saw the correction; NULL: its period must be looked at again.
    Column("settled_at", INSTANT),
    # The invoice of that close; NULL if it had nothing to bill.
    Column("settled_by", Uuid),
    refers_to("settled_by", "invoices", ondelete="SET NULL (settled_by)"),
    CheckConstraint("kind IN ('amended', 'voided', 'added')", name="kind"),
    partial_index("ix_usage_corrections_pending", "subscription_id", where="settled_at IS NULL"),
    Index("ix_usage_corrections_project_id", "project_id", "id"),
    Index("ix_usage_corrections_event_id", "event_id"),
    partial_index("ix_usage_corrections_settled_by", "settled_by", where="settled_by IS NOT NULL"),
    has_updated=False,
)

# A check of a project's rollups against its events, under way or done.
usage_checks = tenant_table(
    "usage_checks",
    Column("status", Text, nullable=False, server_default="running"),
    Column("checked", BigInteger, nullable=False, server_default=text("0")),
    Column("differences", BigInteger, nullable=False, server_default=text("0")),
    # The first differences, as they are shown
    Column("details", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("started_by", Text, nullable=False),
    Column("finished_at", INSTANT),
    CheckConstraint("status IN ('running', 'clean', 'different')", name="status"),
    Index("ix_usage_checks_project_id", "project_id", "id"),
    has_updated=False,
)

# A run that counts the skipped events of a window, a few hundred in each transaction.
event_reprocessings = tenant_table(
    "event_reprocessings",
    Column("status", Text, nullable=False, server_default="running"),
    # Half-open, of event time
    Column("window_start", INSTANT, nullable=False),
    Column("window_end", INSTANT, nullable=False),
    Column("metric_ref", Text),
    Column("customer_ref", Text),
    Column("total", BigInteger, nullable=False, server_default=text("0")),
    Column("seen", BigInteger, nullable=False, server_default=text("0")),
    Column("counted", BigInteger, nullable=False, server_default=text("0")),
    # The last event that was looked at
    Column("last_event_id", Uuid),
    Column("actor_type", Text, nullable=False),
    Column("actor_id", Text),
    Column("finished_at", INSTANT),
    CheckConstraint("status IN ('running', 'done')", name="status"),
    Index("ix_event_reprocessings_project_id", "project_id", "id"),
    has_updated=False,
)

# Which plan version served the periods before a plan change: those that start before `until`.
served_versions = Table(
    "served_versions",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("until", INSTANT, primary_key=True),
    project(),
    Column("plan_version_id", Uuid, nullable=False),
    created(),
)
