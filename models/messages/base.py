"""What every message shares."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """A frozen message; unknown fields are ignored so that an older worker reads a newer message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SubscriptionRef(Message):
    """Which subscription, and the tenant whose rows its activities may see."""

    organization_id: UUID
    project_id: UUID
    subscription_id: UUID
