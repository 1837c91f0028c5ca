"""Writing plans: the first version, the next one, and the end (B36-B38). Reading is in plan_store.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.catalogue import entitlement_store
from adapters.postgres.catalogue.plan_store import PlanDetail, combination_of, detail, shown_charges
from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.resources import Plan
from billing.charges import CHARGE_MODEL, ChargeModel, Flat
from billing.scope import Combination
from models.identifiers import new_id, shown_id
from models.problems import conflict, not_found
from models.tables import metrics, plan_charges, plan_versions, plans, subscriptions

_ENDED: Final = ("canceled", "terminated")


@dataclass(frozen=True)
class FilterDraft:
    """The events of a charge that match a combination of property values, at a price of their own.

    `metric_filter_ids` are the metric's filters that declare its properties, in its order.
    """

    metric_filter_ids: tuple[UUID, ...]
    combination: Combination
    model: ChargeModel
    supplied: Mapping[str, Any]
    name: str | None = None


@dataclass(frozen=True)
class ChargeDraft:
    """One charge of a version to be; `supplied` is what the creator sent, to be echoed."""

    model: ChargeModel
    metric_id: UUID | None = None
    description: str | None = None
    supplied: Mapping[str, Any] = field(default_factory=dict)
    filters: tuple[FilterDraft, ...] = ()
    group_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class VersionDraft:
    """Everything that a version fixes; `base_amount` is in major units."""

    name: str
    currency: str
    interval: str
    description: str | None = None
    trial_period_days: int = 0
    base_amount: Decimal = Decimal(0)
    charges: tuple[ChargeDraft, ...] = ()


async def create(
    tx: Transaction,
    draft: VersionDraft,
    *,
    code: str | None,
    product_id: UUID | None = None,
    entitlements: Mapping[str, Any] | None = None,
) -> PlanDetail:
    """Add a plan with version 1; without a `code` the shown id becomes the code.

    Raises `Problem` 409 `plan_exists` for a code in use, 404 `metric_not_found` for a metric deleted meanwhile, 422 for
    an entitlement that its feature's type does not allow.
    """
    plan_id = new_id()
    shown = code or shown_id("plan", plan_id)
    statement = (
        upsert(plans)
        .values(
            id=plan_id,
            project_id=tx.scope.project_id,
            code=shown,
            code_chosen=code is not None,
            product_id=product_id,
        )
        .on_conflict_do_nothing(index_elements=["project_id", "code"], index_where=plans.c.deleted_at.is_(None))
        .returning(plans.c.id)
    )
    if (await tx.connection.execute(statement)).one_or_none() is None:
        raise conflict("plan_exists", f"This project has a plan with the code {shown!r} already.")
    await _write_version(tx, plan_id, 1, draft)
    await entitlement_store.replace(tx, plan_id, entitlements or {})
    await _note(tx, plan_id, "created", title=f"Plan {shown} created")
    return await detail(tx.connection, plan_id)


async def locked(connection: AsyncConnection, row: Plan) -> PlanDetail:
    """Read a plan's current version and keep others from changing the plan until the transaction ends.

    Raises `Problem` 404 if it was deleted meanwhile.
    """
    statement = select(plans.c.id).where(plans.c.id == row.id, plans.c.deleted_at.is_(None)).with_for_update()
    if (await connection.execute(statement)).one_or_none() is None:
        raise not_found("plan", row.code)
    return await detail(connection, row.id)


async def change(
    tx: Transaction,
    current: PlanDetail,
    *,
    draft: VersionDraft,
    plan_values: Mapping[str, Any],
    entitlements: Mapping[str, Any] | None = None,
) -> PlanDetail:
    """Change a plan that `locked` gave: a draft that differs from the current version becomes the next one.

    `plan_values` are columns of `plans` that no version fixes (product, status); `entitlements` replaces what the plan
    grants, None leaves it. Raises `Problem` 422 for an entitlement that its feature's type does not allow.
    """
    before = draft_of(current)
    renewed = draft != before
    changes = changes_between(current.plan._asdict(), plan_values) | _version_changes(before, draft)
    if entitlements is not None:
        await entitlement_store.replace(tx, current.plan.id, entitlements)
        after = (await entitlement_store.granted(tx.connection, [current.plan.id]))[current.plan.id]
        changes |= changes_between({"entitlements": current.entitlements}, {"entitlements": after})
    if not changes:
        return current
    number = current.plan.current_version + 1 if renewed else current.plan.current_version
    if renewed:
        await _write_version(tx, current.plan.id, number, draft)
    values = {**plan_values, "current_version": number, "updated_at": func.clock_timestamp()}
    await tx.connection.execute(update(plans).where(plans.c.id == current.plan.id).values(**values))
    title = f"Plan {current.plan.code} updated" + (f": version {number}" if renewed else "")
    await _note(tx, current.plan.id, "updated", title=title, changes=changes)
    return await detail(tx.connection, current.plan.id)


def draft_of(current: PlanDetail) -> VersionDraft:
    """Return a stored version as the draft that would make it."""
    return VersionDraft(
        name=current.plan.name,
        currency=current.plan.currency,
        interval=current.plan.interval,
        description=current.plan.description,
        trial_period_days=current.plan.trial_period_days,
        base_amount=current.plan.base_amount,
        charges=tuple(_charge_draft(row) for row in shown_charges(current)),
    )


def _charge_draft(row: Row[Any]) -> ChargeDraft:
    return ChargeDraft(
        model=CHARGE_MODEL.validate_python(row.model),
        metric_id=row.metric_id,
        description=row.description,
        supplied=row.supplied,
        filters=tuple(
            FilterDraft(
                metric_filter_ids=tuple(UUID(match["metric_filter_id"]) for match in item["matches"]),
                combination=combination_of(item),
                model=CHARGE_MODEL.validate_python(item["model"]),
                supplied=item["supplied"],
                name=item["name"],
            )
            for item in row.filters
        ),
        group_by=tuple(row.group_by),
    )


def _version_changes(before: VersionDraft, after: VersionDraft) -> dict[str, Any]:
    plain = changes_between(
        {name: value for name, value in vars(before).items() if name != "charges"},
        {name: value for name, value in vars(after).items() if name != "charges"},
    )
    if before.charges != after.charges:
        plain["charges"] = {
            "old": [_described(charge) for charge in before.charges],
            "new": [_described(charge) for charge in after.charges],
        }
    return plain


def _described(charge: ChargeDraft) -> dict[str, Any]:
    """Say in the audit log what a charge is: as it was sent, with its filters and its grouping."""
    more: dict[str, Any] = {"group_by": list(charge.group_by)} if charge.group_by else {}
    if charge.filters:
        more["filters"] = [{"match": part.combination.label, **part.supplied} for part in charge.filters]
    return {**charge.supplied, **more}


async def _write_version(tx: Transaction, plan_id: UUID, number: int, draft: VersionDraft) -> None:
    version_id = new_id()
    columns = {name: value for name, value in vars(draft).items() if name != "charges"}
    await tx.connection.execute(
        insert(plan_versions).values(
            id=version_id, project_id=tx.scope.project_id, plan_id=plan_id, version=number, **columns
        )
    )
    rows = _charge_rows(draft)
    if not rows:
        return
    owner = {"project_id": tx.scope.project_id, "plan_id": plan_id, "plan_version_id": version_id}
    await tx.connection.execute(insert(plan_charges), [{**owner, **row} for row in rows])
    await _refuse_deleted_metrics(tx.connection, [row["metric_id"] for row in rows])


async def _refuse_deleted_metrics(connection: AsyncConnection, metric_ids: Sequence[UUID | None]) -> None:
    """Look again after the insert, which waited for a deletion that was under way."""
    gone = select(metrics.c.key).where(metrics.c.id.in_(set(metric_ids) - {None}), metrics.c.deleted_at.is_not(None))
    key = await connection.scalar(gone)
    if key is not None:
        raise not_found("metric", key)


def _charge_rows(draft: VersionDraft) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    if draft.base_amount > 0:
        base = ChargeDraft(model=Flat(fee=draft.base_amount), description=f"{draft.name} base fee")
        rows.append(_charge_row(base, position=0))
    positions = count(1)
    for charge in draft.charges:
        row = _charge_row(charge, position=next(positions))
        rows.append(row)
        for part in charge.filters:
            part_draft = ChargeDraft(
                model=part.model,
                metric_id=charge.metric_id,
                description=part.name,
                supplied={"part_of": str(row["id"])},
                group_by=charge.group_by,
            )
            rows.append(_charge_row(part_draft, position=next(positions)))
    return rows


def _charge_row(charge: ChargeDraft, *, position: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "position": position,
        "metric_id": charge.metric_id,
        "description": charge.description,
        "model": charge.model.model_dump(mode="json", by_alias=True),
        "supplied": dict(charge.supplied),
        "filters": [_filter_document(part) for part in charge.filters],
        "group_by": list(charge.group_by),
    }


def _filter_document(part: FilterDraft) -> dict[str, Any]:
    declared = zip(part.metric_filter_ids, part.combination.matches, strict=True)
    return {
        "matches": [{"metric_filter_id": str(own), **match.model_dump(mode="json")} for own, match in declared],
        "model": part.model.model_dump(mode="json", by_alias=True),
        "supplied": dict(part.supplied),
        "name": part.name,
    }


async def delete(tx: Transaction, current: PlanDetail) -> None:
    """Hide a plan that `locked` gave, and free its code; its versions stay for what was billed by them.

    Raises `Problem` 409 `plan_has_subscriptions` while one has not ended.
    """
    plan = current.plan
    living = select(subscriptions.c.id).where(subscriptions.c.plan_id == plan.id, subscriptions.c.status.not_in(_ENDED))
    if (await tx.connection.execute(living.limit(1))).first() is not None:
        raise conflict("plan_has_subscriptions", "This plan has subscriptions; end or move them first.")
    await tx.connection.execute(update(plans).where(plans.c.id == plan.id).values(deleted_at=func.clock_timestamp()))
    await _note(tx, plan.id, "deleted", title=f"Plan {plan.code} deleted")


async def _note(
    tx: Transaction,
    plan_id: UUID,
    action: str,
    *,
    title: str,
    changes: Mapping[str, Any] | None = None,
) -> None:
    await tx.audit(
        resource_type="plan",
        resource_id=plan_id,
        action=action,
        title=title,
        changes=changes,
    )
