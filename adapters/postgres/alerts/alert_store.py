"""Usage alerts as their owners see them: made, changed, removed, listed, with their triggers (seed 002, B138-B151).

Each change tells the subscription's workflow through the outbox of its transaction, so that it takes effect at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, literal, select, update

from adapters.postgres.alerts.alert_measure_store import VIEWED_ALERTS, measure
from adapters.postgres.alerts.records import AlertTrigger, UsageAlert
from adapters.postgres.customers import clock_store
from adapters.postgres.database import ProjectScope
from adapters.postgres.journal.audit_store import changes_between
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.reports import usage_report_store
from adapters.postgres.resolver import SUBSCRIPTION, required
from adapters.postgres.rows import AsyncConnection, record, records
from adapters.postgres.subscriptions import alert_signal_store
from billing.alerts import MOST_ALERTS
from billing.period import Period
from models.identifiers import new_id, parse_id
from models.messages.alerting import EvaluateAlerts
from models.messages.base import SubscriptionRef
from models.problems import conflict, not_found
from models.tables import (
    plan_charges,
    plan_versions,
    subscriptions,
    usage_alert_triggers,
    usage_alerts,
    usage_thresholds,
)

ORDERABLE: Final = {
    "name": usage_alerts.c.name,
    "threshold_value": usage_alerts.c.threshold_value,
    "times_triggered": usage_alerts.c.times_triggered,
    "triggered_at": usage_alerts.c.triggered_at,
    "updated_at": usage_alerts.c.updated_at,
}
_ENDED: Final = ("canceled", "terminated")


@dataclass(frozen=True)
class LockedSubscription:
    """A subscription that lives, locked against its own changes, and its plan's currency."""

    id: UUID
    plan_version_id: UUID
    status: str
    currency: str


async def watched(connection: AsyncConnection, project_id: UUID, ref: str) -> LockedSubscription:
    """Find and lock a subscription for a new alert or threshold.

    Raises `Problem` 404 `subscription_not_found`, 409 `subscription_ended`.
    """
    found = await required(connection, project_id, SUBSCRIPTION, ref)
    statement = (
        select(subscriptions, plan_versions.c.currency)
        .join(plan_versions, plan_versions.c.id == subscriptions.c.plan_version_id)
        .where(subscriptions.c.id == found.id)
        .with_for_update(of=subscriptions, key_share=True)
    )
    locked = record(LockedSubscription, (await connection.execute(statement)).one())
    if locked.status in _ENDED:
        raise conflict("subscription_ended", f"The subscription is {locked.status}; nothing of it is watched any more.")
    return locked


async def must_charge(
    connection: AsyncConnection, subscription: LockedSubscription, metric_id: UUID, metric_key: str
) -> None:
    """Raise `Problem` 409 `metric_not_in_plan` unless the subscription's plan version charges on a metric."""
    of_plan = [plan_charges.c.plan_version_id == subscription.plan_version_id]
    statement = select(select(plan_charges.c.id).where(*of_plan, plan_charges.c.metric_id == metric_id).exists())
    if not await connection.scalar(statement):
        raise conflict(
            "metric_not_in_plan",
            f"The subscription's plan has no charge on the metric {metric_key!r}.",
            metric=metric_key,
        )


async def create(tx: Transaction, subscription: LockedSubscription, values: Mapping[str, object]) -> UsageAlert:
    """Add an alert; `values` are columns of `usage_alerts`. Raises `Problem` 409 `too_many_alerts` for the 101st."""
    of_subscription = [usage_alerts.c.subscription_id == subscription.id, usage_alerts.c.deleted_at.is_(None)]
    known = await tx.connection.scalar(select(func.count()).select_from(usage_alerts).where(*of_subscription))
    if int(known or 0) >= MOST_ALERTS:
        raise conflict(
            "too_many_alerts",
            f"A subscription has at most {MOST_ALERTS} alerts; delete one, or give one several levels.",
            limit=MOST_ALERTS,
        )
    identity = new_id()
    await tx.connection.execute(
        insert(usage_alerts).values(
            id=identity, project_id=tx.scope.project_id, subscription_id=subscription.id, **values
        )
    )
    alert = await get(tx.connection, tx.scope.project_id, str(identity))
    await _written(tx, alert, "created")
    return alert


async def get(connection: AsyncConnection, project_id: UUID, ref: str, *, lock: bool = False) -> UsageAlert:
    """Read an alert that is not deleted, with its metric's key; `lock` keeps it from firing until the commit.

    Raises `Problem` 404 `usage_alert_not_found`.
    """
    wanted = [usage_alerts.c.project_id == project_id, usage_alerts.c.id == parse_id(ref)]
    statement = VIEWED_ALERTS.where(*wanted, usage_alerts.c.deleted_at.is_(None))
    if lock:
        statement = statement.with_for_update(of=usage_alerts, key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise not_found("usage_alert", ref)
    return record(UsageAlert, row)


async def listed(
    connection: AsyncConnection, project_id: UUID, page: Page, subscription_id: UUID | None
) -> tuple[Sequence[UsageAlert], int]:
    """Return one part of the project's alerts, newest first, and their number; of one subscription, or of all."""
    wanted: list[ColumnElement[bool]] = [usage_alerts.c.project_id == project_id, usage_alerts.c.deleted_at.is_(None)]
    if subscription_id is not None:
        wanted.append(usage_alerts.c.subscription_id == subscription_id)
    rows, total = await page_of(connection, usage_alerts, page, *wanted, rows=VIEWED_ALERTS, orderable=ORDERABLE)
    return records(UsageAlert, rows), total


async def change(tx: Transaction, alert: UsageAlert, values: Mapping[str, object]) -> UsageAlert:
    """Change columns of an alert that `get` locked; it is evaluated again at once (B145), triggers stay (B147)."""
    changes = changes_between({name: getattr(alert, name) for name in values}, values)
    if not changes:
        return alert
    statement = update(usage_alerts).where(usage_alerts.c.id == alert.id)
    await tx.connection.execute(statement.values(**values, updated_at=func.clock_timestamp()))
    await _written(tx, alert, "updated", changes=changes)
    return await get(tx.connection, tx.scope.project_id, str(alert.id))


async def remove(tx: Transaction, alert: UsageAlert) -> None:
    """Delete an alert that `get` locked: it never fires again (B149)."""
    now = func.clock_timestamp()
    statement = update(usage_alerts).where(usage_alerts.c.id == alert.id)
    await tx.connection.execute(statement.values(deleted_at=now, updated_at=now))
    await _written(tx, alert, "deleted")


async def triggers(connection: AsyncConnection, alert_id: UUID, page: Page) -> tuple[Sequence[AlertTrigger], int]:
    """Return one part of an alert's triggers, newest first, and their number; the values are those at firing (B147)."""
    of_alert = usage_alert_triggers.c.usage_alert_id == alert_id
    rows, total = await page_of(connection, usage_alert_triggers, page, of_alert)
    return records(AlertTrigger, rows), total


@dataclass(frozen=True)
class AlertProgress:
    """How far an alert is in a half-open period; the quantity is in the alert's own unit."""

    quantity: Decimal
    period: Period
    fired: frozenset[int]


async def status(connection: AsyncConnection, scope: ProjectScope, alert: UsageAlert) -> AlertProgress:
    """Measure an alert now, in the way in which it fires, and change nothing (B146, B148)."""
    of = await usage_report_store.subscribed(connection, scope.project_id, str(alert.subscription_id))
    period, at = _current(of), await clock_store.now(connection, of.subscription.test_clock_id)
    message = EvaluateAlerts(
        subscription=SubscriptionRef(
            organization_id=scope.organization_id, project_id=scope.project_id, subscription_id=of.subscription.id
        ),
        period_start=period.start,
        period_end=period.end,
        at=at,
        plan_version_id=of.subscription.plan_version_id,
        billable=of.subscription.status in ("active", "suspended"),
        closing=True,
        billing_key="",
    )
    measured = await measure(connection, message, [alert])
    fired = await connection.scalars(
        select(usage_alert_triggers.c.level).where(
            usage_alert_triggers.c.usage_alert_id == alert.id,
            (usage_alert_triggers.c.period_start == period.start) | literal(not alert.recurring),
        )
    )
    return AlertProgress(measured.quantities.get(alert.id, Decimal(0)), period, frozenset(fired))


def _current(of: usage_report_store.SubscriptionUsageContext) -> Period:
    """Return the period in which a subscription's alerts are; its trial is one, too."""
    start, end = of.subscription.current_period_start, of.subscription.current_period_end
    return of.current if start is None or end is None else Period(start=start, end=end)


async def is_watched(connection: AsyncConnection, plan_id: UUID) -> bool:
    """Return whether a plan has thresholds, so that its subscriptions watch their spend from the start.

    Must come after the subscription's row was inserted: a threshold that is made at the same time then either is seen
    here, or sees the row.
    """
    of_plan = [usage_thresholds.c.plan_id == plan_id, usage_thresholds.c.deleted_at.is_(None)]
    return bool(await connection.scalar(select(select(usage_thresholds.c.id).where(*of_plan).exists())))


async def _written(
    tx: Transaction, alert: UsageAlert, action: str, *, changes: Mapping[str, object] | None = None
) -> None:
    """Note what was done to an alert, and let its subscription evaluate."""
    await tx.audit(
        resource_type="usage_alert",
        resource_id=alert.id,
        action=action,
        title=f"Usage alert {alert.name or alert.metric_key or alert.kind} {action}",
        changes=changes,
        data={"subscription_id": alert.subscription_id},
    )
    await alert_signal_store.request_evaluation(tx.connection, tx.scope.project_id, alert.subscription_id)
