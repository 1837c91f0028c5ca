"""Hard limits of a subscription as rows: made, listed with how they stand, changed, deleted; all of it audited."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.limits import limit_usage
from adapters.postgres.limits.limit_usage import Limit, LimitUsage
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from models.identifiers import new_id, parse_id
from models.problems import conflict, not_found
from models.tables import metrics, usage_limits

_table = usage_limits.c


def _viewed() -> Select[Any]:
    return select(usage_limits, metrics.c.key.label("metric_key")).outerjoin(metrics, metrics.c.id == _table.metric_id)


async def create(
    tx: Transaction,
    *,
    subscription_id: UUID,
    metric_id: UUID | None,
    cap: Decimal,
) -> Limit:
    """Cap a metric, or without one the spend. Raises `Problem` 409 `limit_exists` if the subscription has that cap."""
    statement = insert(usage_limits).values(
        id=new_id(), project_id=tx.scope.project_id, subscription_id=subscription_id, metric_id=metric_id, cap=cap
    )
    made = await tx.connection.scalar(statement.on_conflict_do_nothing().returning(_table.id))
    if made is None:
        what = "spend" if metric_id is None else "metric"
        raise conflict("limit_exists", f"The subscription has a limit for this {what} already; change that one.")
    limit = await _read(tx.connection, made)
    await _note(tx, limit, "created", data={"cap": cap, "metric_key": limit.metric_key})
    return limit


async def _read(connection: AsyncConnection, identity: UUID) -> Limit:
    return record(Limit, (await connection.execute(_viewed().where(_table.id == identity))).one())


async def view(connection: AsyncConnection, subscription_id: UUID, ref: str) -> Limit:
    """Read a limit of a subscription by `lim_...` or uuid. Raises `Problem` 404 `limit_not_found`."""
    return await _one(connection, subscription_id, ref, _viewed())


async def locked(connection: AsyncConnection, subscription_id: UUID, ref: str) -> Limit:
    """Read a limit as `view` does and keep reservations waiting until the transaction ends."""
    return await _one(connection, subscription_id, ref, _viewed().with_for_update(of=usage_limits))


async def _one(connection: AsyncConnection, subscription_id: UUID, ref: str, statement: Select[Any]) -> Limit:
    wanted = statement.where(_table.subscription_id == subscription_id, _table.id == parse_id(ref))
    row = (await connection.execute(wanted)).one_or_none()
    if row is None:
        raise not_found("limit", ref)
    return record(Limit, row)


async def listed(connection: AsyncConnection, subscription_id: UUID, page: Page) -> tuple[Sequence[Limit], int]:
    """List a subscription's limits, newest first, and count them."""
    mine = _table.subscription_id == subscription_id
    rows, total = await page_of(connection, usage_limits, page, mine, rows=_viewed(), orderable={"cap": _table.cap})
    return records(Limit, rows), total


async def limit_statuses(connection: AsyncConnection, limits: Sequence[Limit]) -> dict[UUID, tuple[Limit, LimitUsage]]:
    """Return how limits of subscriptions stand now, keyed by their ids; one that was deleted meanwhile is absent."""
    counters = await limit_usage.counters(connection, sorted({each.subscription_id for each in limits}))
    own = {limit.id: (limit, counter) for counter in counters.values() for limit in counter.limits}
    return {each.id: own[each.id] for each in limits if each.id in own}


async def change(tx: Transaction, limit: Limit, cap: Decimal) -> Limit:
    """Set the cap of a locked limit; one below what is used refuses everything until the period ends."""
    changes = changes_between({"cap": limit.cap}, {"cap": cap})
    if not changes:
        return limit
    statement = update(usage_limits).where(_table.id == limit.id).values(cap=cap, updated_at=func.clock_timestamp())
    await tx.connection.execute(statement)
    await _note(tx, limit, "updated", changes=changes)
    return await _read(tx.connection, limit.id)


async def delete(tx: Transaction, limit: Limit) -> None:
    """Lift a locked limit; open reservations stay as they are."""
    await tx.connection.execute(usage_limits.delete().where(_table.id == limit.id))
    await _note(tx, limit, "deleted", data={"cap": limit.cap, "metric_key": limit.metric_key})


async def _note(
    tx: Transaction,
    limit: Limit,
    action: str,
    *,
    changes: Mapping[str, object] | None = None,
    data: Mapping[str, object] | None = None,
) -> None:
    await tx.audit(
        resource_type="usage_limit",
        resource_id=limit.id,
        action=action,
        title=f"Limit of {limit.metric_key or 'spend'} {action}",
        changes=changes,
        data=data,
    )
