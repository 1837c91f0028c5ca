"""Looking at a subscription's alerts and thresholds: what has been reached fires, in one transaction."""

from temporalio import activity

from activities.lifecycle import begin_for
from adapters.postgres.alerts import alert_evaluation_store
from adapters.postgres.database import Database
from models.messages.alerting import AlertsEvaluated, EvaluateAlerts


class AlertActivities:
    """Reads what people want to be told of, and tells them once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="evaluate_alerts")
    async def evaluate_alerts(self, message: EvaluateAlerts) -> AlertsEvaluated:
        """Fire every alert that the usage has reached and that has not fired on this occasion; safe to run again.

        The record decides, so a second run, a signal that comes late and a restart change nothing (B142).
        """
        async with begin_for(self._database, message.subscription, at=message.at) as tx:
            return await alert_evaluation_store.evaluate(tx, message)
