"""Metering rules: what metrics and charges keep beside the first schema.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A filter was one property with its values; it is a combination of such now.
_FILTERS_TO_COMBINATIONS = """
    UPDATE plan_charges SET filters = (
        SELECT jsonb_agg(
            (part.item - 'match' - 'metric_filter_id') || jsonb_build_object('matches', jsonb_build_array(
                (part.item -> 'match') || jsonb_build_object('metric_filter_id', part.item -> 'metric_filter_id')
            )) ORDER BY part.place
        ) FROM jsonb_array_elements(filters) WITH ORDINALITY AS part (item, place)
    ) WHERE jsonb_array_length(filters) > 0
"""

# Combinations of several properties have no form in the older schema; their first property stays.
_COMBINATIONS_TO_FILTERS = """
    UPDATE plan_charges SET filters = (
        SELECT jsonb_agg(
            (part.item - 'matches') || jsonb_build_object(
                'match', (part.item -> 'matches' -> 0) - 'metric_filter_id',
                'metric_filter_id', part.item -> 'matches' -> 0 -> 'metric_filter_id'
            ) ORDER BY part.place
        ) FROM jsonb_array_elements(filters) WITH ORDINALITY AS part (item, place)
    ) WHERE jsonb_array_length(filters) > 0
"""


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("metrics", sa.Column("percentile", sa.Numeric(38, 18)))
    op.create_check_constraint(op.f("ck_metrics_percentile"), "metrics", "percentile > 0 AND percentile <= 100")
    op.add_column(
        "plan_charges",
        sa.Column("group_by", postgresql.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'::text[]")),
    )
    op.add_column("invoice_lines", sa.Column("group_key", postgresql.JSONB()))
    op.execute(_FILTERS_TO_COMBINATIONS)


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute(_COMBINATIONS_TO_FILTERS)
    op.drop_column("invoice_lines", "group_key")
    op.drop_column("plan_charges", "group_by")
    op.drop_constraint(op.f("ck_metrics_percentile"), "metrics")
    op.drop_column("metrics", "percentile")
