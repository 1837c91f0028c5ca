"""Events: events by month, their keys, corrections and reprocessings.

Revision ID: events
Revises: tenancy
"""

from alembic import op

revision = "events"
down_revision = "tenancy"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE SCHEMA event_months;
CREATE SCHEMA event_archive;
CREATE TABLE event_archive.months (
    name text PRIMARY KEY,
    range_start timestamptz NOT NULL,
    range_end timestamptz NOT NULL,
    closed_until timestamptz NOT NULL,
    detached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE event_keys (
    project_id uuid NOT NULL,
    event_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    fingerprint bigint,
    occurred_at_given boolean DEFAULT true NOT NULL,
    idempotency_key text NOT NULL,
    CONSTRAINT pk_event_keys PRIMARY KEY (project_id, idempotency_key)
);
-- Block ranges suit tables that grow at their end, and cost an insert next to nothing.
CREATE INDEX ix_event_keys_event_id ON event_keys USING brin (event_id) WITH (autosummarize = on);
CALL protect_table('event_keys');

CREATE TABLE events (
    project_id uuid NOT NULL,
    idempotency_key text NOT NULL,
    id uuid NOT NULL,
    metric_ref text NOT NULL,
    customer_ref text,
    subscription_ref text,
    product_item_ref text,
    value numeric(38,18),
    properties jsonb,
    occurred_at timestamptz NOT NULL,
    occurred_at_given boolean DEFAULT true NOT NULL,
    source text NOT NULL,
    metric_id uuid,
    customer_id uuid,
    subscription_id uuid,
    status text NOT NULL,
    skip_reason text,
    received_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_events_status CHECK (status IN ('counted', 'skipped', 'voided'))
) PARTITION BY RANGE (occurred_at);
CREATE INDEX ix_events_id ON events (project_id, id);
CREATE INDEX ix_events_uncounted ON events (project_id, occurred_at) WHERE status <> 'counted';
CREATE INDEX ix_events_usage ON events (subscription_id, metric_id, occurred_at) WHERE status = 'counted';
CALL protect_table('events');
CREATE TABLE event_months.past PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00:00+00');
ALTER TABLE event_months.past ENABLE ROW LEVEL SECURITY;
CREATE TABLE event_months.future PARTITION OF events FOR VALUES FROM ('2050-01-01 00:00:00+00') TO (MAXVALUE);
ALTER TABLE event_months.future ENABLE ROW LEVEL SECURITY;

CREATE TABLE usage_corrections (
    id uuid CONSTRAINT pk_usage_corrections PRIMARY KEY,
    project_id uuid NOT NULL,
    kind text NOT NULL,
    backfill_id uuid,
    event_id uuid NOT NULL,
    idempotency_key text NOT NULL,
    subscription_id uuid,
    metric_id uuid,
    occurred_at timestamptz NOT NULL,
    old_value numeric(38,18),
    new_value numeric(38,18),
    old_properties jsonb,
    new_properties jsonb,
    reason text,
    actor_type text NOT NULL,
    actor_id text,
    settled_at timestamptz,
    settled_by uuid,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_usage_corrections_kind CHECK (kind IN ('amended', 'voided', 'added'))
);
CREATE INDEX ix_usage_corrections_event_id ON usage_corrections (event_id);
CREATE INDEX ix_usage_corrections_pending ON usage_corrections (subscription_id) WHERE settled_at IS NULL;
CREATE INDEX ix_usage_corrections_project_id ON usage_corrections (project_id, id);
CREATE INDEX ix_usage_corrections_settled_by ON usage_corrections (settled_by) WHERE settled_by IS NOT NULL;
CALL protect_table('usage_corrections');

CREATE TABLE event_reprocessings (
    id uuid CONSTRAINT pk_event_reprocessings PRIMARY KEY,
    project_id uuid NOT NULL,
    status text DEFAULT 'running' NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    metric_ref text,
    customer_ref text,
    total bigint DEFAULT 0 NOT NULL,
    seen bigint DEFAULT 0 NOT NULL,
    counted bigint DEFAULT 0 NOT NULL,
    last_event_id uuid,
    actor_type text NOT NULL,
    actor_id text,
    finished_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_event_reprocessings_status CHECK (status IN ('running', 'done'))
);
CREATE INDEX ix_event_reprocessings_project_id ON event_reprocessings (project_id, id);
CALL protect_table('event_reprocessings');

-- What is older was detached; and what is older than the second was closed together with it.
CREATE FUNCTION event_floor() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT coalesce(max(range_end), '-infinity') FROM event_archive.months $$;
CREATE FUNCTION events_closed_until() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
$$ SELECT max(closed_until) FROM event_archive.months $$;

-- A month's partition until the end of the year after next, a year's partition further ahead, where only the events of
-- test clocks lie. ATTACH lets ingestion go on meanwhile (CREATE TABLE ... PARTITION OF would stop it), and the lock
-- lets one caller at a time look and make.
CREATE FUNCTION ensure_event_month(at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    span text := CASE WHEN extract(year FROM at) > extract(year FROM now()) + 2 THEN 'year' ELSE 'month' END;
    range_start timestamptz := date_trunc(span, at);
    range_end timestamptz := date_trunc(span, at) + ('1 ' || span)::interval;
    year_name text := to_char(at, '"y"YYYY');
    name text := to_char(range_start, CASE span WHEN 'year' THEN '"y"YYYY' ELSE '"y"YYYY"m"MM' END);
BEGIN
    FOR attempt IN 1..2 LOOP
        IF at < '2020-01-01' OR at >= '2050-01-01' OR range_start < public.event_floor()
           OR to_regclass('event_months.' || name) IS NOT NULL
           OR to_regclass('event_months.' || year_name) IS NOT NULL THEN
            RETURN false;
        END IF;
        IF attempt = 1 THEN
            LOCK TABLE public.events IN SHARE UPDATE EXCLUSIVE MODE;
        END IF;
    END LOOP;
    EXECUTE format('CREATE TABLE event_months.%I (LIKE public.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('ALTER TABLE event_months.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE public.events ATTACH PARTITION event_months.%I FOR VALUES FROM (%L) TO (%L)',
                   name, range_start, range_end);
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION event_floor() FROM public;
GRANT EXECUTE ON FUNCTION event_floor() TO durabill_app, durabill_system;
REVOKE ALL ON FUNCTION events_closed_until() FROM public;
GRANT EXECUTE ON FUNCTION events_closed_until() TO durabill_app, durabill_system;
REVOKE ALL ON FUNCTION ensure_event_month(timestamptz) FROM public;
GRANT EXECUTE ON FUNCTION ensure_event_month(timestamptz) TO durabill_app, durabill_system;
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP FUNCTION ensure_event_month(timestamptz);
DROP FUNCTION event_floor();
DROP FUNCTION events_closed_until();
DROP TABLE event_reprocessings, usage_corrections, events, event_keys;
DROP SCHEMA event_months;
DROP TABLE event_archive.months;
DROP SCHEMA event_archive;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
