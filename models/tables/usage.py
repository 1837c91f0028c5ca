"""Raw events by month, their keys, their rollups, and the marks that say which subscriptions have new usage."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from models.tables.base import DECIMAL, INSTANT, metadata, partial_index, project

# The identity of an event is (project, idempotency key), for ever (C3): it stays when the event's month is detached.
event_keys = Table(
    "event_keys",
    metadata,
    Column("project_id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    # Where the event lies: the time that chose its month.
    Column("occurred_at", INSTANT, nullable=False),
    # Of what was sent, but for the time (ingest_fingerprint.py); NULL where only the event itself can be compared.
    Column("fingerprint", BigInteger),
    # False when the client sent no time, so that a retry is not taken for another event.
    Column("occurred_at_given", Boolean, nullable=False, server_default=text("true")),
    Column("idempotency_key", Text, primary_key=True),
    # An event's id begins with the instant of its arrival.
    Index("ix_event_keys_event_id", "event_id", postgresql_using="brin", postgresql_with={"autosummarize": "on"}),
)

# One partition for each month of event time (UTC), in the schema event_months, where no role may look: every access
# goes through this table and its row-level security. Rows are inserted with their event_keys row, never alone.
events = Table(
    "events",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    # A UUID version 7: sorts by arrival.
    Column("id", Uuid, nullable=False),
    # What the client sent
    Column("metric_ref", Text, nullable=False),
    Column("customer_ref", Text),
    Column("subscription_ref", Text),
    Column("product_item_ref", Text),
    # What it counts for: as sent, or the number in the property that the metric names.
    Column("value", DECIMAL),
    Column("properties", JSONB),
    Column("occurred_at", INSTANT, nullable=False),
    # False when the client sent no time, so that a retry is not taken for another event.
    Column("occurred_at_given", Boolean, nullable=False, server_default=text("true")),
    Column("source", Text, nullable=False),
    # What it resolved to
    Column("metric_id", Uuid),
    Column("customer_id", Uuid),
    Column("subscription_id", Uuid),
    Column("status", Text, nullable=False),
    Column("skip_reason", Text),
    Column("received_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("status IN ('counted', 'skipped', 'voided')", name="status"),
    # Not unique: uniqueness is event_keys', and this one serves look-up and lists, newest first.
    Index("ix_events_id", "project_id", "id"),
    partial_index("ix_events_usage", "subscription_id", "metric_id", "occurred_at", where="status = 'counted'"),
    # What does not count: to be reprocessed, or voided
    partial_index("ix_events_uncounted", "project_id", "occurred_at", where="status <> 'counted'"),
    postgresql_partition_by="RANGE (occurred_at)",
)

# What the counted events of a UTC day add up to, apart by filter bucket: the rows of a day are parts of it, no event is
# in two, and together they are the day. Metrics without filters have one row for each day.
usage_rollups = Table(
    "usage_rollups",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("metric_id", Uuid, primary_key=True),
    # A UTC day
    Column("day", Date, primary_key=True),
    # By which filters the events were told apart: metrics.filters_version when they were folded. Only rows of the
    # metric's present version can be priced apart; days with others are folded from their events again.
    Column("filters_version", Integer, primary_key=True, server_default=text("0")),
    # Of each of the metric's filters the value, as JSON; what a filter does not list is left out, and '' has nothing
    # that any of them lists (event_scope.filter_bucket).
    Column("bucket", Text(collation="C"), primary_key=True, server_default=text("''")),
    project(),
    # Unbounded: the sum of many storable values may need more digits than one of them has.
    Column("value_sum", Numeric, nullable=False, server_default=text("0")),
    Column("event_count", BigInteger, nullable=False, server_default=text("0")),
    Column("value_max", DECIMAL),
    Column("value_min", DECIMAL),
)

# The different values of a metric that counts them: one row for each UTC day on which a value occurred. Written only by
# transactions that hold the subscription's row of usage_watermarks (unique_value_store.py).
usage_uniques = Table(
    "usage_uniques",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("metric_id", Uuid, primary_key=True),
    # The value as text, or the digest of a long one
    Column("value_key", Text(collation="C"), primary_key=True),
    Column("day", Date, primary_key=True),
    project(),
)

# Of the values of a day, how many occurred last on which earlier day ('-infinity': on none). The values of a range of
# days are those whose earlier day lies before it, so that nobody has to look at the values themselves.
usage_unique_days = Table(
    "usage_unique_days",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    Column("metric_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("previous_day", Date, primary_key=True),
    project(),
    Column("value_count", BigInteger, nullable=False),
)

usage_watermarks = Table(
    "usage_watermarks",
    metadata,
    Column("subscription_id", Uuid, primary_key=True),
    project(),
    # Grows with each ingest transaction; the subscription is dirty while signalled_version is behind.
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("signalled_version", BigInteger, nullable=False, server_default=text("0")),
    Column("marked_at", INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("signalled_at", INSTANT),
    partial_index("ix_usage_watermarks_dirty", "marked_at", where="version > signalled_version"),
)
