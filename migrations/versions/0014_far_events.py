"""Events of far times: one partition before 2020, one from 2050, years from three years ahead.

Revision ID: far_events
Revises: alerts
"""

from alembic import op

revision = "far_events"
down_revision = "alerts"
branch_labels = None
depends_on = None

# Partitions that an earlier revision made for far times give their rows to the two that take their place.
UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE event_months.past (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE event_months.past ENABLE ROW LEVEL SECURITY;
CREATE TABLE event_months.future (LIKE events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
ALTER TABLE event_months.future ENABLE ROW LEVEL SECURITY;

DO $$
DECLARE
    far record;
BEGIN
    FOR far IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'public.events'::regclass AND (c.relname < 'y2020' OR c.relname >= 'y2050')
    LOOP
        EXECUTE format('ALTER TABLE public.events DETACH PARTITION event_months.%I', far.relname);
        EXECUTE format('INSERT INTO event_months.%I SELECT * FROM event_months.%I',
                       CASE WHEN far.relname < 'y2020' THEN 'past' ELSE 'future' END, far.relname);
        EXECUTE format('DROP TABLE event_months.%I', far.relname);
    END LOOP;
END $$;

ALTER TABLE events ATTACH PARTITION event_months.past FOR VALUES FROM (MINVALUE) TO ('2020-01-01 00:00:00+00');
ALTER TABLE events ATTACH PARTITION event_months.future FOR VALUES FROM ('2050-01-01 00:00:00+00') TO (MAXVALUE);

-- A month's partition until the end of the year after next, a year's partition further ahead, where only the events of
-- test clocks lie. ATTACH lets ingestion go on meanwhile (CREATE TABLE ... PARTITION OF would stop it), and the lock
-- lets one caller at a time look and make.
CREATE OR REPLACE FUNCTION ensure_event_month(at timestamptz) RETURNS boolean
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
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE OR REPLACE FUNCTION ensure_event_month(at timestamptz) RETURNS boolean
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
END $$;

DO $$
DECLARE
    far record;
BEGIN
    FOR far IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'public.events'::regclass AND c.relname IN ('past', 'future')
    LOOP
        EXECUTE format('ALTER TABLE public.events DETACH PARTITION event_months.%I', far.relname);
        EXECUTE format('SELECT public.ensure_event_month(occurred_at) FROM event_months.%I GROUP BY occurred_at',
                       far.relname);
        EXECUTE format('INSERT INTO public.events SELECT * FROM event_months.%I', far.relname);
        EXECUTE format('DROP TABLE event_months.%I', far.relname);
    END LOOP;
END $$;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
