"""Telling subscriptions' workflows that alerts, thresholds or wallets changed, in the transaction of the change."""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, cast, func, insert, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.postgres.journal.outbox_store import WORKFLOW_SIGNAL, enqueue_subscription_signal
from models.messages.alerting import AlertsChanged
from models.tables import outbox, subscriptions, usage_alerts, usage_watermarks

ALERTS_CHANGED: Final = "alerts_changed"
_ENDED: Final = ("canceled", "terminated")


async def request_evaluation(
    connection: AsyncConnection, project_id: UUID, subscription_id: UUID, *, next_usage: bool = False
) -> None:
    """Let a subscription's workflow evaluate its alerts and thresholds, when this transaction has committed.

    `next_usage` lets it wait for usage that is not known yet.
    """
    known = await connection.scalar(select(_known(literal(subscription_id)))) if next_usage else None
    await enqueue_subscription_signal(
        connection,
        project_id=project_id,
        subscription_id=subscription_id,
        signal=ALERTS_CHANGED,
        message=AlertsChanged(next_usage=next_usage, usage_known=known),
    )


async def request_evaluation_for_plan(connection: AsyncConnection, plan_id: UUID) -> int:
    """Let every live subscription of a plan look with its next usage; one statement, returns how many there are."""
    return await _request_evaluations(connection, subscriptions.c.plan_id == plan_id, next_usage=True)


async def request_evaluation_for_wallet(connection: AsyncConnection, customer_id: UUID) -> int:
    """Let the subscriptions of a customer look whose alerts watch the balance of wallets."""
    of_wallet = select(usage_alerts.c.id).where(
        usage_alerts.c.subscription_id == subscriptions.c.id,
        usage_alerts.c.kind == "wallet_balance",
        usage_alerts.c.deleted_at.is_(None),
    )
    return await _request_evaluations(connection, (subscriptions.c.customer_id == customer_id) & of_wallet.exists())


def _known(subscription_id: ColumnElement[UUID]) -> ScalarSelect[int]:
    """Select the watermark of a subscription's usage as this transaction sees it; 0 before the first event."""
    version = select(usage_watermarks.c.version).where(usage_watermarks.c.subscription_id == subscription_id)
    return select(func.coalesce(version.scalar_subquery(), 0)).scalar_subquery()


async def _request_evaluations(
    connection: AsyncConnection, wanted: ColumnElement[bool], *, next_usage: bool = False
) -> int:
    # As models.identifiers.subscription_workflow_id names it.
    name = func.concat("subscription/", subscriptions.c.project_id, "/", subscriptions.c.id)
    message: ColumnElement[Any] = cast(AlertsChanged(next_usage=next_usage).model_dump(mode="json"), JSONB)
    if next_usage:
        message = message.op("||")(func.jsonb_build_object("usage_known", _known(subscriptions.c.id)))
    payload = func.jsonb_build_object("workflow_id", name, "signal", ALERTS_CHANGED, "message", message, type_=JSONB)
    told = select(subscriptions.c.project_id, literal(WORKFLOW_SIGNAL), name, payload)
    columns = ["project_id", "topic", "ordering_key", "payload"]
    live = told.where(wanted, subscriptions.c.status.not_in(_ENDED)).order_by(subscriptions.c.id)
    return (await connection.execute(insert(outbox).from_select(columns, live))).rowcount
