"""Different values of unique_count metrics, kept by day.

What events are there is taken over. Processes of the version before keep no values of what they ingest: stop them
before, or metrics that count different values say too little (`durabill verify usage` shows where).

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from adapters.postgres.schema import security_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ["usage_uniques", "usage_unique_days"]

# The rule of what a value is, as it was when this revision was written.
_VALUES = """
    INSERT INTO usage_uniques (subscription_id, metric_id, value_key, day, project_id)
    SELECT subscription_id, metric_id,
           CASE WHEN octet_length(identity) <= 64 THEN identity
                ELSE 'sha256:' || encode(sha256(convert_to(identity, 'UTF8')), 'hex') END,
           day, project_id
    FROM (
        SELECT DISTINCT e.subscription_id, e.metric_id, e.project_id, (e.occurred_at AT TIME ZONE 'UTC')::date AS day,
               coalesce(CASE jsonb_typeof(e.properties -> m.field_name)
                   WHEN 'number' THEN trim_scale(CAST(e.properties ->> m.field_name AS numeric))::text
                   WHEN 'string' THEN e.properties ->> m.field_name
                   WHEN 'boolean' THEN e.properties ->> m.field_name
               END, trim_scale(e.value)::text) AS identity
        FROM events e JOIN metrics m ON m.id = e.metric_id
        WHERE e.status = 'counted' AND m.aggregation = 'unique_count'
    ) told WHERE identity IS NOT NULL
"""

_DAYS = """
    INSERT INTO usage_unique_days (subscription_id, metric_id, day, previous_day, project_id, value_count)
    SELECT subscription_id, metric_id, day, previous_day, project_id, count(*) FROM (
        SELECT subscription_id, metric_id, day, project_id, coalesce(lag(day) OVER (
            PARTITION BY subscription_id, metric_id, value_key ORDER BY day), '-infinity') AS previous_day
        FROM usage_uniques
    ) chained GROUP BY 1, 2, 3, 4, 5
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("metrics", sa.Column("values_kept", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_table(
        "usage_uniques",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=False),
        sa.Column("value_key", sa.Text(collation="C"), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("subscription_id", "metric_id", "value_key", "day", name=op.f("pk_usage_uniques")),
    )
    op.create_table(
        "usage_unique_days",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("metric_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("previous_day", sa.Date(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("value_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "subscription_id", "metric_id", "day", "previous_day", name=op.f("pk_usage_unique_days")
        ),
    )
    op.execute("LOCK TABLE events IN SHARE MODE")
    op.execute(_VALUES)
    op.execute(_DAYS)
    for statement in security_statements(TABLES):
        op.execute(statement)


def downgrade() -> None:
    """Go back to the revision before."""
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_column("metrics", "values_kept")
