"""The limit of the single-event route: a FastAPI route that validates the same body and stores nothing."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

app = FastAPI()


class Event(BaseModel):
    """The body of an event."""

    model_config = ConfigDict(extra="forbid")

    customer_id: str = Field(min_length=1, max_length=255)
    metric_key: str = Field(min_length=1, max_length=255)
    value: Decimal | None = Field(default=None, max_digits=38, decimal_places=18)
    timestamp: datetime | None = None
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=255)
    properties: dict[str, Any] | None = None


@app.post("/v1/events", status_code=202)
async def ingest(event: Event) -> dict[str, str | None]:
    """Answer as the real route does."""
    return {"status": "accepted", "idempotency_key": event.idempotency_key}
