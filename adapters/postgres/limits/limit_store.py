"""Hard limits of a subscription as rows: made, listed with how they stand, changed, deleted; all of it audited."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.limits import limit_usage
from adapters.postgres.limits.limit_usage import Limit, LimitUsage
from adapters.postgres.paging import Page, page_of
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
) -> Row[Any]:
    """Cap a metric, or without one the spend. Raises `Problem` 409 `limit_exists` if the subscription has that cap."""
    statement = insert(usage_limits).values(
        id=new_id(), project_id=tx.scope.project_id, subscription_id=subscription_id, metric_id=metric_id, cap=cap
    )
    made = await tx.connection.scalar(statement.on_conflict_do_nothing().returning(_table.id))
    if made is None:
        what = "spend" if metric_id is None else "metric"
        raise conflict("limit_exists", f"The subscription has a limit for this {what} already; change that one.")
    row: Row[Any] = (await tx.connection.execute(_viewed().where(_table.id == made))).one()
    await _note(tx, row, "created", data={"cap": cap, "metric_key": row.metric_key})
    return row


async def view(connection: AsyncConnection, subscription_id: UUID, ref: str) -> Row[Any]:
    """Read a limit of a subscription by `lim_...` or uuid. Raises `Problem` 404 `limit_not_found`."""
    return await _one(connection, subscription_id, ref, _viewed())


async def locked(connection: AsyncConnection, subscription_id: UUID, ref: str) -> Row[Any]:
    """Read a limit as `view` does and keep reservations waiting until the transaction ends."""
    return await _one(connection, subscription_id, ref, _viewed().with_for_update(of=usage_limits))


async def _one(connection: AsyncConnection, subscription_id: UUID, ref: str, statement: Select[Any]) -> Row[Any]:
    wanted = statement.where(_table.subscription_id == subscription_id, _table.id == parse_id(ref))
    row: Row[Any] | None = (await connection.execute(wanted)).one_or_none()
    if row is None:
        raise not_found("limit", ref)
    return row


async def listed(connection: AsyncConnection, subscription_id: UUID, page: Page) -> tuple[Sequence[Row[Any]], int]:
    """List a subscription's limits, newest first, and count them."""
    mine = _table.subscription_id == subscription_id
    return await page_of(connection, usage_limits, page, mine, rows=_viewed(), orderable={"cap": _table.cap})


async def limit_statuses(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> dict[UUID, tuple[Limit, LimitUsage]]:
    """Return how limits of subscriptions stand now, keyed by their ids; one that was deleted meanwhile is absent."""
    counters = await limit_usage.counters(connection, sorted({row.subscription_id for row in rows}))
    own = {limit.id: (limit, counter) for counter in counters.values() for limit in counter.limits}
    return {row.id: own[row.id] for row in rows if row.id in own}


async def change(tx: Transaction, row: Row[Any], cap: Decimal) -> Row[Any]:
    """Set the cap of a locked limit; one below what is used refuses everything until the period ends."""
    changes = changes_between(row._asdict(), {"cap": cap})
    if not changes:
        return row
    statement = update(usage_limits).where(_table.id == row.id).values(cap=cap, updated_at=func.clock_timestamp())
    await tx.connection.execute(statement)
    await _note(tx, row, "updated", changes=changes)
    changed: Row[Any] = (await tx.connection.execute(_viewed().where(_table.id == row.id))).one()
    return changed


async def delete(tx: Transaction, row: Row[Any]) -> None:
    """Lift a locked limit; open reservations stay as they are."""
    await tx.connection.execute(usage_limits.delete().where(_table.id == row.id))
    await _note(tx, row, "deleted", data={"cap": row.cap, "metric_key": row.metric_key})


async def _note(
    tx: Transaction,
    row: Row[Any],
    action: str,
    *,
    changes: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    await tx.audit(
        resource_type="usage_limit",
        resource_id=row.id,
        action=action,
        title=f"Limit of {row.metric_key or 'spend'} {action}",
        changes=changes,
        data=data,
    )
