"""Features: what plans can grant (B40)."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.changing import Resource, audit_change, hide, insert_new
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resources import Feature
from adapters.postgres.rows import record, records
from billing.entitlements import FeatureType
from models.identifiers import shown_id
from models.problems import conflict, not_found
from models.tables import entitlements, features, plans

RESOURCE: Final = Resource(features, "feature", "Feature", Feature)

ORDERABLE: Final = {
    "name": features.c.name,
    "code": features.c.code,
    "feature_type": features.c.feature_type,
    "updated_at": features.c.updated_at,
}
_LIVING: Final = features.c.deleted_at.is_(None)


async def ensured(tx: Transaction, wanted: Mapping[str, FeatureType]) -> dict[str, Feature]:
    """Return the features with these codes, creating those that are missing with the type named (C27).

    They are kept from being deleted until the transaction ends. Missing ones are made in the order of their codes, so
    that two plans that name the same ones never wait for each other in a circle.
    """
    found = await _held(tx.connection, tx.scope.project_id, wanted)
    missing = sorted(wanted.keys() - found.keys())
    for code in missing:
        row = await insert_new(tx, RESOURCE, {"code": code, "name": code, "feature_type": wanted[code]})
        if row is not None:
            await audit_change(tx, RESOURCE, row=row, action="created", data={"created_by": "plan"})
    if missing:
        found = await _held(tx.connection, tx.scope.project_id, wanted)
    for code in wanted.keys() - found.keys():
        raise not_found("feature", code)
    return found


async def _held(connection: AsyncConnection, project_id: UUID, codes: Collection[str]) -> dict[str, Feature]:
    statement = select(features).where(features.c.project_id == project_id, features.c.code.in_(codes), _LIVING)
    rows = (await connection.execute(statement.with_for_update(read=True, key_share=True))).all()
    return {row.code: record(Feature, row) for row in rows}


async def lock_feature(connection: AsyncConnection, row: Feature) -> None:
    """Keep a feature from being deleted until the transaction ends. Raises `Problem` 404 if it was already."""
    statement = select(features.c.id).where(features.c.id == row.id, _LIVING)
    if (await connection.execute(statement.with_for_update(read=True, key_share=True))).first() is None:
        raise not_found("feature", row.code)


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, conditions: Mapping[str, str]
) -> tuple[tuple[Feature, ...], int]:
    """Return one part of the project's features, newest first, and their number; `conditions` are equalities."""
    wanted: list[ColumnElement[bool]] = [features.c.project_id == project_id, _LIVING]
    wanted += [features.c[column] == value for column, value in conditions.items()]
    rows, total = await page_of(connection, features, page, *wanted, orderable=ORDERABLE)
    return records(Feature, rows), total


async def plan_counts(connection: AsyncConnection, project_id: UUID) -> dict[str, int]:
    """Count, for each feature (by shown id), the plans that grant it; 0 included."""
    statement = (
        select(features.c.id, func.count(plans.c.id))
        .outerjoin(entitlements, entitlements.c.feature_id == features.c.id)
        .outerjoin(plans, (plans.c.id == entitlements.c.plan_id) & plans.c.deleted_at.is_(None))
        .where(features.c.project_id == project_id, _LIVING)
        .group_by(features.c.id)
    )
    return {shown_id("feature", found): int(number) for found, number in (await connection.execute(statement)).all()}


async def delete(tx: Transaction, row: Feature) -> None:
    """Hide a feature that `locked` gave, and free its code.

    Raises `Problem` 409 `feature_in_use` while a plan grants it.
    """
    granted = (
        select(entitlements.c.id)
        .join(plans, plans.c.id == entitlements.c.plan_id)
        .where(entitlements.c.feature_id == row.id, plans.c.deleted_at.is_(None))
        .limit(1)
    )
    if (await tx.connection.execute(granted)).first() is not None:
        raise conflict("feature_in_use", "A plan grants this feature; delete the entitlements first.")
    await hide(tx, RESOURCE, row)
