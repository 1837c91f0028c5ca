"""The aggregation that a row of `metrics` configures, and the SQL by which statements tell aggregations apart.

Everything here comes from the classes in `billing.aggregations`, so that a new one is known to all statements at once.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Row

from adapters.postgres.resources import Metric
from billing.aggregations import AGGREGATIONS, Aggregation, aggregation

COLUMNS: Final = "m.aggregation, m.field_name, m.expression, m.percentile, m.recurring, m.partial_period"
"""What `configured` takes, in its order, of a statement in which `m` is `metrics`."""


def configured(
    kind: str,
    field_name: str | None,
    expression: str | None,
    percentile: Decimal | None = None,
    *carried: Any,
) -> Aggregation:
    """Build the aggregation of these columns of `metrics`; `carried` is `recurring` and `partial_period`."""
    recurring, partial_period = carried or (False, None)
    return aggregation(
        kind,
        field=field_name,
        expression=expression,
        percentile=percentile,
        carry_over=True if recurring else None,
        partial_period=partial_period,
    )


def aggregation_of(metric: Metric | Row[Any]) -> Aggregation:
    """Build the aggregation of a row with the columns that `COLUMNS` names."""
    return configured(
        metric.aggregation,
        metric.field_name,
        metric.expression,
        metric.percentile,
        metric.recurring,
        metric.partial_period,
    )


def kinds_sql(holds: Callable[[type[Aggregation]], bool]) -> str:
    """Return the kinds whose class fulfils a condition as the inside of an SQL list: 'sum', 'count'."""
    return ", ".join(f"'{kind}'" for kind, model in AGGREGATIONS.items() if holds(model))


def rolled_sql(rows: str, holds: Callable[[type[Aggregation]], bool]) -> str:
    """Return the CASE over `m.aggregation` that puts the rollups `rows` together; NULL for none and other kinds."""
    whens = (
        f"WHEN '{kind}' THEN {model.rollup_fold}({rows}.{model.rollup_column})"
        for kind, model in AGGREGATIONS.items()
        if model.rollup_column is not None and holds(model)
    )
    return f"CASE m.aggregation {' '.join(whens)} END"


KEEPS_VALUES: Final = f"m.aggregation IN ({kinds_sql(lambda model: model.keeps_values)}) AND m.values_kept"
"""Whether the different values of a metric can be counted without their events."""
