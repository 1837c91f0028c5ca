"""Plans and their immutable versions: a change makes a new version, and subscriptions stay on theirs (B36-B38).

Each version has its own rows in `plan_charges`. Position 0 is the base fee, when there is one. A charge with filters is
stored as one row for the charge and one for each filter, whose scopes exclude each other (B51).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.catalogue import entitlement_store
from adapters.postgres.paging import Page, page_of
from billing.charges import CHARGE_MODEL, Charge
from billing.entitlements import EntitlementValue
from billing.scope import Combination, EventScope, PropertyMatch
from models.problems import not_found
from models.tables import metrics, plan_charges, plan_versions, plans, products, subscriptions

_ENDED: Final = ("canceled", "terminated")

ORDERABLE: Final = {
    "name": plan_versions.c.name,
    "code": plans.c.code,
    "interval": plan_versions.c.interval,
    "updated_at": plans.c.updated_at,
}


@dataclass(frozen=True)
class PlanDetail:
    """A plan with one of its versions.

    `plan` has the columns of `plans`, those of the version and `version_id`; `charges` are that version's rows with
    `metric_key`, the base fee and the parts of filtered charges included; `entitlements` is what the plan grants now.
    """

    plan: Row[Any]
    charges: tuple[Row[Any], ...]
    entitlements: Mapping[str, EntitlementValue]


def _detailed() -> Select[Any]:
    """Select plans joined with their versions; the caller says which version."""
    columns = plan_versions.c
    return select(
        plans,
        columns.id.label("version_id"),
        columns.version,
        columns.name,
        columns.description,
        columns.currency,
        columns.interval,
        columns.trial_period_days,
        columns.base_amount,
        columns.created_at.label("version_created_at"),
        products.c.code.label("product_code"),
    ).select_from(
        plans.join(plan_versions, plan_versions.c.plan_id == plans.c.id).outerjoin(
            products, products.c.id == plans.c.product_id
        )
    )


_CURRENT: Final = plan_versions.c.version == plans.c.current_version


def shown_charges(current: PlanDetail) -> tuple[Row[Any], ...]:
    """Return the rows that answers show: neither the base fee nor the parts of filtered charges."""
    return tuple(row for row in current.charges if row.position > 0 and "part_of" not in row.supplied)


async def detail(connection: AsyncConnection, plan_id: UUID, version: int | None = None) -> PlanDetail:
    """Read a plan with one version, the current one unless named. Raises `Problem` 404 `plan_version_not_found`."""
    wanted = _CURRENT if version is None else plan_versions.c.version == version
    row = (await connection.execute(_detailed().where(plans.c.id == plan_id, wanted))).one_or_none()
    if row is None:
        raise not_found("plan_version", version)
    return (await with_charges(connection, [row]))[0]


async def versions_of(connection: AsyncConnection, plan_id: UUID) -> list[PlanDetail]:
    """Read a plan with each of its versions, newest first."""
    statement = _detailed().where(plans.c.id == plan_id).order_by(plan_versions.c.version.desc())
    return await with_charges(connection, (await connection.execute(statement)).all())


async def listed(
    connection: AsyncConnection,
    project_id: UUID,
    page: Page,
    *,
    product_id: UUID | None = None,
    metric_id: UUID | None = None,
    status: str | None = None,
) -> tuple[list[PlanDetail], int]:
    """Return one part of the project's plans with their current versions, newest first, and their number.

    `metric_id` keeps the plans whose current version charges on that metric.
    """
    wanted: list[ColumnElement[bool]] = [plans.c.project_id == project_id, plans.c.deleted_at.is_(None)]
    if product_id is not None:
        wanted.append(plans.c.product_id == product_id)
    if status is not None:
        wanted.append(plans.c.status == status)
    if metric_id is not None:
        charging = select(plan_charges.c.plan_version_id).where(plan_charges.c.metric_id == metric_id)
        current = select(plan_versions.c.plan_id).where(
            plan_versions.c.id.in_(charging), plan_versions.c.plan_id == plans.c.id, _CURRENT
        )
        wanted.append(plans.c.id.in_(current.correlate(plans)))
    shown = _detailed().where(_CURRENT)
    rows, total = await page_of(connection, plans, page, *wanted, rows=shown, orderable=ORDERABLE)
    return await with_charges(connection, rows), total


async def with_charges(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> list[PlanDetail]:
    """Read the charges of many versions, and what their plans grant, with one query each."""
    found: dict[UUID, list[Row[Any]]] = {row.version_id: [] for row in rows}
    if found:
        for charge in (await connection.execute(_charges_in(list(found)))).all():
            found[charge.plan_version_id].append(charge)
    granted = await entitlement_store.granted(connection, [row.id for row in rows])
    return [PlanDetail(row, tuple(found[row.version_id]), granted[row.id]) for row in rows]


def _charges_in(version_ids: Sequence[UUID]) -> Select[Any]:
    return (
        select(
            plan_charges,
            metrics.c.key.label("metric_key"),
            metrics.c.name.label("metric_name"),
            metrics.c.unit.label("unit"),
            metrics.c.aggregation.label("aggregation"),
        )
        .outerjoin(metrics, metrics.c.id == plan_charges.c.metric_id)
        .where(plan_charges.c.plan_version_id.in_(version_ids))
        .order_by(plan_charges.c.plan_version_id, plan_charges.c.position)
    )


async def charges_of_version(connection: AsyncConnection, plan_version_id: UUID) -> tuple[Charge, ...]:
    """Return everything that a version prices, in order: the base fee first, each filter of a charge as its own part.

    Ids are those of `plan_charges` rows, so they are stable. Parts of a filtered charge have a `scope`: usage must be
    counted within it, or events would be priced more than once.
    """
    rows = (await connection.execute(_charges_in([plan_version_id]))).all()
    return charges_of(rows)


def charges_of(rows: Sequence[Row[Any]]) -> tuple[Charge, ...]:
    """Build the charges from the rows of one version."""
    scopes: dict[UUID, EventScope] = {}
    for row, parts in ((row, _parts(row, rows)) for row in rows if row.filters):
        buckets = tuple(combination_of(item) for item in row.filters)
        scopes[row.id] = EventScope(buckets=buckets)
        for index, part in enumerate(parts):
            scopes[part.id] = EventScope(buckets=buckets, bucket=index)
    return tuple(_charge(row, scopes.get(row.id)) for row in rows)


def combination_of(item: Mapping[str, Any]) -> Combination:
    """Read which events a stored filter of a charge takes."""
    return Combination(
        matches=tuple(PropertyMatch(key=match["key"], values=match["values"]) for match in item["matches"])
    )


def _parts(row: Row[Any], rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    return [other for other in rows if other.supplied.get("part_of") == str(row.id)]


def _charge(row: Row[Any], scope: EventScope | None) -> Charge:
    return Charge(
        id=row.id,
        metric_id=row.metric_id,
        metric_key=row.metric_key,
        metric_name=row.metric_name,
        unit=row.unit,
        description=row.description,
        scope=scope,
        group_by=tuple(row.group_by),
        model=CHARGE_MODEL.validate_python(row.model),
    )


async def version(connection: AsyncConnection, plan_version_id: UUID) -> Row[Any]:
    """Read one version by its uuid: the columns of `plans`, of the version and `version_id`, also of a deleted plan."""
    row: Row[Any] = (await connection.execute(_detailed().where(plan_versions.c.id == plan_version_id))).one()
    return row


async def current_version(connection: AsyncConnection, plan_id: UUID) -> Row[Any]:
    """Read the version that new subscriptions get, as `version` does."""
    row: Row[Any] = (await connection.execute(_detailed().where(plans.c.id == plan_id, _CURRENT))).one()
    return row


async def version_numbered(connection: AsyncConnection, plan_id: UUID, number: int) -> Row[Any] | None:
    """Read a plan's version by its number, as `version` does; None if there is none."""
    statement = _detailed().where(plans.c.id == plan_id, plan_versions.c.version == number)
    row: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    return row


async def subscription_counts(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count the subscriptions that have not ended for each plan, by the plan's id as it is shown; 0 included."""
    living = (
        select(subscriptions.c.plan_id, func.count().label("number"))
        .where(subscriptions.c.project_id == project_id, subscriptions.c.status.not_in(_ENDED))
        .group_by(subscriptions.c.plan_id)
        .subquery()
    )
    statement = (
        select(plans.c.code, func.coalesce(living.c.number, 0))
        .outerjoin(living, living.c.plan_id == plans.c.id)
        .where(plans.c.project_id == project_id, plans.c.deleted_at.is_(None))
    )
    return {str(code): int(number) for code, number in (await connection.execute(statement)).all()}
