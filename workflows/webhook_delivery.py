"""The actor of a webhook whose first attempt failed: it waits, tries again, and ends with the delivery.

The record decides: each attempt answers when the next one is due, if there is one. So a wait that ends early or late, a
task that runs twice and a worker that is away for days change nothing but the time at which the next attempt is made.
"""

from datetime import timedelta
from typing import Final

from temporalio import workflow

from activities import policies
from activities.webhooks import WebhookActivities
from models.identifiers import WEBHOOK_WORKFLOW
from models.messages.webhooks import AttemptWebhook, RetryWebhook, WebhookDeliveryState

_MOST_HISTORY_EVENTS: Final = 2000
#: How long to stand back while others are on their way to the endpoint, by chance within these; twice as long each
#: time in a row, up to eight times: a thousand deliveries to a receiver that hangs must not keep all busy by asking.
_STAND_BACK_SECONDS: Final = (3.0, 12.0)
_MOST_TIMES_LONGER: Final = 8


def backoff_delay(times: int, chance: float) -> timedelta:
    """Return the pause before asking again, the ``times``-th in a row (from 1); ``chance`` is within [0, 1)."""
    shortest, longest = _STAND_BACK_SECONDS
    longer = min(2 ** (times - 1), _MOST_TIMES_LONGER)
    return timedelta(seconds=(shortest + (longest - shortest) * chance) * longer)


@workflow.defn(name=WEBHOOK_WORKFLOW)
class WebhookDeliveryWorkflow:
    """Lives from the first failed attempt until the delivery succeeded or nothing follows any more."""

    @workflow.init
    def __init__(self, start: RetryWebhook) -> None:
        self._start = start
        self._standing = start.standing
        self._stood_back = 0

    @workflow.run
    async def run(self, start: RetryWebhook) -> WebhookDeliveryState:
        """Wait for the next attempt and make it, again and again."""
        while self._standing.next_attempt_at is not None:
            self._show_state()
            if workflow.info().get_current_history_length() >= _MOST_HISTORY_EVENTS:
                workflow.continue_as_new(start.model_copy(update={"standing": self._standing}))
            if await self._waited():
                self._take(await self._attempt())
        self._show_state()
        return self._standing

    async def _waited(self) -> bool:
        """Wait until the next attempt may be made; False if the standing changed meanwhile."""
        before = self._standing
        assert before.next_attempt_at is not None
        pause = before.next_attempt_at - workflow.now()
        summary = f"attempt {before.attempts + 1}"
        self._stood_back = self._stood_back + 1 if before.busy else 0
        if before.busy:
            pause = backoff_delay(self._stood_back, workflow.random().random())
            summary += ": others are on their way to the endpoint"
        if pause <= timedelta(0):
            return True
        try:
            await workflow.wait_condition(lambda: self._standing != before, timeout=pause, timeout_summary=summary)
        except TimeoutError:
            return True
        return False

    async def _attempt(self) -> WebhookDeliveryState:
        message = AttemptWebhook(
            organization_id=self._start.organization_id,
            project_id=self._start.project_id,
            delivery_id=self._start.delivery_id,
            attempt_no=self._standing.scheduled_attempts + 1,
        )
        return await workflow.execute_activity_method(
            WebhookActivities.attempt_webhook,
            message,
            summary=f"send {self._start.message_type}, attempt {self._standing.attempts + 1}",
            **policies.WEBHOOK,
        )

    def _take(self, standing: WebhookDeliveryState) -> None:
        """Believe the newer of two standings."""
        if standing.attempts >= self._standing.attempts:
            self._standing = standing

    def _show_state(self) -> None:
        standing, start = self._standing, self._start
        lines = [f"**{start.message_type}** to {start.url}: {standing.status} after {standing.attempts} attempts"]
        if standing.said:
            lines.append(f"- the last attempt: **{standing.said}**")
        if standing.next_attempt_at is not None:
            lines.append(f"- the next one: {standing.next_attempt_at:%Y-%m-%d %H:%M:%S} UTC")
        workflow.set_current_details("\n".join([*lines, f"- message {start.message_id}"]))

    @workflow.signal
    def delivery_state_changed(self, standing: WebhookDeliveryState) -> None:
        """Take note of an attempt that was made elsewhere: one that somebody asked for, or a replay's."""
        self._take(standing)
