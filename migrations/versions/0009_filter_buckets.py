"""Rollups apart by the filters of their metric.

Existing rows stay as they are, with version 0 and no bucket. Metrics that have filters begin with version 1, so that
their older days are known not to be told apart: what is charged by filters of those days is read from the events, as it
was before. Processes of the version before cannot store events any more: stop them first.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_DAY = ["subscription_id", "metric_id", "day"]

# The rule of what tells events apart, as it was when this revision was written.
_TOLD_APART = """
    UPDATE metrics m SET filters_version = 1, told_apart = coalesce(
        (SELECT jsonb_object_agg(key, allowed) FROM (
            SELECT key, allowed, sum(octet_length(to_json(key)::text) + coalesce(longest, 0) + 4)
                   OVER (ORDER BY key COLLATE "C") AS width
            FROM metric_filters f, LATERAL (
                SELECT jsonb_agg(DISTINCT value COLLATE "C") AS allowed, max(octet_length(to_json(value)::text)) AS longest
                FROM (
                    SELECT CASE jsonb_typeof(each.value)
                               WHEN 'number' THEN trim_scale((each.value #>> '{}')::numeric)::text
                               WHEN 'string' THEN each.value #>> '{}'
                               WHEN 'boolean' THEN each.value #>> '{}'
                           END AS value
                    FROM jsonb_array_elements(f."values") each
                ) texts WHERE value IS NOT NULL
            ) told
            WHERE f.metric_id = m.id
        ) listed WHERE width <= 2000 AND allowed IS NOT NULL), '{}')
    WHERE id IN (SELECT metric_id FROM metric_filters)
"""

# Of the parts of a day one row, as it was before.
_WHOLE_DAYS = """
    WITH gone AS (DELETE FROM usage_rollups RETURNING *)
    INSERT INTO usage_rollups (subscription_id, metric_id, day, project_id, value_sum, event_count, value_max, value_min)
    SELECT subscription_id, metric_id, day, project_id, sum(value_sum), sum(event_count), max(value_max), min(value_min)
    FROM gone GROUP BY 1, 2, 3, 4
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    zero = sa.text("0")
    op.add_column("metrics", sa.Column("filters_version", sa.Integer(), server_default=zero, nullable=False))
    op.add_column(
        "metrics",
        sa.Column("told_apart", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    )
    op.execute(_TOLD_APART)
    op.add_column("usage_rollups", sa.Column("filters_version", sa.Integer(), server_default=zero, nullable=False))
    op.add_column(
        "usage_rollups", sa.Column("bucket", sa.Text(collation="C"), server_default=sa.text("''"), nullable=False)
    )
    op.drop_constraint(op.f("pk_usage_rollups"), "usage_rollups")
    op.create_primary_key(op.f("pk_usage_rollups"), "usage_rollups", [*_DAY, "filters_version", "bucket"])


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_constraint(op.f("pk_usage_rollups"), "usage_rollups")
    op.execute(_WHOLE_DAYS)
    op.drop_column("usage_rollups", "bucket")
    op.drop_column("usage_rollups", "filters_version")
    op.create_primary_key(op.f("pk_usage_rollups"), "usage_rollups", _DAY)
    op.drop_column("metrics", "told_apart")
    op.drop_column("metrics", "filters_version")
