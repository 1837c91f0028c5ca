"""Metrics and their filters: what is measured, how events become a quantity, and who charges on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.events.event_scope import rollup_dimensions
from adapters.postgres.journal import changing
from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resources import Metric
from adapters.postgres.rows import Columns, record, records
from billing.aggregating import text_of
from models.identifiers import new_id, parse_id, shown_id
from models.problems import conflict, not_found
from models.tables import metric_filters, metrics, plan_charges, plan_versions, plans

#: What makes a quantity of events.
_MEASURING: Final = frozenset(
    {
        "aggregation",
        "field_name",
        "expression",
        "percentile",
        "recurring",
        "partial_period",
        "rounding_function",
        "rounding_precision",
    }
)

RESOURCE: Final = changing.Resource(metrics, "metric", "Metric", Metric, key="key")
ORDERABLE: Final = {
    "name": metrics.c.name,
    "code": metrics.c.key,
    "key": metrics.c.key,
    "aggregation_type": metrics.c.aggregation,
    "updated_at": metrics.c.updated_at,
}


@dataclass(frozen=True, slots=True)
class MetricFilter:
    """A property of a metric's events, and the values of it that plans may price apart; any value without them."""

    id: UUID
    metric_id: UUID
    key: str
    values: list[object]
    created_at: datetime
    updated_at: datetime


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, conditions: Mapping[str, str]
) -> tuple[tuple[Metric, ...], int]:
    """Return one part of the project's metrics, newest first, and their number; `conditions` are equalities."""
    wanted: list[ColumnElement[bool]] = [metrics.c.project_id == project_id, metrics.c.deleted_at.is_(None)]
    wanted += [metrics.c[column] == value for column, value in conditions.items()]
    rows, total = await page_of(connection, metrics, page, *wanted, orderable=ORDERABLE)
    return records(Metric, rows), total


async def change(tx: Transaction, row: Metric, values: Columns) -> Metric:
    """Change columns of a metric that `locked` gave.

    Raises `Problem` 409 `metric_in_use` when its aggregation, or what configures it, would change while a plan charges
    on it: the meaning of quantities that were sold must not change.
    """
    measuring = sorted(_MEASURING & changing.changes_of(row, values).keys())
    if measuring and await charged(tx.connection, row.id):
        message = f"A plan charges on this metric, so its {', '.join(measuring)} cannot change; create another metric."
        raise conflict("metric_in_use", message)
    # Ingestion that runs now may still go by the old meaning, so what it keeps of values is not relied upon any more.
    meaning = {"values_kept": False} if {"aggregation", "field_name"} & set(measuring) else {}
    return await changing.change(tx, RESOURCE, row=row, values=values, unnoted=meaning)


async def delete(tx: Transaction, row: Metric) -> None:
    """Hide a metric that `locked` gave, and free its key.

    Raises `Problem` 409 `metric_in_use` if a plan charges on it.
    """
    if await charged(tx.connection, row.id):
        raise conflict("metric_in_use", "A plan charges on this metric; remove it from the plans first.")
    await changing.hide(tx, RESOURCE, row)


async def charged(connection: AsyncConnection, metric_id: UUID) -> bool:
    """Return whether any version of a plan that was not deleted charges on the metric."""
    statement = (
        select(plan_charges.c.id)
        .join(plans, plans.c.id == plan_charges.c.plan_id)
        .where(plan_charges.c.metric_id == metric_id, plans.c.deleted_at.is_(None))
        .limit(1)
    )
    return (await connection.execute(statement)).first() is not None


async def stats(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count the project's metrics by aggregation."""
    statement = (
        select(metrics.c.aggregation, func.count())
        .where(metrics.c.project_id == project_id, metrics.c.deleted_at.is_(None))
        .group_by(metrics.c.aggregation)
    )
    return {str(kind): int(number) for kind, number in (await connection.execute(statement)).all()}


async def plan_counts(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count, for each metric (by shown id), the plans whose current version charges on it; 0 included."""
    charging = (
        select(plan_charges.c.metric_id, func.count(plans.c.id.distinct()).label("number"))
        .join(plan_versions, plan_versions.c.id == plan_charges.c.plan_version_id)
        .join(plans, plans.c.id == plan_versions.c.plan_id)
        .where(plan_versions.c.version == plans.c.current_version, plans.c.deleted_at.is_(None))
        .group_by(plan_charges.c.metric_id)
        .subquery()
    )
    statement = (
        select(metrics.c.id, func.coalesce(charging.c.number, 0))
        .outerjoin(charging, charging.c.metric_id == metrics.c.id)
        .where(metrics.c.project_id == project_id, metrics.c.deleted_at.is_(None))
    )
    return {shown_id("metric", metric): int(number) for metric, number in (await connection.execute(statement)).all()}


async def create_filter(tx: Transaction, metric: Metric, *, key: str, values: list[object]) -> MetricFilter:
    """Add a filter: a property and the values of it that plans may price apart (B51).

    Raises `Problem` 409 `metric_filter_exists` if the metric has a filter on that property.
    """
    await tx.connection.execute(select(metrics.c.id).where(metrics.c.id == metric.id).with_for_update())
    statement = (
        insert(metric_filters)
        .values(id=new_id(), project_id=tx.scope.project_id, metric_id=metric.id, key=key, values=values)
        .on_conflict_do_nothing(index_elements=["metric_id", "key"])
        .returning(metric_filters)
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        raise conflict("metric_filter_exists", f"This metric has a filter on the property {key!r} already.")
    await _rebuild_rollup_dimensions(tx.connection, metric.id)
    await changing.audit_change(tx, RESOURCE, row=metric, action="filter_created", data={"key": key, "values": values})
    return record(MetricFilter, row)


async def _rebuild_rollup_dimensions(connection: AsyncConnection, metric_id: UUID) -> None:
    """Have events rolled up by the present filters from now on; rollups of before keep their version."""
    filters = {row.key: row.values for row in await filters_of(connection, metric_id)}
    changed = {"rollup_dimensions": rollup_dimensions(filters), "filters_version": metrics.c.filters_version + 1}
    await connection.execute(update(metrics).where(metrics.c.id == metric_id).values(changed))


async def filters_of(connection: AsyncConnection, metric_id: UUID) -> tuple[MetricFilter, ...]:
    """List the filters of a metric, oldest first."""
    statement = select(metric_filters).where(metric_filters.c.metric_id == metric_id)
    return records(MetricFilter, (await connection.execute(statement.order_by(metric_filters.c.id))).all())


async def filter_of(connection: AsyncConnection, metric_id: UUID, ref: str) -> MetricFilter:
    """Find one filter of a metric by id or property. Raises `Problem` 404 `metric_filter_not_found`."""
    for row in await filters_of(connection, metric_id):
        if row.id == parse_id(ref) or row.key == ref:
            return row
    raise not_found("metric_filter", ref)


async def change_filter(
    tx: Transaction,
    metric: Metric,
    row: MetricFilter,
    *,
    values: list[object],
) -> MetricFilter:
    """Return a filter of a metric that `locked` gave other values.

    Raises `Problem` 409 `metric_filter_in_use` when a plan prices by a value that would go.
    """
    gone = {text for value in row.values if (text := text_of(value)) is not None} - {text_of(value) for value in values}
    if values and gone & await _priced_values(tx.connection, metric.id, row.id):
        raise conflict(
            "metric_filter_in_use", "A plan prices by a value that would go; remove it from the plans first."
        )
    changes = changes_between({"values": row.values}, {"values": values})
    if not changes:
        return row
    statement = update(metric_filters).where(metric_filters.c.id == row.id)
    statement = statement.values(values=values, updated_at=func.clock_timestamp())
    changed = (await tx.connection.execute(statement.returning(metric_filters))).one()
    await _rebuild_rollup_dimensions(tx.connection, metric.id)
    data = {"key": row.key}
    await changing.audit_change(tx, RESOURCE, row=metric, action="filter_updated", changes=changes, data=data)
    return record(MetricFilter, changed)


async def _priced_values(connection: AsyncConnection, metric_id: UUID, filter_id: UUID) -> set[str]:
    """Return the values of a filter by which plans price."""
    rows = await connection.execute(_pricing_by(metric_id, filter_id).with_only_columns(plan_charges.c.filters))
    return {
        value
        for (filters,) in rows
        for item in filters
        for match in item["matches"]
        if match["metric_filter_id"] == str(filter_id)
        for value in match["values"]
    }


def _pricing_by(metric_id: UUID, filter_id: UUID) -> Select[Any]:
    """Select the charges of plans that were not deleted which price by a filter."""
    return (
        select(plan_charges.c.id)
        .join(plans, plans.c.id == plan_charges.c.plan_id)
        .where(plan_charges.c.metric_id == metric_id, plans.c.deleted_at.is_(None))
        .where(plan_charges.c.filters.contains([{"matches": [{"metric_filter_id": str(filter_id)}]}]))
    )


async def delete_filter(tx: Transaction, metric: Metric, row: MetricFilter) -> None:
    """Remove a filter. Raises `Problem` 409 `metric_filter_in_use` if a plan prices by it."""
    if (await tx.connection.execute(_pricing_by(metric.id, row.id).limit(1))).first() is not None:
        raise conflict("metric_filter_in_use", "A plan prices by this filter; remove it from the plans first.")
    await tx.connection.execute(metric_filters.delete().where(metric_filters.c.id == row.id))
    await _rebuild_rollup_dimensions(tx.connection, metric.id)
    await changing.audit_change(tx, RESOURCE, row=metric, action="filter_deleted", data={"key": row.key})
