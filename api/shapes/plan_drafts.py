"""The charges of a plan with everything that they name found in the project."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from adapters.postgres import metric_store
from adapters.postgres.database import Connection
from adapters.postgres.plan_write_store import ChargeDraft, FilterDraft
from adapters.postgres.resolver import PRODUCT, Found, required, resolve_metrics
from api.shapes.charges import PricedCharge, PricedFilter
from billing.aggregating import text_of
from billing.scope import PropertyMatch
from models.problems import FieldError, Problem, invalid


async def product_named(connection: Connection, project_id: UUID, ref: str | None) -> UUID | None:
    """Find the product that a plan belongs to. Raises `Problem` 404 `product_not_found`."""
    if ref is None:
        return None
    found: UUID = (await required(connection, project_id, PRODUCT, ref)).id
    return found


async def drafted(connection: Connection, project_id: UUID, charges: Sequence[PricedCharge]) -> tuple[ChargeDraft, ...]:
    """Find the metrics and filters that charges name.

    Raises `Problem` 404 `metric_not_found` and `metric_filter_not_found`, 422 for values that a filter does not have.
    """
    metrics = await resolve_metrics(connection, project_id, (c.metric_ref for c in charges if c.metric_ref is not None))
    return tuple([await _draft(connection, charge, metrics) for charge in charges])


async def _draft(connection: Connection, charge: PricedCharge, metrics: dict[str, Found]) -> ChargeDraft:
    metric = None
    if charge.metric_ref is not None:
        metric = metrics.get(charge.metric_ref)
        if metric is None:
            raise _unknown_metric(charge)
    filters = [
        await _filter(connection, metric, part, f"{charge.path}.filters.{index}")
        for index, part in enumerate(charge.filters)
        if metric is not None
    ]
    return ChargeDraft(
        model=charge.model,
        metric_id=None if metric is None else metric.id,
        description=charge.description,
        supplied=charge.supplied,
        filters=tuple(filters),
    )


def _unknown_metric(charge: PricedCharge) -> Problem:
    message = f"No metric {str(charge.metric_ref)[:80]!r} in this project; create it first."
    field = f"{charge.path}.metric_key"
    return Problem(404, "metric_not_found", message, errors=(FieldError(field, message, "metric_not_found"),))


async def _filter(connection: Connection, metric: Found, part: PricedFilter, path: str) -> FilterDraft:
    """Bind a filter: its values must be among those declared; none given means all that are declared."""
    row = await metric_store.filter_of(connection, metric.id, part.reference)
    declared = _texts(row.values)
    wanted = _texts(part.values) or declared
    if not wanted:
        raise invalid(f"{path}.values", "names no value, and neither does the metric's filter")
    for value in wanted:
        if declared and value not in declared:
            raise invalid(f"{path}.values", f"{value!r} is no value of the metric's filter on {row.key!r}")
    return FilterDraft(
        metric_filter_id=row.id,
        match=PropertyMatch(key=row.key, values=wanted),
        model=part.model,
        supplied=part.supplied,
        name=part.name,
    )


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    found = (text_of(value) for value in values)
    return tuple(dict.fromkeys(text for text in found if text is not None))
