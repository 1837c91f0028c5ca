"""How events are shown: the union of ABAXUS's and BoxBilling's shapes (conflicts C7)."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from adapters.postgres.events.ingest_events import IngestEvent, Outcome
from adapters.postgres.rows import Row
from api.events.usage_events import Received
from models.identifiers import shown_id

_EXAMPLE_ID = "evt_01hx8km4n5p6q7r8s9t0u1v2w3"


class EventResponse(BaseModel):
    """A stored event. `status` is `counted`, or `skipped` with the reason why it does not count (yet)."""

    id: str = Field(examples=[_EXAMPLE_ID])
    event_uuid: UUID
    transaction_id: str = Field(description="The idempotency key.", examples=["req_7f8a9b2c3d4e5f6a"])
    idempotency_key: str
    external_customer_id: str = Field(examples=["cust_acme"])
    customer_id: str | None
    subscription_id: str | None = Field(description="The one subscription on which it counts.")
    code: str = Field(examples=["api_calls"])
    metric_key: str
    value: Decimal | None = Field(examples=[1])
    timestamp: datetime
    properties: dict[str, Any]
    metadata: dict[str, Any]
    product_item: str | None
    source: str = Field(examples=["events"])
    status: str = Field(examples=["counted"])
    skip_reason: str | None = Field(examples=[None, "unknown_metric"])
    created_at: datetime


class AcceptedResponse(BaseModel):
    """The event is stored; `skip_reason` tells if it does not count yet, `duplicate` if it was there before."""

    status: str = Field(examples=["accepted"])
    id: str = Field(examples=[_EXAMPLE_ID])
    idempotency_key: str = Field(examples=["req_7f8a9b2c3d4e5f6a"])
    duplicate: bool
    skip_reason: str | None


class SkippedEvent(BaseModel):
    """An event of a batch that is kept without counting."""

    index: int
    id: str
    reason: str = Field(examples=["unknown_metric"])


class ConflictingEvent(BaseModel):
    """An event of a batch whose key belongs to an earlier event with other content, which stays (C3)."""

    index: int
    id: str
    idempotency_key: str


class RejectedField(BaseModel):
    """What is wrong with one field of an event."""

    field: str = Field(examples=["events.3.value"])
    message: str
    code: str = Field(examples=["not_a_number"])


class RejectedEvent(BaseModel):
    """An event of a batch with `partial=true` that was not stored."""

    index: int
    errors: list[RejectedField]


class BatchResponse(BaseModel):
    """What became of the events of a batch."""

    status: str = Field(examples=["accepted"])
    accepted: int = Field(description="Stored now, the skipped ones included.", examples=[998])
    duplicates: int = Field(description="There before, with the same content.", examples=[2])
    skipped: list[SkippedEvent]
    conflicts: list[ConflictingEvent]
    rejected: list[RejectedEvent] = Field(description="Not stored; always empty without `partial=true`.")


class BoxBillingBatchResponse(BaseModel):
    """BoxBilling's answer to a batch."""

    ingested: int
    duplicates: int
    events: list[EventResponse]
    rejected: list[RejectedEvent]


class UsageResponse(BatchResponse):
    """UsageBox's answer to a batch."""

    message: str = Field(examples=["Usage batch accepted"])


def event_document(row: Row[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Show a stored event, as `event_store` reads it."""
    found: Mapping[Any, Any] = row if isinstance(row, Mapping) else row._mapping
    properties = found["properties"] or {}
    external = found["customer_code"] or found["customer_ref"] or ""
    return {
        "id": shown_id("event", found["id"]),
        "event_uuid": found["id"],
        "transaction_id": found["idempotency_key"],
        "idempotency_key": found["idempotency_key"],
        "external_customer_id": external,
        "customer_id": found["customer_ref"] or found["customer_code"],
        "subscription_id": found["subscription_ref"] or _shown_subscription(found["subscription_id"]),
        "code": found["metric_key"] or found["metric_ref"],
        "metric_key": found["metric_key"] or found["metric_ref"],
        "value": found["value"],
        "timestamp": found["occurred_at"],
        "properties": properties,
        "metadata": properties,
        "product_item": found["product_item_ref"],
        "source": found["source"],
        "status": found["status"],
        "skip_reason": found["skip_reason"],
        "created_at": found["received_at"],
    }


def _shown_subscription(own: UUID | None) -> str | None:
    return None if own is None else shown_id("subscription", own)


def accepted_document(outcome: Outcome) -> dict[str, Any]:
    """Answer a single event in ABAXUS's way."""
    return {
        "status": "accepted",
        "id": shown_id("event", outcome.id_at(0)),
        "idempotency_key": outcome.key_at(0),
        "duplicate": bool(outcome.already),
        "skip_reason": outcome.skipped.get(0),
    }


def batch_document(outcome: Outcome, received: Received) -> dict[str, Any]:
    """Answer a batch in ABAXUS's way: counts, and by position in the request what does not count."""
    conflicts = outcome.conflicts
    return {
        "status": "accepted",
        "accepted": outcome.accepted,
        "duplicates": len(outcome.already) - len(conflicts),
        "skipped": [
            {"index": received.index_of(place), "id": shown_id("event", outcome.id_at(place)), "reason": reason}
            for place, reason in outcome.skipped.items()
        ],
        "conflicts": [
            {
                "index": received.index_of(place),
                "id": shown_id("event", outcome.already[place].id),
                "idempotency_key": outcome.key_at(place),
            }
            for place in conflicts
        ],
        "rejected": _rejected(received),
    }


def boxbilling_batch_document(outcome: Outcome, received: Received) -> dict[str, Any]:
    """Answer a batch in BoxBilling's way: every event as it is stored."""
    shown = [fresh_document(event, outcome, place) for place, event in enumerate(received.events)]
    return {
        "ingested": outcome.accepted,
        "duplicates": len(outcome.already),
        "events": shown,
        "rejected": _rejected(received),
    }


def _rejected(received: Received) -> list[dict[str, Any]]:
    return [{"index": each.index, "errors": [asdict(error) for error in each.errors]} for each in received.rejected]


def fresh_document(event: IngestEvent, outcome: Outcome, place: int) -> dict[str, Any]:
    """Show one event of a request from what was just stored, without asking Postgres for it."""
    stored = outcome.already.get(place)
    if stored is not None and stored.row is not None:
        return event_document({**stored.row, "customer_code": None, "metric_key": None})
    value = outcome.value_at(place)
    reason = outcome.skipped.get(place)
    return event_document(
        {
            "id": outcome.id_at(place),
            "idempotency_key": outcome.key_at(place),
            "customer_ref": event.customer_ref,
            "customer_code": None,
            "subscription_ref": event.subscription_ref,
            "subscription_id": outcome.subscription_at(place),
            "metric_ref": event.metric_ref,
            "metric_key": None,
            "value": None if value is None else Decimal(value),
            "occurred_at": outcome.time_at(place),
            "properties": event.properties,
            "product_item_ref": event.item_ref,
            "source": outcome.source,
            "status": "counted" if reason is None else "skipped",
            "skip_reason": reason,
            "received_at": outcome.received_at,
        }
    )
