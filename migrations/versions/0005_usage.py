"""Usage: rollups, kept values, marks and checks of usage.

Revision ID: usage
Revises: events
"""

from alembic import op

revision = "usage"
down_revision = "events"
branch_labels = None
depends_on = None

UPGRADE = """
SET LOCAL lock_timeout = '5s';

CREATE TABLE usage_rollups (
    subscription_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    day date NOT NULL,
    project_id uuid NOT NULL,
    value_sum numeric DEFAULT 0 NOT NULL,
    event_count bigint DEFAULT 0 NOT NULL,
    value_max numeric(38,18),
    value_min numeric(38,18),
    filters_version integer DEFAULT 0 NOT NULL,
    bucket text COLLATE "C" DEFAULT '' NOT NULL,
    CONSTRAINT pk_usage_rollups PRIMARY KEY (subscription_id, metric_id, day, filters_version, bucket)
);
CALL protect_table('usage_rollups');

CREATE TABLE usage_uniques (
    subscription_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    value_key text COLLATE "C" NOT NULL,
    day date NOT NULL,
    project_id uuid NOT NULL,
    CONSTRAINT pk_usage_uniques PRIMARY KEY (subscription_id, metric_id, value_key, day)
);
CALL protect_table('usage_uniques');

CREATE TABLE usage_unique_days (
    subscription_id uuid NOT NULL,
    metric_id uuid NOT NULL,
    day date NOT NULL,
    previous_day date NOT NULL,
    project_id uuid NOT NULL,
    value_count bigint NOT NULL,
    CONSTRAINT pk_usage_unique_days PRIMARY KEY (subscription_id, metric_id, day, previous_day)
);
CALL protect_table('usage_unique_days');

CREATE TABLE usage_watermarks (
    subscription_id uuid CONSTRAINT pk_usage_watermarks PRIMARY KEY,
    project_id uuid NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    signalled_version bigint DEFAULT 0 NOT NULL,
    marked_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    signalled_at timestamptz
);
CREATE INDEX ix_usage_watermarks_dirty ON usage_watermarks (marked_at) WHERE version > signalled_version;
CALL protect_table('usage_watermarks');

CREATE TABLE usage_checks (
    id uuid CONSTRAINT pk_usage_checks PRIMARY KEY,
    project_id uuid NOT NULL,
    status text DEFAULT 'running' NOT NULL,
    checked bigint DEFAULT 0 NOT NULL,
    differences bigint DEFAULT 0 NOT NULL,
    details jsonb DEFAULT '[]'::jsonb NOT NULL,
    started_by text NOT NULL,
    finished_at timestamptz,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_usage_checks_status CHECK (status IN ('running', 'clean', 'different'))
);
CREATE INDEX ix_usage_checks_project_id ON usage_checks (project_id, id);
CALL protect_table('usage_checks');
"""

DOWNGRADE = """
SET LOCAL lock_timeout = '5s';

DROP TABLE usage_checks, usage_watermarks, usage_unique_days, usage_uniques, usage_rollups;
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.execute(UPGRADE)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(DOWNGRADE)
