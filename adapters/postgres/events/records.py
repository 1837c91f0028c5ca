"""What the stores of events return."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event by the names that it was sent with, and by those it resolved to (`customer_code`, `metric_key`)."""

    id: UUID
    idempotency_key: str
    customer_ref: str | None
    customer_code: str | None
    subscription_ref: str | None
    subscription_id: UUID | None
    metric_ref: str
    metric_key: str | None
    value: Decimal | None
    occurred_at: datetime
    properties: Mapping[str, Any] | None
    product_item_ref: str | None
    source: str
    status: str
    skip_reason: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Reprocessing:
    """A run over the skipped events of a window, and how far it has come."""

    id: UUID
    status: str
    window_start: datetime
    window_end: datetime
    metric_ref: str | None
    customer_ref: str | None
    total: int
    seen: int
    counted: int
    created_at: datetime
    finished_at: datetime | None
