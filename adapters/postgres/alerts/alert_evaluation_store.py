"""One evaluation of a subscription's alerts and thresholds: what the record has reached, and what it writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, text, update
from sqlalchemy.dialects.postgresql import insert

from adapters.postgres.alerts.alert_measure_store import VIEWED_ALERTS, Measured, measure, next_expiry
from adapters.postgres.alerts.records import UsageAlert
from adapters.postgres.alerts.threshold_hit_store import ANY_USAGE
from adapters.postgres.database import driver
from adapters.postgres.journal.outbox_store import shown_instant
from adapters.postgres.journal.transaction import Transaction
from adapters.postgres.prepared import Prepared
from adapters.postgres.rows import AsyncConnection
from billing.alerts import Alert, EvaluationThreshold, crossed, level_threshold, nearest, occasion, projected_from
from billing.numbers import grouped, plain
from billing.period import Period
from billing.subscriptions.story import shown_amount
from models.identifiers import new_id, shown_id
from models.messages.alerting import AlertsEvaluated, EvaluateAlerts
from models.tables import usage_alert_triggers, usage_alerts
from models.webhook_types import WebhookType

#: An alert on money is shown in its currency, one on usage in units.
MONEY: Final = ("spend", "wallet_balance")


@dataclass(frozen=True)
class _Fired:
    """One level of one alert at the moment it fires."""

    alert: UsageAlert
    level: int
    quantity: Decimal
    currency: str

    @property
    def metric_code(self) -> str:
        """The metric's key; for an alert on money what it watches."""
        return str(self.alert.metric_key or self.alert.kind)

    @property
    def summary(self) -> str:
        """Tell it for people: alert 'API calls' at 80%: api_calls 8,200 of 10,000."""
        name = f" {self.alert.name!r}" if self.alert.name else ""
        level = "" if self.level == _WHOLE else f" at {self.level}%"
        return f"alert{name}{level}: {self.metric_code.replace('_balance', ' balance')} {self._amounts}"

    @property
    def _amounts(self) -> str:
        quantity, threshold = self.quantity, self.alert.threshold_value
        if self.alert.kind in MONEY and quantity == int(quantity) and threshold == int(threshold):
            shown = (shown_amount(int(quantity), self.currency), shown_amount(int(threshold), self.currency))
            return " of ".join(shown)
        return f"{grouped(quantity)} of {grouped(threshold)}"


_WHOLE: Final = 100


async def evaluate(tx: Transaction, message: EvaluateAlerts) -> AlertsEvaluated:
    """Fire the alerts that a period's usage has reached, and say which thresholds are crossed and when to look again.

    The alerts stay locked until the commit, so that a change of one is seen before or after, never in the middle. Usage
    that cannot be priced keeps only what watches the spend from firing; the answer says why.
    """
    subscription_id = message.subscription.subscription_id
    alerts = await _alerts(tx.connection, subscription_id)
    measured = await measure(tx.connection, message, alerts, without_spend=True)
    if not alerts and not measured.has_thresholds:
        await _write_evaluation_thresholds(tx, message, [])
        return AlertsEvaluated(nothing=True)
    fired_before = await _fired_before(tx.connection, alerts, message)
    fired: list[_Fired] = []
    lines: list[EvaluationThreshold] = []
    for row in alerts:
        quantity = measured.quantities.get(row.id)
        if quantity is None:
            continue
        alert = _alert(row, fired_before.get(row.id, frozenset()))
        fired += [_Fired(row, level, quantity, measured.currency) for level in alert.reached(quantity)]
        following = alert.next_threshold(quantity)
        if row.kind == "usage" and row.filter is None and following is not None:
            lines.append(EvaluationThreshold(metric_id=row.metric_id, quantity=following))
    for one in fired:
        await _fire(tx, message, one)
    kept = nearest(lines)
    on_every_signal = _needs_every_signal(alerts, fired_before, measured)
    any_usage = [EvaluationThreshold(metric_id=ANY_USAGE, quantity=Decimal(0))] if on_every_signal else []
    await _write_evaluation_thresholds(tx, message, [*kept, *any_usage])
    return AlertsEvaluated(
        notified=tuple(one.summary for one in fired),
        crossed=crossed(measured.thresholds, measured.spend_minor, done=measured.crossed_before),
        spend_minor=measured.spend_minor,
        currency=measured.currency,
        thresholds=kept,
        on_every_signal=on_every_signal,
        error=measured.unpriced,
        evaluate_at=await _evaluate_at(tx.connection, alerts, fired_before, message, measured.currency),
    )


_ALERTS: Final = Prepared(
    VIEWED_ALERTS.where(
        usage_alerts.c.subscription_id == bindparam("subscription"), usage_alerts.c.deleted_at.is_(None)
    )
    .order_by(usage_alerts.c.id)
    .with_for_update(of=usage_alerts, key_share=True)
)


async def _alerts(connection: AsyncConnection, subscription_id: UUID) -> Sequence[UsageAlert]:
    cursor = await _ALERTS.run(await driver(connection), {"subscription": subscription_id})
    return [UsageAlert(*row) for row in await cursor.fetchall()]


def _alert(row: UsageAlert, fired: frozenset[int]) -> Alert:
    return Alert(kind=row.kind, threshold=row.threshold_value, levels=tuple(row.levels), fired=fired)


_FIRED: Final = Prepared(
    text("""
    SELECT t.usage_alert_id, t.level
    FROM usage_alert_triggers t JOIN usage_alerts a ON a.id = t.usage_alert_id
    WHERE a.subscription_id = :subscription AND a.deleted_at IS NULL
      AND (NOT a.recurring OR t.period_start = :period_start)
    """)
)


async def _fired_before(
    connection: AsyncConnection, alerts: Sequence[UsageAlert], message: EvaluateAlerts
) -> Mapping[UUID, frozenset[int]]:
    """Return the levels that fire no more: those of this period, and for an alert that does not recur those of ever."""
    found: dict[UUID, frozenset[int]] = {}
    if not alerts:
        return found
    asked = {"subscription": message.subscription.subscription_id, "period_start": message.period_start}
    for row in await (await _FIRED.run(await driver(connection), asked)).fetchall():
        found[row.usage_alert_id] = found.get(row.usage_alert_id, frozenset()) | {row.level}
    return found


def _needs_every_signal(
    alerts: Sequence[UsageAlert], fired_before: Mapping[UUID, frozenset[int]], measured: Measured
) -> bool:
    """Return whether something is open that the totals of whole metrics do not show."""
    if any(threshold.id not in measured.crossed_before for threshold in measured.thresholds):
        return True
    return any(
        (row.kind != "usage" or row.filter is not None) and set(row.levels) - fired_before.get(row.id, frozenset())
        for row in alerts
    )


async def _evaluate_at(
    connection: AsyncConnection,
    alerts: Sequence[UsageAlert],
    fired_before: Mapping[UUID, frozenset[int]],
    message: EvaluateAlerts,
    currency: str,
) -> datetime | None:
    """Return the first instant of the period at which time alone may reach a threshold; None if none is to come.

    A projection begins, and without further usage only falls from then on; what a wallet held expires.
    """
    period = Period(start=message.period_start, end=message.period_end)
    kinds = {row.kind for row in alerts if set(row.levels) - fired_before.get(row.id, frozenset())}
    moments = [projected_from(period)] if "projected_usage" in kinds else []
    if "wallet_balance" in kinds:
        expires_at = await next_expiry(connection, message.subscription.subscription_id, currency, at=message.at)
        moments += [expires_at] if expires_at is not None else []
    return min((moment for moment in moments if message.at < moment < period.end), default=None)


async def _fire(tx: Transaction, message: EvaluateAlerts, fired: _Fired) -> None:
    """Write the trigger, and with it everything that tells of it; one that exists is not written again (B139, B142)."""
    alert = fired.alert
    trigger_id = new_id()
    written = await tx.connection.execute(
        insert(usage_alert_triggers)
        .values(
            id=trigger_id,
            project_id=tx.scope.project_id,
            usage_alert_id=alert.id,
            level=fired.level,
            occasion=occasion(recurring=alert.recurring, period_start=message.period_start),
            period_start=message.period_start,
            current_usage=fired.quantity,
            threshold_value=alert.threshold_value,
            metric_code=fired.metric_code,
            triggered_at=message.at,
        )
        .on_conflict_do_nothing()
    )
    if written.rowcount == 0:
        return
    await tx.connection.execute(
        update(usage_alerts)
        .where(usage_alerts.c.id == alert.id)
        .values(times_triggered=usage_alerts.c.times_triggered + 1, triggered_at=message.at)
    )
    await tx.audit(
        resource_type="usage_alert",
        resource_id=alert.id,
        action="triggered",
        title=fired.summary[0].upper() + fired.summary[1:],
        data={"current_usage": plain(fired.quantity), "level": fired.level, "trigger_id": trigger_id},
    )
    await tx.webhook(
        WebhookType.USAGE_ALERT_TRIGGERED,
        _webhook_data(message, fired, trigger_id),
        ordering_key=f"usage_alert:{alert.id}",
    )
    await tx.notify(
        kind="usage_alert",
        title=f"Usage alert{f' {alert.name}' if alert.name else ''} reached",
        body=f"{fired.summary[0].upper()}{fired.summary[1:]}.",
        resource_type="usage_alert",
        resource_id=alert.id,
        key=f"usage_alert:{trigger_id}",
    )


def _webhook_data(message: EvaluateAlerts, fired: _Fired, trigger_id: UUID) -> dict[str, Any]:
    """Return what the webhook of a trigger says: `current_usage` and `threshold_value` are decimal strings (B163)."""
    alert = fired.alert
    return {
        "alert_id": str(alert.id),
        "trigger_id": str(trigger_id),
        "name": alert.name,
        "kind": alert.kind,
        "subscription_id": shown_id("subscription", alert.subscription_id),
        "metric_code": fired.metric_code,
        "current_usage": plain(fired.quantity),
        "threshold_value": plain(alert.threshold_value),
        "level": fired.level,
        "level_value": plain(level_threshold(alert.threshold_value, fired.level)),
        "recurring": alert.recurring,
        "triggered_at": shown_instant(message.at),
        "billing_period_start": shown_instant(message.period_start),
    }


_DRAW: Final = Prepared(
    text("""
    WITH gone AS (
        DELETE FROM evaluation_thresholds
        WHERE subscription_id = :subscription AND metric_id <> ALL(CAST(:metrics AS uuid[]))
    )
    INSERT INTO evaluation_thresholds AS drawn
        (subscription_id, metric_id, project_id, quantity, period_start, period_end)
    SELECT :subscription, line.metric_id, :project, line.quantity, :period_start, :period_end
    FROM unnest(CAST(:metrics AS uuid[]), CAST(:quantities AS numeric[])) AS line(metric_id, quantity)
    ON CONFLICT (subscription_id, metric_id) DO UPDATE
    SET quantity = excluded.quantity, period_start = excluded.period_start, period_end = excluded.period_end,
        suppressed_until = NULL
    WHERE (drawn.quantity, drawn.period_start, drawn.period_end)
        <> (excluded.quantity, excluded.period_start, excluded.period_end)
    """)
)


async def _write_evaluation_thresholds(
    tx: Transaction, message: EvaluateAlerts, lines: Sequence[EvaluationThreshold]
) -> None:
    """Let the relay know where the nearest threshold of each metric is, so that it tells the workflow at once."""
    drawn = {
        "subscription": message.subscription.subscription_id,
        "project": tx.scope.project_id,
        "metrics": [line.metric_id for line in lines],
        "quantities": [line.quantity for line in lines],
        "period_start": message.period_start,
        "period_end": message.period_end,
    }
    await _DRAW.run(await driver(tx.connection), drawn)
