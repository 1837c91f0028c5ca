"""Metrics, also called meters and billable metrics: the same handlers under three names (conflicts C5, B45-B51)."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Query, Request, Response

from adapters.postgres.catalogue import metric_store, plan_store
from adapters.postgres.database import Connection
from adapters.postgres.journal import changing
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.resolver import METRIC, PRODUCT, required
from adapters.postgres.resources import Metric
from api.catalogue.metric_shapes import (
    FilterAnswer,
    FilterBody,
    FilterChange,
    MetricAnswer,
    MetricBody,
    MetricChange,
    MetricStats,
    changed_columns,
    new_columns,
)
from api.catalogue.plan_responses import PlanAnswer, shown_plan
from api.http.aliases import RouteAlias, router_named
from api.http.deps import CallerDep, DatabaseDep
from api.http.fields import Ref
from api.http.pagination import LISTED, PageDep, listed, listed_as
from api.http.responses import created, no_content, reply
from models.problems import invalid

Wanted = Annotated[str | None, Query(max_length=255)]


def _conditions(key: Wanted = None, code: Wanted = None, aggregation_type: Wanted = None) -> dict[str, str]:
    given = {"key": key if key is not None else code, "aggregation": aggregation_type}
    return {name: value for name, value in given.items() if value is not None}


ConditionsDep = Annotated[dict[str, str], Depends(_conditions)]


async def _product_ids(connection: Connection, project_id: UUID, refs: list[str] | None) -> list[UUID] | None:
    if refs is None:
        return None
    found = [await required(connection, project_id, PRODUCT, ref) for ref in dict.fromkeys(refs)]
    return list(dict.fromkeys(row.id for row in found))


async def _locked(tx: Transaction, ref: str) -> Metric:
    found = await required(tx.connection, tx.scope.project_id, METRIC, ref)
    return await changing.locked(tx.connection, metric_store.RESOURCE, found)


async def create_metric(body: MetricBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Create a metric; 409 for a key in use, 404 for an unknown product, 422 for an unknown aggregation (B46)."""
    columns = new_columns(body)
    async with caller.begin(database) as tx:
        columns["product_ids"] = await _product_ids(tx.connection, caller.project_id, body.product_ids) or []
        row = await changing.create(tx, metric_store.RESOURCE, columns)
    return created(MetricAnswer.of(row))


async def list_metrics(
    request: Request, page: PageDep, conditions: ConditionsDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List metrics, newest first; order by name, code, aggregation_type, created_at or updated_at."""
    async with database.transaction(caller.scope) as connection:
        rows, total = await metric_store.listed(connection, caller.project_id, page, conditions)
    return listed_as(MetricAnswer.of, page, rows, total, request)


async def get_metric_stats(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count the metrics by aggregation."""
    async with database.transaction(caller.scope) as connection:
        counts = await metric_store.stats(connection, caller.project_id)
    return reply(MetricStats(total=sum(counts.values()), by_aggregation_type=counts))


async def get_metric_plan_counts(caller: CallerDep, database: DatabaseDep) -> Response:
    """Count for each metric the plans that charge on it."""
    async with database.transaction(caller.scope) as connection:
        counts = await metric_store.plan_counts(connection, caller.project_id)
    return reply(counts)


async def list_metric_plans(
    metric_id: Ref, request: Request, page: PageDep, caller: CallerDep, database: DatabaseDep
) -> Response:
    """List the plans whose current version charges on the metric."""
    async with database.transaction(caller.scope) as connection:
        metric = await required(connection, caller.project_id, METRIC, metric_id)
        found, total = await plan_store.listed(connection, caller.project_id, page, metric_id=metric.id)
    last = found[-1].plan.id if found else None
    return listed(page, [shown_plan(plan) for plan in found], total, request, last=last)


async def create_metric_filter(metric_id: Ref, body: FilterBody, caller: CallerDep, database: DatabaseDep) -> Response:
    """Declare a property by whose values plans may price apart (B51); 409 if the metric has a filter on it."""
    async with caller.begin(database) as tx:
        metric = await required(tx.connection, caller.project_id, METRIC, metric_id)
        row = await metric_store.create_filter(tx, metric, key=body.key, values=body.values)
    return created(FilterAnswer.of(row))


async def list_metric_filters(metric_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """List the filters of a metric, oldest first."""
    async with database.transaction(caller.scope) as connection:
        metric = await required(connection, caller.project_id, METRIC, metric_id)
        rows = await metric_store.filters_of(connection, metric.id)
    return reply([FilterAnswer.of(row) for row in rows], headers={"X-Total-Count": str(len(rows))})


async def get_metric_filter(metric_id: Ref, filter_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a filter of a metric by its id, uuid or property."""
    async with database.transaction(caller.scope) as connection:
        metric = await required(connection, caller.project_id, METRIC, metric_id)
        row = await metric_store.filter_of(connection, metric.id, filter_id)
    return reply(FilterAnswer.of(row))


async def update_metric_filter(
    metric_id: Ref, filter_id: Ref, body: FilterChange, caller: CallerDep, database: DatabaseDep
) -> Response:
    """Return a filter other values; the property is stable (422), and so are values that a plan prices by (409)."""
    async with caller.begin(database) as tx:
        metric = await _locked(tx, metric_id)
        row = await metric_store.filter_of(tx.connection, metric.id, filter_id)
        if body.key not in (None, row.key):
            raise invalid("key", "is stable: plans price by it; create another filter", "immutable")
        changed = await metric_store.change_filter(tx, metric, row, values=body.values)
    return reply(FilterAnswer.of(changed))


async def delete_metric_filter(metric_id: Ref, filter_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Remove a filter; 409 if a plan prices by it."""
    async with caller.begin(database) as tx:
        metric = await _locked(tx, metric_id)
        row = await metric_store.filter_of(tx.connection, metric.id, filter_id)
        await metric_store.delete_filter(tx, metric, row)
    return no_content()


async def get_metric(metric_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Read a metric by its id, uuid, key or ingest key."""
    async with database.transaction(caller.scope) as connection:
        row = await required(connection, caller.project_id, METRIC, metric_id)
    return reply(MetricAnswer.of(row))


async def update_metric(metric_id: Ref, body: MetricChange, caller: CallerDep, database: DatabaseDep) -> Response:
    """Change what is sent; the key is stable (422, B49), the aggregation too once a plan charges on it (409)."""
    async with caller.begin(database) as tx:
        row = await _locked(tx, metric_id)
        columns = changed_columns(body, row)
        products = await _product_ids(tx.connection, caller.project_id, body.product_ids)
        if products is not None:
            columns["product_ids"] = products
        changed = await metric_store.change(tx, row, columns)
    return reply(MetricAnswer.of(changed))


async def delete_metric(metric_id: Ref, caller: CallerDep, database: DatabaseDep) -> Response:
    """Delete a metric; 409 if a plan charges on it."""
    async with caller.begin(database) as tx:
        row = await _locked(tx, metric_id)
        await metric_store.delete(tx, row)
    return no_content()


_ROUTES: Final = (
    RouteAlias("POST", "", create_metric, "Create {}", {"response_model": MetricAnswer, "status_code": 201}),
    RouteAlias("GET", "", list_metrics, "List {}s", {"response_model": list[MetricAnswer], "responses": LISTED}),
    RouteAlias("GET", "/stats", get_metric_stats, "Get {} statistics", {"response_model": MetricStats}),
    RouteAlias(
        "GET", "/plan_counts", get_metric_plan_counts, "Get plan counts per {}", {"response_model": dict[str, int]}
    ),
    RouteAlias(
        "GET",
        "/{metric_id}/plans",
        list_metric_plans,
        "Get plans using a {}",
        {"response_model": list[PlanAnswer], "responses": LISTED},
    ),
    RouteAlias(
        "POST",
        "/{metric_id}/filters",
        create_metric_filter,
        "Create {} filter",
        {"response_model": FilterAnswer, "status_code": 201},
    ),
    RouteAlias(
        "GET", "/{metric_id}/filters", list_metric_filters, "List {} filters", {"response_model": list[FilterAnswer]}
    ),
    RouteAlias(
        "GET",
        "/{metric_id}/filters/{filter_id}",
        get_metric_filter,
        "Get {} filter",
        {"response_model": FilterAnswer},
    ),
    RouteAlias(
        "PUT",
        "/{metric_id}/filters/{filter_id}",
        update_metric_filter,
        "Update {} filter",
        {"response_model": FilterAnswer},
    ),
    RouteAlias(
        "PATCH",
        "/{metric_id}/filters/{filter_id}",
        update_metric_filter,
        "Update {} filter",
        {"response_model": FilterAnswer},
    ),
    RouteAlias(
        "DELETE", "/{metric_id}/filters/{filter_id}", delete_metric_filter, "Delete {} filter", {"status_code": 204}
    ),
    RouteAlias("GET", "/{metric_id}", get_metric, "Get {}", {"response_model": MetricAnswer}),
    RouteAlias("PUT", "/{metric_id}", update_metric, "Update {}", {"response_model": MetricAnswer}),
    RouteAlias("PATCH", "/{metric_id}", update_metric, "Update {}", {"response_model": MetricAnswer}),
    RouteAlias("DELETE", "/{metric_id}", delete_metric, "Delete {}", {"status_code": 204}),
)

router = router_named(_ROUTES, tag="Metrics", segment="metrics", noun="metric")
meters = router_named(_ROUTES, tag="Meters", segment="meters", noun="metric")
billable_metrics = router_named(_ROUTES, tag="Billable Metrics", segment="billable_metrics", noun="metric")
