"""Trying a webhook again: one attempt, and what the record says of the delivery after it."""

from datetime import timedelta
from typing import Final

from temporalio import activity

from adapters.postgres.database import Database, ProjectScope
from adapters.postgres.webhooks import webhook_delivery_store as store
from adapters.postgres.webhooks.webhook_delivery_store import DeliveryStatus, FinishedAttempt
from adapters.webhooks.retries import pause_after, pauses
from adapters.webhooks.send import Sender
from adapters.webhooks.slots import Slots
from models.messages.webhooks import AttemptWebhook, WebhookDeliveryState
from settings import Settings

#: A timer may fire a little before the database's clock says so.
_EARLY: Final = timedelta(seconds=2)


class WebhookActivities:
    """Attempts of the retry schedule."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self.sender = Sender(settings)
        self._schedule = pauses(settings.webhook_first_retry_seconds)
        self._disable_after = timedelta(hours=settings.webhook_disable_after_hours)
        self.slots = Slots.of(settings)

    @activity.defn(name="attempt_webhook")
    async def attempt_webhook(self, message: AttemptWebhook) -> WebhookDeliveryState:
        """Send a delivery once more if it is due, and say where it stands; safe to run again.

        Nothing is sent if that attempt was made already, if the delivery or its endpoint is at an end, or (``busy``)
        if as many messages as allowed are on their way.
        """
        scope = ProjectScope(message.organization_id, message.project_id)
        async with self._database.transaction(scope) as connection:
            found = await store.find(connection, message.delivery_id)
            if found is not None and not found.open:
                await store.end(connection, message.delivery_id)
                return found.standing.model_copy(update={"next_attempt_at": None})
        if found is None:
            return WebhookDeliveryState(
                status="failed", attempts=message.attempt_no, scheduled_attempts=message.attempt_no
            )
        if not _is_due(found, message.attempt_no):
            return found.standing
        with self.slots.taken(found.delivery) as is_free:
            if not is_free:
                return found.standing.model_copy(update={"busy": True})
            attempt = await self.sender.attempt(found.delivery)
        pause = pause_after(found.delivery.scheduled_attempts + 1, self._schedule, attempt.retry_after)
        ended = FinishedAttempt(found.delivery, attempt, pause)
        async with self._database.transaction(scope) as connection:
            (standing,) = await store.record(connection, [ended], disable_after=self._disable_after)
        return standing


def _is_due(found: DeliveryStatus, attempt_no: int) -> bool:
    if found.standing.next_attempt_at is None or found.due_in is None:
        return False
    return found.standing.scheduled_attempts < attempt_no and found.due_in <= _EARLY
