"""Event storage: events by month, their keys apart.

The old table becomes one partitioned by the month of the event's own time, so that a month can be detached; the
identity of events moves into ``event_keys``, which stays. Rows that exist keep their key with an empty fingerprint:
their content is compared with the event itself.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from adapters.postgres.schema import APP_ROLE, SYSTEM_ROLE, security_statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = """project_id, idempotency_key, id, metric_ref, customer_ref, subscription_ref, product_item_ref, value,
    properties, occurred_at, occurred_at_given, source, metric_id, customer_id, subscription_id, status, skip_reason,
    received_at"""

# A year's partition before 2020, where few events lie, a month's from then on. ATTACH lets ingestion go on meanwhile
# (CREATE TABLE ... PARTITION OF would stop it), and the lock lets one caller at a time look and make.
_ENSURE = """
CREATE FUNCTION ensure_event_month(at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    span text := CASE WHEN at < '2020-01-01' THEN 'year' ELSE 'month' END;
    range_start timestamptz := date_trunc(span, at);
    range_end timestamptz := date_trunc(span, at) + ('1 ' || span)::interval;
    name text := to_char(range_start, CASE span WHEN 'year' THEN '"y"YYYY' ELSE '"y"YYYY"m"MM' END);
BEGIN
    IF to_regclass('event_months.' || name) IS NOT NULL OR range_start < public.event_floor() THEN
        RETURN false;
    END IF;
    LOCK TABLE public.events IN SHARE UPDATE EXCLUSIVE MODE;
    IF to_regclass('event_months.' || name) IS NOT NULL OR range_start < public.event_floor() THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE event_months.%I (LIKE public.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE event_months.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.events ATTACH PARTITION event_months.%I FOR VALUES FROM (%L) TO (%L)',
                   name, range_start, range_end);
    RETURN true;
END $$
"""

# What is older was detached; and what is older than the second was closed together with it.
_FLOOR = """
CREATE FUNCTION event_floor() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(max(range_end), '-infinity') FROM event_archive.months $$
"""
_CLOSED_UNTIL = """
CREATE FUNCTION events_closed_until() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT max(closed_until) FROM event_archive.months $$
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute("ALTER TABLE events RENAME TO events_in_one_piece")
    op.execute("ALTER TABLE events_in_one_piece DROP CONSTRAINT pk_events")
    op.execute("DROP INDEX ix_events_id, ix_events_usage")
    op.execute("CREATE SCHEMA event_months")
    op.execute("CREATE SCHEMA event_archive")
    op.execute(
        "CREATE TABLE event_archive.months (name text PRIMARY KEY, range_start timestamptz NOT NULL, "
        "range_end timestamptz NOT NULL, closed_until timestamptz NOT NULL, "
        "detached_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )
    _create_tables()
    for statement in security_statements(["event_keys", "events"]):
        op.execute(statement)
    op.execute(_FLOOR)
    op.execute(_CLOSED_UNTIL)
    op.execute(_ENSURE)
    for function in ("event_floor()", "events_closed_until()", "ensure_event_month(timestamptz)"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM public")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {APP_ROLE}, {SYSTEM_ROLE}")
    _move_rows("events_in_one_piece")


def _create_tables() -> None:
    op.create_table(
        "event_keys",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=True),
        sa.Column("occurred_at_given", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "idempotency_key", name=op.f("pk_event_keys")),
    )
    op.create_table(
        "events",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("metric_ref", sa.Text(), nullable=False),
        sa.Column("customer_ref", sa.Text(), nullable=True),
        sa.Column("subscription_ref", sa.Text(), nullable=True),
        sa.Column("product_item_ref", sa.Text(), nullable=True),
        sa.Column("value", sa.Numeric(precision=38, scale=18), nullable=True),
        sa.Column("properties", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("occurred_at_given", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=True),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("subscription_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("skip_reason", sa.Text(), nullable=True),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("status IN ('counted', 'skipped', 'voided')", name=op.f("ck_events_status")),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_index("ix_events_id", "events", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_events_usage",
        "events",
        ["subscription_id", "metric_id", "occurred_at"],
        unique=False,
        postgresql_where=sa.text("status = 'counted'"),
    )


def _move_rows(old: str) -> None:
    """Make a partition for every month that has events, and move keys and events over."""
    op.execute(
        f"SELECT ensure_event_month(month) FROM "  # noqa: S608
        f"(SELECT DISTINCT date_trunc('month', occurred_at, 'UTC') AS month FROM {old}) months"
    )
    op.execute(
        f"INSERT INTO event_keys (project_id, idempotency_key, event_id, occurred_at, occurred_at_given) "  # noqa: S608
        f"SELECT project_id, idempotency_key, id, occurred_at, occurred_at_given FROM {old}"
    )
    op.execute(f"INSERT INTO events ({_COLUMNS}) SELECT {_COLUMNS} FROM {old}")  # noqa: S608
    op.drop_table(old)


def downgrade() -> None:
    """Go back to one table; only while no month is detached, or the keys of its events would be forgotten."""
    op.execute(
        "DO $$ BEGIN IF EXISTS (SELECT FROM event_archive.months) THEN "
        "RAISE EXCEPTION 'months of events are detached; their keys would be forgotten'; END IF; END $$"
    )
    op.execute("ALTER TABLE events RENAME TO events_by_month")
    op.execute("DROP INDEX ix_events_id, ix_events_usage")
    op.execute(f"CREATE TABLE events AS SELECT {_COLUMNS} FROM events_by_month")  # noqa: S608
    for column in ("project_id", "idempotency_key", "id", "metric_ref", "occurred_at", "occurred_at_given", "source"):
        op.alter_column("events", column, nullable=False)
    op.alter_column("events", "status", nullable=False)
    op.alter_column("events", "received_at", nullable=False, server_default=sa.text("clock_timestamp()"))
    op.alter_column("events", "occurred_at_given", server_default=sa.text("true"))
    op.drop_table("events_by_month")
    op.create_primary_key(op.f("pk_events"), "events", ["project_id", "idempotency_key"])
    op.create_check_constraint(op.f("ck_events_status"), "events", "status IN ('counted', 'skipped', 'voided')")
    op.create_index("ix_events_id", "events", ["project_id", "id"])
    op.create_index(
        "ix_events_usage",
        "events",
        ["subscription_id", "metric_id", "occurred_at"],
        postgresql_where=sa.text("status = 'counted'"),
    )
    op.execute("DROP FUNCTION ensure_event_month(timestamptz)")
    op.execute("DROP FUNCTION event_floor()")
    op.execute("DROP FUNCTION events_closed_until()")
    op.execute("DROP SCHEMA event_months")
    op.execute("DROP TABLE event_archive.months")
    op.execute("DROP SCHEMA event_archive")
    op.drop_table("event_keys")
    for statement in security_statements(["events"]):
        op.execute(statement)
