"""Subscriptions as rows: their creation, and what the API shows of them.

A subscription's workflow changes the row as its life goes on (`subscriptions.lifecycle_store`); here a row begins,
is read together with what it refers to, and its terms that no workflow needs to know are edited.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, TypedDict
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, func, insert, not_, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.catalogue import plan_store
from adapters.postgres.customers import clock_store, customer_store
from adapters.postgres.database import ProjectScope
from adapters.postgres.failures import violated_constraint
from adapters.postgres.paging import Page, page_of
from adapters.postgres.resolver import CUSTOMER, PLAN, SUBSCRIPTION, Kind, required, resolve_many
from adapters.postgres.rows import record, records
from billing.period import Alignment, Interval
from billing.subscriptions.subscription import Status, SubscriptionState
from models.problems import conflict, not_found
from models.tables import customers, invoice_lines, plan_versions, plans, subscriptions, usage_rollups


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription together with the names of its customer and plan; amounts in major units."""

    id: UUID
    project_id: UUID
    customer_id: UUID
    customer_code: str
    customer_supplied: str | None
    pays_for_organization: bool
    plan_id: UUID
    plan_code: str
    plan_supplied: str | None
    plan_version_id: UUID
    plan_version: int
    plan_name: str
    plan_currency: str
    previous_plan_id: UUID | None
    external_id: str | None
    external_reference: str | None
    status: Status
    interval: Interval
    anchor: datetime
    timezone: str
    alignment: Alignment
    starts_at: datetime
    starts_at_supplied: str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    trial_period_days: int
    trial_ends_at: datetime | None
    pay_in_advance: bool
    on_termination_action: str
    contract: dict[str, object] | None
    metadata: dict[str, object]
    test_clock_id: UUID | None
    activated_at: datetime | None
    paused_at: datetime | None
    resumed_at: datetime | None
    cancel_at: datetime | None
    canceled_at: datetime | None
    ended_at: datetime | None
    needs_attention: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RecordedTerms:
    """What a request says of a new subscription that only the record keeps, beside the workflow's first state."""

    external_id: str | None
    external_reference: str | None
    starts_at_supplied: str | None
    customer_supplied: str
    plan_supplied: str
    trial_period_days: int
    on_termination_action: str
    contract: dict[str, object] | None
    metadata: dict[str, object]
    test_clock_id: UUID | None
    clock_reached_at: datetime | None


class TermsChange(TypedDict, total=False):
    """Terms that can change without the workflow; what is absent stays."""

    external_reference: str | None
    on_termination_action: str
    contract: dict[str, object] | None
    metadata: dict[str, object]


_ORDERABLE: Final[Mapping[str, ColumnElement[Any]]] = {
    "started_at": subscriptions.c.activated_at,
    "starts_at": subscriptions.c.starts_at,
    "start_date": subscriptions.c.starts_at,
    "status": subscriptions.c.status,
    "external_id": subscriptions.c.external_id,
    "updated_at": subscriptions.c.updated_at,
    "current_period_end": subscriptions.c.current_period_end,
}


@dataclass(frozen=True)
class SubscriptionFilter:
    """Which subscriptions a list is about; None means any. References are resolved to uuids before."""

    customer_id: UUID | None = None
    plan_id: UUID | None = None
    status: str | None = None
    external_reference: str | None = None
    external_id: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a row."""
        columns = subscriptions.c
        wanted = {
            columns.customer_id: self.customer_id,
            columns.plan_id: self.plan_id,
            columns.external_reference: self.external_reference,
            columns.external_id: self.external_id,
        }
        found: list[ColumnElement[bool]] = [column == value for column, value in wanted.items() if value is not None]
        if self.status is not None:
            found.append(_shown_as(self.status))
        return found


def _shown_as(status: str) -> ColumnElement[bool]:
    """One that is to be canceled at its period's end is shown as canceled at once (C23)."""
    columns = subscriptions.c
    if status == "canceled":
        return or_(columns.status == "canceled", and_(columns.canceled_at.is_not(None), columns.status != "terminated"))
    condition = columns.status == status
    return condition if status == "terminated" else and_(condition, columns.canceled_at.is_(None))


async def create(connection: AsyncConnection, state: SubscriptionState, terms: RecordedTerms) -> None:
    """Insert a subscription's row; raises `Problem` 409 `subscription_exists` for a taken external id."""
    try:
        await connection.execute(insert(subscriptions).values(**_columns(state), **asdict(terms)))
    except IntegrityError as error:
        if violated_constraint(error) != "uq_subscriptions_external_id":
            raise
        raise conflict(
            "subscription_exists", f"A subscription that has not ended has the external id {terms.external_id!r}."
        ) from error


def _columns(state: SubscriptionState) -> dict[str, object]:
    return {
        "id": state.subscription_id,
        "project_id": state.project_id,
        "customer_id": state.customer_id,
        "plan_id": state.plan_id,
        "plan_version_id": state.plan_version_id,
        "plan_version": state.plan_version,
        "status": state.status,
        "interval": state.cycle.interval,
        "anchor": state.cycle.anchor,
        "timezone": state.cycle.timezone,
        "alignment": state.cycle.alignment,
        "starts_at": state.starts_at,
        "bills_automatically_from": state.bills_automatically_from,
        "current_period_start": state.period.start if state.period else None,
        "current_period_end": state.period.end if state.period else None,
        "trial_ends_at": state.trial_ends_at,
        "activated_at": state.starts_at if state.status != "pending" else None,
        "cancel_at": state.cancel_at,
    }


async def view(connection: AsyncConnection, project_id: UUID, ref: str) -> Subscription:
    """Read a subscription, named in any form, with the names of its customer and plan.

    Raises `Problem` 404 `subscription_not_found`.
    """
    found = await required(connection, project_id, SUBSCRIPTION, ref)
    return await view_by_id(connection, found.id)


async def view_by_id(connection: AsyncConnection, subscription_id: UUID) -> Subscription:
    """Read a subscription by its uuid, as `view` does."""
    row = (await connection.execute(_viewed().where(subscriptions.c.id == subscription_id))).one_or_none()
    if row is None:
        raise not_found("subscription", subscription_id)
    return record(Subscription, row)


async def listed(
    connection: AsyncConnection, project_id: UUID, wanted: SubscriptionFilter, page: Page
) -> tuple[Sequence[Subscription], int]:
    """List subscriptions, newest first or as the page asks, and count all that the filter matches."""
    conditions = [subscriptions.c.project_id == project_id, *wanted.conditions()]
    rows, total = await page_of(connection, subscriptions, page, *conditions, rows=_viewed(), orderable=_ORDERABLE)
    return records(Subscription, rows), total


async def wanted_id(connection: AsyncConnection, project_id: UUID, kind: Kind[Any], ref: str | None) -> UUID | None:
    """Return the uuid that a list is filtered by: None without a reference, one of no row for an unknown name."""
    if ref is None:
        return None
    row = (await resolve_many(connection, project_id, kind, (ref,))).get(ref)
    return UUID(int=0) if row is None else row.id


def _viewed() -> Select[Any]:
    joined = (
        subscriptions.join(customers, customers.c.id == subscriptions.c.customer_id)
        .join(plans, plans.c.id == subscriptions.c.plan_id)
        .join(plan_versions, plan_versions.c.id == subscriptions.c.plan_version_id)
    )
    return select(
        subscriptions,
        customers.c.code.label("customer_code"),
        customers.c.is_organization.label("pays_for_organization"),
        plans.c.code.label("plan_code"),
        plan_versions.c.name.label("plan_name"),
        plan_versions.c.currency.label("plan_currency"),
    ).select_from(joined)


async def edit(connection: AsyncConnection, subscription_id: UUID, change: TermsChange) -> None:
    """Change terms of a row that no running workflow depends on; raises `Problem` 409 for a taken external id."""
    statement = update(subscriptions).where(subscriptions.c.id == subscription_id)
    await connection.execute(statement.values(**change, updated_at=func.clock_timestamp()))


async def is_untouched(connection: AsyncConnection, subscription_id: UUID) -> bool:
    """Return whether a subscription has no usage and no invoice yet."""
    used = exists().where(usage_rollups.c.subscription_id == subscription_id)
    billed = exists().where(invoice_lines.c.subscription_id == subscription_id)
    return bool(await connection.scalar(select(not_(or_(used, billed)))))


@dataclass(frozen=True)
class ResolvedReferences:
    """What a request for a subscription names, as the rows say it; `now` is the customer's time (C11)."""

    organization_id: UUID
    project_id: UUID
    customer_id: UUID
    test_clock_id: UUID | None
    grace_days: int
    timezone: str
    plan_id: UUID
    plan_code: str
    plan_version_id: UUID
    plan_version: int
    interval: Interval
    trial_period_days: int
    now: datetime


async def resolve_references(
    connection: AsyncConnection, scope: ProjectScope, *, customer: str, plan: str
) -> ResolvedReferences:
    """Read the customer, the newest version of the plan, and the customer's time, which stands still until the commit.

    Raises `Problem` 404 `customer_not_found` or `plan_not_found`, 409 `plan_archived`, `test_clock_advancing`.
    """
    payer = await required(connection, scope.project_id, CUSTOMER, customer)
    sold = await required(connection, scope.project_id, PLAN, plan)
    if sold.status != "active":
        raise conflict("plan_archived", f"The plan {sold.code!r} is archived and takes no new subscriptions.")
    version = await plan_store.current_version(connection, sold.id)
    by = await customer_store.billing_entity_terms_of(connection, scope.project_id, [payer])
    return ResolvedReferences(
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        customer_id=payer.id,
        test_clock_id=payer.test_clock_id,
        grace_days=payer.invoice_grace_period,
        timezone=payer.timezone or by[payer.billing_entity_id].timezone,
        plan_id=sold.id,
        plan_code=sold.code,
        plan_version_id=version.version_id,
        plan_version=version.version,
        interval=version.interval,
        trial_period_days=version.trial_period_days,
        now=await clock_store.locked_now(connection, payer.test_clock_id),
    )
