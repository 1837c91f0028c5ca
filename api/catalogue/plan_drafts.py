"""The charges of a plan with everything that they name found in the project."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from adapters.postgres.catalogue import metric_store
from adapters.postgres.catalogue.metric_store import MetricFilter
from adapters.postgres.catalogue.plan_write_store import ChargeDraft, FilterDraft
from adapters.postgres.database import Connection
from adapters.postgres.resolver import PRODUCT, required, resolve_metrics
from adapters.postgres.resources import Metric
from api.catalogue.charge_shapes import PricedCharge, PricedFilter
from billing.aggregating import text_of
from billing.scope import Combination, PropertyMatch
from models.problems import FieldError, Problem, invalid


async def product_named(connection: Connection, project_id: UUID, ref: str | None) -> UUID | None:
    """Find the product that a plan belongs to. Raises `Problem` 404 `product_not_found`."""
    if ref is None:
        return None
    return (await required(connection, project_id, PRODUCT, ref)).id


async def resolve_charges(
    connection: Connection, project_id: UUID, charges: Sequence[PricedCharge]
) -> tuple[ChargeDraft, ...]:
    """Find the metrics and filters that charges name.

    Raises `Problem` 404 `metric_not_found` and `metric_filter_not_found`, 422 for values that a filter does not have.
    """
    metrics = await resolve_metrics(connection, project_id, (c.metric_ref for c in charges if c.metric_ref is not None))
    return tuple([await _draft(connection, charge, metrics) for charge in charges])


async def _draft(connection: Connection, charge: PricedCharge, metrics: dict[str, Metric]) -> ChargeDraft:
    metric = None
    if charge.metric_ref is not None:
        metric = metrics.get(charge.metric_ref)
        if metric is None:
            raise _unknown_metric(charge)
    filters = [await _filter(connection, metric, part) for part in charge.filters if metric is not None]
    _refuse_equal(charge, filters)
    return ChargeDraft(
        model=charge.model,
        metric_id=None if metric is None else metric.id,
        description=charge.description,
        supplied=charge.supplied,
        filters=tuple(filters),
        group_by=charge.group_by,
    )


def _unknown_metric(charge: PricedCharge) -> Problem:
    message = f"No metric {str(charge.metric_ref)[:80]!r} in this project; create it first."
    field = f"{charge.path}.metric_key"
    return Problem(404, "metric_not_found", message, errors=(FieldError(field, message, "metric_not_found"),))


def _refuse_equal(charge: PricedCharge, filters: Sequence[FilterDraft]) -> None:
    """Refuse two filters for the very same events: the second would never price any."""
    for index, part in enumerate(filters):
        if any(_events_of(part) == _events_of(earlier) for earlier in filters[:index]):
            message = f"takes the same events as another one ({part.combination.label})"
            raise invalid(f"{charge.path}.filters.{index}", message, "filter_repeated")


def _events_of(part: FilterDraft) -> dict[str, frozenset[str]]:
    return {match.key: frozenset(match.values) for match in part.combination.matches}


async def _filter(connection: Connection, metric: Metric, part: PricedFilter) -> FilterDraft:
    """Bind a filter: its values must be among those declared; none given means all that are declared."""
    rows, matches = [], []
    for reference, values in part.matches:
        row = await metric_store.filter_of(connection, metric.id, reference)
        if row.id in rows:
            raise invalid(f"{part.path}.match", f"names the property {row.key!r} twice")
        rows.append(row.id)
        matches.append(_match(row, values, part.path))
    return FilterDraft(
        metric_filter_ids=tuple(rows),
        combination=Combination(matches=tuple(matches)),
        model=part.model,
        supplied=part.supplied,
        name=part.name,
    )


def _match(row: MetricFilter, values: Sequence[Any], path: str) -> PropertyMatch:
    declared = _texts(row.values)
    wanted = _texts(values) or declared
    if not wanted:
        raise invalid(f"{path}.values", "names no value, and neither does the metric's filter")
    for value in wanted:
        if declared and value not in declared:
            raise invalid(f"{path}.values", f"{value!r} is no value of the metric's filter on {row.key!r}")
    return PropertyMatch(key=row.key, values=wanted)


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    found = (text_of(value) for value in values)
    return tuple(dict.fromkeys(text for text in found if text is not None))
