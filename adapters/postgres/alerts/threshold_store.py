"""Usage thresholds: spending amounts of a plan or a subscription, and their crossings (seed 002, B152-B159, C29)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.alerts.records import UsageThreshold
from adapters.postgres.invoices.invoice_write_store import webhook_order
from adapters.postgres.journal.outbox_store import shown_instant
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.paging import Page, page_of
from adapters.postgres.rows import record, records
from adapters.postgres.subscriptions import alert_signal_store
from billing.alerts import MOST_THRESHOLDS, occasion
from billing.numbers import grouped, plain
from billing.subscriptions.story import shown_amount
from models.identifiers import new_id, parse_id, shown_id
from models.messages.closing import ClosePeriods
from models.problems import conflict, not_found
from models.tables import plans, usage_threshold_crossings, usage_thresholds
from models.webhook_types import WebhookType

ORDERABLE: Final = {"amount_cents": usage_thresholds.c.amount_cents, "updated_at": usage_thresholds.c.updated_at}


async def lock_plan(connection: AsyncConnection, plan_id: UUID) -> None:
    """Keep subscriptions to a plan from being made while a threshold of it is; those that exist are told of it."""
    await connection.execute(select(plans.c.id).where(plans.c.id == plan_id).with_for_update())


async def create(tx: Transaction, values: Mapping[str, object]) -> UsageThreshold:
    """Add a threshold of a plan or of a subscription; the subscriptions that it applies to look with their next usage.

    `values` are columns of `usage_thresholds`. Raises `Problem` 409 `too_many_thresholds`.
    """
    known = await tx.connection.scalar(select(func.count()).select_from(usage_thresholds).where(*_of(values)))
    if int(known or 0) >= MOST_THRESHOLDS:
        raise conflict(
            "too_many_thresholds",
            f"A plan or a subscription has at most {MOST_THRESHOLDS} thresholds; delete one.",
            limit=MOST_THRESHOLDS,
        )
    statement = insert(usage_thresholds).values(id=new_id(), project_id=tx.scope.project_id, **values)
    made = record(UsageThreshold, (await tx.connection.execute(statement.returning(usage_thresholds))).one())
    await _note(tx, made, "created")
    await _notify(tx.connection, made)
    return made


def _of(owner: Mapping[str, object]) -> list[ColumnElement[bool]]:
    columns = usage_thresholds.c
    own = [columns[name] == owner[name] for name in ("plan_id", "subscription_id") if owner.get(name) is not None]
    return [*own, columns.deleted_at.is_(None)]


async def listed(
    connection: AsyncConnection, owner: Mapping[str, object], page: Page
) -> tuple[Sequence[UsageThreshold], int]:
    """Return one part of the thresholds of a plan or a subscription, newest first, and their number."""
    rows, total = await page_of(connection, usage_thresholds, page, *_of(owner), orderable=ORDERABLE)
    return records(UsageThreshold, rows), total


async def remove(tx: Transaction, ref: str) -> None:
    """Delete a threshold of either kind; its crossings and their invoices stay (B159).

    Raises `Problem` 404 `usage_threshold_not_found`.
    """
    now = func.clock_timestamp()
    wanted = [usage_thresholds.c.id == parse_id(ref), usage_thresholds.c.deleted_at.is_(None)]
    statement = update(usage_thresholds).where(*wanted, usage_thresholds.c.project_id == tx.scope.project_id)
    gone = statement.values(deleted_at=now, updated_at=now).returning(usage_thresholds)
    row = (await tx.connection.execute(gone)).one_or_none()
    if row is None:
        raise not_found("usage_threshold", ref)
    await _note(tx, record(UsageThreshold, row), "deleted")


async def _notify(connection: AsyncConnection, row: UsageThreshold) -> None:
    if row.plan_id is not None:
        await alert_signal_store.request_evaluation_for_plan(connection, row.plan_id)
    elif row.subscription_id is not None:
        await alert_signal_store.request_evaluation(connection, row.project_id, row.subscription_id, next_usage=True)


async def record_crossings(tx: Transaction, message: ClosePeriods, *, currency: str, invoice_id: UUID | None) -> None:
    """Write down the thresholds that a progressive close is for, once on each occasion, and tell of them (C26).

    In the transaction of their invoice, before it: `usage_threshold.reached` comes first, then `invoice.created`.
    """
    if not message.thresholds:
        return
    columns = usage_thresholds.c
    statement = select(usage_thresholds).where(columns.id.in_(message.thresholds)).order_by(columns.amount_cents)
    for row in records(UsageThreshold, await tx.connection.execute(statement)):
        crossing = upsert(usage_threshold_crossings).values(
            id=new_id(),
            project_id=row.project_id,
            usage_threshold_id=row.id,
            subscription_id=message.subscription.subscription_id,
            occasion=occasion(recurring=row.recurring, period_start=message.start),
            period_start=message.start,
            spend_minor=message.spend_minor,
            billing_key=message.billing_key,
            crossed_at=message.at,
        )
        if (await tx.connection.execute(crossing.on_conflict_do_nothing())).rowcount:
            await _announce(tx, message, row, currency, invoice_id)


async def _announce(
    tx: Transaction, message: ClosePeriods, row: UsageThreshold, currency: str, invoice_id: UUID | None
) -> None:
    subscription_id = message.subscription.subscription_id
    whole = row.amount_cents == int(row.amount_cents)
    amount = shown_amount(int(row.amount_cents), currency) if whole else f"{grouped(row.amount_cents)} minor units"
    told = f"Usage threshold of {amount} reached at {shown_amount(message.spend_minor, currency)}"
    await tx.audit(
        resource_type="usage_threshold",
        resource_id=row.id,
        action="reached",
        title=told,
        data={"subscription_id": subscription_id, "spend_minor": message.spend_minor, "invoice_id": invoice_id},
    )
    await tx.webhook(
        WebhookType.USAGE_THRESHOLD_REACHED,
        _webhook_data(message, row, currency, invoice_id),
        ordering_key=f"usage_threshold:{row.id}" if invoice_id is None else webhook_order(invoice_id),
    )
    await tx.notify(
        kind="usage_threshold",
        title="Usage threshold reached",
        body=f"{told}.",
        resource_type="usage_threshold",
        resource_id=row.id,
        key=f"usage_threshold:{row.id}:{message.billing_key}",
    )


def _webhook_data(message: ClosePeriods, row: UsageThreshold, currency: str, invoice_id: UUID | None) -> dict[str, Any]:
    return {
        "threshold_id": str(row.id),
        "threshold_display_name": row.threshold_display_name,
        "subscription_id": shown_id("subscription", message.subscription.subscription_id),
        "amount_cents": plain(row.amount_cents),
        "current_usage_amount_cents": str(message.spend_minor),
        "currency": currency,
        "recurring": row.recurring,
        "invoice_id": None if invoice_id is None else shown_id("invoice", invoice_id),
        "reached_at": shown_instant(message.at),
        "billing_period_start": shown_instant(message.start),
    }


async def _note(tx: Transaction, row: UsageThreshold, action: str) -> None:
    owner = "plan_id" if row.plan_id is not None else "subscription_id"
    await tx.audit(
        resource_type="usage_threshold",
        resource_id=row.id,
        action=action,
        title=f"Usage threshold of {plain(row.amount_cents)} minor units {action}",
        data={owner: getattr(row, owner), "recurring": row.recurring},
    )
