"""Entitlements: the value that a plan grants of a feature, one for each plan and feature (B39-B41).

A plan's embedded object is a view of these rows (conflicts C27). They belong to the plan, not to a version. Whoever
writes a set of them holds the plan's row, so that it is never mixed out of two requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.catalogue import feature_store
from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, paged
from adapters.postgres.resources import Feature, Plan
from adapters.postgres.rows import record, records
from billing.entitlements import (
    EntitlementValue,
    FeatureType,
    InvalidFeatureValue,
    entitlement_text,
    feature_type_of,
    typed_value,
)
from models.identifiers import new_id, parse_id
from models.problems import conflict, invalid, not_found
from models.tables import entitlements, features, plans


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a plan grants of a feature, with the names of both."""

    id: UUID
    plan_id: UUID
    plan_code: str
    feature_id: UUID
    feature_code: str
    feature_name: str
    feature_type: FeatureType
    value: str
    created_at: datetime
    updated_at: datetime


ORDERABLE: Final = {
    "value": entitlements.c.value,
    "feature_code": features.c.code,
    "updated_at": entitlements.c.updated_at,
}


def _viewed() -> Select[Any]:
    """Select entitlements with the names of their plan and feature."""
    joined = entitlements.join(features, features.c.id == entitlements.c.feature_id).join(
        plans, plans.c.id == entitlements.c.plan_id
    )
    return select(
        entitlements,
        features.c.code.label("feature_code"),
        features.c.name.label("feature_name"),
        features.c.feature_type,
        plans.c.code.label("plan_code"),
    ).select_from(joined)


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, plan_id: UUID | None
) -> tuple[tuple[Entitlement, ...], int]:
    """Return one part of the entitlements, newest first, and their number; of one plan, or of all not deleted."""
    wanted = [entitlements.c.project_id == project_id, plans.c.deleted_at.is_(None)]
    if plan_id is not None:
        wanted.append(entitlements.c.plan_id == plan_id)
    counted = select(func.count()).select_from(entitlements.join(plans, plans.c.id == entitlements.c.plan_id))
    total = await connection.scalar(counted.where(*wanted))
    statement = paged(_viewed().where(*wanted), page, entitlements.c.id, ORDERABLE)
    return records(Entitlement, (await connection.execute(statement)).all()), int(total or 0)


async def of_plan(connection: AsyncConnection, plan_id: UUID) -> tuple[Entitlement, ...]:
    """List everything that a plan grants, also a deleted one, by the features' codes."""
    statement = _viewed().where(entitlements.c.plan_id == plan_id).order_by(features.c.code)
    return records(Entitlement, (await connection.execute(statement)).all())


async def granted(connection: AsyncConnection, plan_ids: Sequence[UUID]) -> dict[UUID, dict[str, EntitlementValue]]:
    """Return the embedded objects of many plans with one query: typed values by the features' codes (C27)."""
    found: dict[UUID, dict[str, EntitlementValue]] = {plan_id: {} for plan_id in plan_ids}
    if found:
        statement = _viewed().where(entitlements.c.plan_id.in_(found)).order_by(features.c.code)
        for row in (await connection.execute(statement)).all():
            found[row.plan_id][row.feature_code] = typed_value(row.feature_type, row.value)
    return found


async def view(connection: AsyncConnection, project_id: UUID, ref: str) -> Entitlement:
    """Read an entitlement by its id or uuid. Raises `Problem` 404 `entitlement_not_found`."""
    statement = _viewed().where(
        entitlements.c.project_id == project_id, entitlements.c.id == parse_id(ref), plans.c.deleted_at.is_(None)
    )
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("entitlement", ref)
    return record(Entitlement, row)


async def create(
    tx: Transaction,
    *,
    plan: Plan,
    feature: Feature,
    value: str,
) -> Entitlement:
    """Grant a value of a feature with a plan.

    Raises `Problem` 409 `entitlement_exists` if the plan grants the feature already, 422 for a value that the feature's
    type does not allow, 404 for a plan or feature deleted meanwhile.
    """
    await _hold_plan(tx.connection, plan)
    await feature_store.lock_feature(tx.connection, feature)
    made = await _insert(tx, plan.id, feature.id, _text("value", feature, value))
    if made is None:
        raise conflict("entitlement_exists", f"The plan {plan.code!r} grants {feature.code!r} already.")
    row = await view(tx.connection, tx.scope.project_id, str(made))
    await _audit(tx, row, "created")
    return row


async def _hold_plan(connection: AsyncConnection, plan: Plan) -> None:
    """Keep others from writing what a plan grants. Raises `Problem` 404 if it was deleted meanwhile."""
    statement = select(plans.c.id).where(plans.c.id == plan.id, plans.c.deleted_at.is_(None))
    if (await connection.execute(statement.with_for_update(key_share=True))).first() is None:
        raise not_found("plan", plan.code)


def _text(field: str, feature: Feature | Entitlement, value: bool | int | Decimal | str) -> str:
    try:
        return entitlement_text(feature.feature_type, value)
    except InvalidFeatureValue as error:
        raise invalid(field, str(error), "unfit_value") from None


async def _insert(tx: Transaction, plan_id: UUID, feature_id: UUID, text: str) -> UUID | None:
    statement = (
        insert(entitlements)
        .values(id=new_id(), project_id=tx.scope.project_id, plan_id=plan_id, feature_id=feature_id, value=text)
        .on_conflict_do_nothing(index_elements=["plan_id", "feature_id"])
        .returning(entitlements.c.id)
    )
    found: UUID | None = await tx.connection.scalar(statement)
    return found


async def change(tx: Transaction, row: Entitlement, value: str) -> Entitlement:
    """Grant another value. Raises `Problem` 422 for one that the feature's type does not allow, 404 if it is gone."""
    text = _text("value", row, value)
    statement = update(entitlements).where(entitlements.c.id == row.id, entitlements.c.value != text)
    done = await tx.connection.execute(statement.values(value=text, updated_at=func.clock_timestamp()))
    changed = await view(tx.connection, tx.scope.project_id, str(row.id))
    if done.rowcount:
        await _audit(tx, row, "updated", changes=changes_between({"value": row.value}, {"value": text}))
    return changed


async def delete(tx: Transaction, row: Entitlement) -> None:
    """Take a grant back. Raises `Problem` 404 if somebody else did meanwhile."""
    done = await tx.connection.execute(entitlements.delete().where(entitlements.c.id == row.id))
    if not done.rowcount:
        raise not_found("entitlement", row.id)
    await _audit(tx, row, "deleted")


async def copy(tx: Transaction, *, source: Plan, target: Plan) -> tuple[Entitlement, ...]:
    """Grant with the target everything that the source grants, and give what the target grants then (B41).

    Values that the target had of the same features are overwritten; what only the target grants stays.
    """
    await _hold_plan(tx.connection, target)
    before = (await granted(tx.connection, [target.id]))[target.id]
    for row in await of_plan(tx.connection, source.id):
        await _put(tx, target.id, row.feature_id, row.value)
    after = (await granted(tx.connection, [target.id]))[target.id]
    await tx.audit(
        resource_type="plan",
        resource_id=target.id,
        action="updated",
        title=f"Entitlements of plan {source.code} copied to plan {target.code}",
        changes=changes_between({"entitlements": before}, {"entitlements": after}),
    )
    return await of_plan(tx.connection, target.id)


async def _put(tx: Transaction, plan_id: UUID, feature_id: UUID, text: str) -> None:
    statement = insert(entitlements).values(
        id=new_id(), project_id=tx.scope.project_id, plan_id=plan_id, feature_id=feature_id, value=text
    )
    await tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["plan_id", "feature_id"],
            set_={"value": statement.excluded.value, "updated_at": func.clock_timestamp()},
            where=entitlements.c.value != statement.excluded.value,
        )
    )


async def replace(
    tx: Transaction,
    plan_id: UUID,
    wanted: Mapping[str, bool | int | Decimal | str | None],
) -> None:
    """Let a plan, whose row the caller holds, grant exactly this embedded object (B39, C27).

    Features that are missing are created with the type of their value; None grants nothing. Raises `Problem` 422, which
    names the feature, for a value that the type of a feature that exists does not allow.
    """
    values = {code: value for code, value in wanted.items() if value is not None}
    types = {code: feature_type_of(value) for code, value in values.items()}
    known = await feature_store.ensured(tx, types)
    texts = {known[code].id: _text(f"entitlements.{code}", known[code], value) for code, value in values.items()}
    outdated = entitlements.delete().where(entitlements.c.plan_id == plan_id)
    await tx.connection.execute(outdated.where(entitlements.c.feature_id.not_in(texts.keys())))
    for feature_id, text in texts.items():
        await _put(tx, plan_id, feature_id, text)


async def _audit(
    tx: Transaction,
    row: Entitlement,
    action: str,
    *,
    changes: Mapping[str, Any] | None = None,
) -> None:
    await tx.audit(
        resource_type="entitlement",
        resource_id=row.id,
        action=action,
        title=f"Entitlement {row.feature_code} of plan {row.plan_code} {action}",
        changes=changes,
        data={"plan_id": row.plan_id, "feature_id": row.feature_id, "value": row.value},
    )
