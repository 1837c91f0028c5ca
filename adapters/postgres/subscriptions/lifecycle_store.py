"""A subscription's row as its workflow writes it: status, times and period, with an audit entry and an outbox row."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.customers import clock_store
from adapters.postgres.journal import audit_store, failure_notifications
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.subscriptions import period_version_store
from billing.subscriptions import pauses
from billing.subscriptions.subscription import SubscriptionState
from models.identifiers import shown_id
from models.messages.lifecycle import InvoiceStatusFound, LifecycleAction, RecordLifecycle
from models.tables import invoices, payment_attempts, subscriptions, usage_watermarks
from models.webhook_types import WebhookType

_OVER: Final = ("canceled", "terminated")
_TITLES: Final[dict[LifecycleAction, str]] = {
    "activated": "Subscription activated",
    "trial_ended": "Trial ended",
    "paused": "Subscription paused",
    "resumed": "Subscription resumed",
    "suspended": "Subscription suspended",
    "reinstated": "Subscription reinstated",
    "cancel_scheduled": "Subscription will end with its period",
    "canceled": "Subscription canceled",
    "terminated": "Subscription terminated",
    "plan_change_requested": "Plan change requested",
    "plan_changed": "Plan version changed",
    "period_started": "Period started without a bill",
    "parked": "Subscription needs attention",
    "unparked": "Parked work taken up again",
}
#: Column of the instant at which an action happened.
_STAMPS: Final[dict[LifecycleAction, str]] = {
    "activated": "activated_at",
    "paused": "paused_at",
    "resumed": "resumed_at",
    "cancel_scheduled": "canceled_at",
    "canceled": "canceled_at",
    "terminated": "canceled_at",
}
#: What a receiver of webhooks is told; the other actions are internal.
_WEBHOOKS: Final[dict[LifecycleAction, WebhookType]] = {
    "activated": WebhookType.SUBSCRIPTION_STARTED,
    "trial_ended": WebhookType.SUBSCRIPTION_TRIAL_ENDED,
    "paused": WebhookType.SUBSCRIPTION_PAUSED,
    "resumed": WebhookType.SUBSCRIPTION_RESUMED,
    "suspended": WebhookType.SUBSCRIPTION_SUSPENDED,
    "reinstated": WebhookType.SUBSCRIPTION_REINSTATED,
    "canceled": WebhookType.SUBSCRIPTION_CANCELED,
    "terminated": WebhookType.SUBSCRIPTION_TERMINATED,
    "cancel_scheduled": WebhookType.SUBSCRIPTION_CANCEL_SCHEDULED,
    "plan_change_requested": WebhookType.SUBSCRIPTION_PLAN_CHANGE_SCHEDULED,
    "plan_changed": WebhookType.SUBSCRIPTION_PLAN_CHANGED,
    "parked": WebhookType.SUBSCRIPTION_NEEDS_ATTENTION,
    "unparked": WebhookType.SUBSCRIPTION_ATTENTION_RESOLVED,
}


async def record(tx: Transaction, step: RecordLifecycle) -> bool:
    """Write one lifecycle step: the row, an audit entry, a webhook's outbox row; returns whether anything changed.

    A second run finds the row as it should be and writes nothing. An ended subscription no longer holds its test clock
    back.
    """
    subscription_id = step.subscription.subscription_id
    before = await _locked(tx.connection, subscription_id)
    wanted = _columns(step)
    changes = audit_store.changes_between({name: getattr(before, name) for name in wanted}, wanted)
    asked_for_plan = step.action == "plan_change_requested"
    if not changes and not asked_for_plan:
        return False
    if changes:
        await tx.connection.execute(
            update(subscriptions)
            .where(subscriptions.c.id == subscription_id)
            .values(**wanted, **_stamps(step, before), **_pauses(step, before), updated_at=func.clock_timestamp())
        )
    if step.plan_version_id != before.plan_version_id and step.period_start is not None:
        await period_version_store.record_version(
            tx.connection,
            tx.scope.project_id,
            subscription_id,
            until=step.period_start,
            plan_version_id=before.plan_version_id,
        )
    await tx.audit(
        resource_type="subscription",
        resource_id=subscription_id,
        action=step.action,
        title=_TITLES[step.action],
        changes=changes,
        data=_audited(step),
    )
    await _announce(tx, step)
    if step.status in _OVER and before.status not in _OVER:
        # Usage that came between the final bill and this row has told a workflow that bills no more: look once again.
        await tx.connection.execute(
            update(usage_watermarks)
            .where(usage_watermarks.c.subscription_id == subscription_id)
            .values(version=usage_watermarks.c.version + 1, marked_at=func.clock_timestamp())
        )
    if before.test_clock_id is not None:
        await _signal_clock(tx.connection, step, before)
    return True


async def _signal_clock(connection: AsyncConnection, step: RecordLifecycle, before: Row[Any]) -> None:
    """Let the test clock know of parked work, of its mending, and of a subscription that it need not wait for."""
    if step.needs_attention is not None and step.needs_attention != before.needs_attention:
        await clock_store.failed(connection, step.subscription.subscription_id, step.needs_attention)
    if step.status in _OVER or (before.needs_attention is not None and step.needs_attention is None):
        await clock_store.mark_ready_if_idle(connection, before.test_clock_id)


async def find_invoice_status(
    connection: AsyncConnection, subscription_id: UUID, invoice_id: UUID
) -> InvoiceStatusFound:
    """Return where an invoice of a subscription stands, and whether its newest payment attempt has a known outcome."""
    found = (
        await connection.execute(
            select(invoices).where(invoices.c.id == invoice_id, invoices.c.subscription_id == subscription_id)
        )
    ).one_or_none()
    if found is None:
        return InvoiceStatusFound()
    newest = (
        await connection.execute(
            select(payment_attempts.c.attempt_no, payment_attempts.c.status)
            .where(payment_attempts.c.invoice_id == invoice_id, payment_attempts.c.attempt_no.is_not(None))
            .order_by(payment_attempts.c.attempt_no.desc())
            .limit(1)
        )
    ).one_or_none()
    return InvoiceStatusFound(
        status=found.status,
        number=found.number,
        total_minor=found.total_minor,
        currency=found.currency,
        due_at=found.due_at,
        attempts=newest.attempt_no if newest else 0,
        outcome_unknown=newest is not None and newest.status in ("pending", "requires_action", "unknown"),
    )


async def _locked(connection: AsyncConnection, subscription_id: UUID) -> Row[Any]:
    statement = select(subscriptions).where(subscriptions.c.id == subscription_id).with_for_update()
    return (await connection.execute(statement)).one()


def _columns(step: RecordLifecycle) -> dict[str, Any]:
    """Return the columns that a step sets; an ended subscription keeps its last period."""
    columns = {
        "status": step.status,
        "starts_at": step.starts_at,
        "anchor": step.anchor,
        "trial_ends_at": step.trial_ends_at,
        "bills_automatically_from": step.bills_automatically_from,
        "cancel_at": step.cancel_at,
        "plan_version_id": step.plan_version_id,
        "plan_version": step.plan_version,
        "needs_attention": step.needs_attention,
    }
    if step.period_start is not None:
        columns |= {"current_period_start": step.period_start, "current_period_end": step.period_end}
    if step.status in _OVER:
        # The instant that was billed to, however late the worker came to write it down.
        columns["ended_at"] = step.cancel_at or step.at
    return columns


def _pauses(step: RecordLifecycle, before: Row[Any]) -> dict[str, Any]:
    """Return the pauses after a step that begins or ends one; the rest of a life leaves them alone."""
    if before.status == step.status or "paused" not in (before.status, step.status):
        return {}
    known = pauses.pauses_of(before.pauses)
    if step.status == "paused":
        after = pauses.begun(known, at=step.at, behavior=step.pause_behavior)
    else:
        after = pauses.ended(known, at=(step.cancel_at or step.at) if step.status in _OVER else step.at)
    return {"pauses": [pause.model_dump(mode="json") for pause in after]}


def _stamps(step: RecordLifecycle, before: Row[Any]) -> dict[str, Any]:
    stamp = _STAMPS.get(step.action)
    # A cancellation happened when it was asked for, not when the period ended.
    if stamp is None or (stamp == "canceled_at" and before.canceled_at is not None):
        return {}
    return {stamp: step.at}


async def _announce(tx: Transaction, step: RecordLifecycle) -> None:
    webhook = _WEBHOOKS.get(step.action)
    if webhook is None:
        return
    ref = step.subscription
    shown = shown_id("subscription", ref.subscription_id)
    data = {"subscription_id": shown, "status": step.status, "at": step.at.isoformat(), **_more(step)}
    await tx.webhook(webhook, data, ordering_key=_order(ref.subscription_id))
    if step.action == "parked":
        tell, reason = failure_notifications.run_parked, step.needs_attention or "a step could not be done"
    elif step.action == "suspended" and step.is_unpaid:
        tell, reason = failure_notifications.suspended, step.reason or "Its invoices were not paid."
    else:
        return
    at = step.at.isoformat()
    await tell(tx, subscription_id=ref.subscription_id, shown=shown, at=at, reason=reason)


def _audited(step: RecordLifecycle) -> dict[str, Any] | None:
    """Return what the audit entry tells beside the changed columns."""
    match step.action:
        case "plan_change_requested":
            return {"requested_plan_version": step.requested_plan_version}
        case "suspended" if step.reason is not None:
            return {"reason": step.reason}
    return None


async def announce_started(tx: Transaction, state: SubscriptionState, *, at: datetime) -> None:
    """Tell that a new subscription is active, or in its trial, from its very creation; nothing if it starts later."""
    if state.status != "pending":
        shown = shown_id("subscription", state.subscription_id)
        data = {"subscription_id": shown, "status": state.status, "at": at.isoformat()}
        await tx.webhook(_WEBHOOKS["activated"], data, ordering_key=_order(state.subscription_id))


def _order(subscription_id: UUID) -> str:
    return f"subscription:{subscription_id}"


def _more(step: RecordLifecycle) -> dict[str, Any]:
    """Return what only some messages tell."""
    match step.action:
        case "parked":
            return {"needs_attention": step.needs_attention}
        case "suspended":
            return {"reason": step.reason}
        case "cancel_scheduled":
            return {"cancel_at": None if step.cancel_at is None else step.cancel_at.isoformat()}
        case "plan_change_requested":
            return {"requested_plan_version": step.requested_plan_version}
        case "plan_changed":
            return {"plan_version": step.plan_version}
    return {}
