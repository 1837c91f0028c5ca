"""Messages of the workflow that tries a webhook again (workflows/webhook_delivery.py)."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from models.messages.base import Message

DeliveryStatus = Literal["pending", "succeeded", "failed"]


class WebhookDeliveryState(Message):
    """Where a delivery stands, as the record says.

    ``attempts`` counts every attempt and only grows, so of two standings the one with more is the newer;
    ``scheduled_attempts`` counts those of the schedule. ``next_attempt_at`` is None if the workflow has nothing more to
    do. ``busy``: nothing was sent, because enough other messages are on their way to the endpoint.
    """

    status: DeliveryStatus
    attempts: int
    scheduled_attempts: int
    next_attempt_at: datetime | None = None
    said: str | None = None
    busy: bool = False


class RetryWebhook(Message):
    """The argument of a WebhookDeliveryWorkflow: a delivery whose attempt failed, and when the next one is due."""

    organization_id: UUID
    project_id: UUID
    delivery_id: UUID
    endpoint_id: UUID
    url: str
    message_id: str
    message_type: str
    standing: WebhookDeliveryState


class AttemptWebhook(Message):
    """Make scheduled attempt ``attempt_no`` of a delivery, unless the record says that it was made."""

    organization_id: UUID
    project_id: UUID
    delivery_id: UUID
    attempt_no: int
