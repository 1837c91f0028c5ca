"""How events are shown: the union of ABAXUS's and BoxBilling's shapes (conflicts C7)."""

from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from pydantic import Field

from adapters.postgres.events.ingest_events import IngestEvent, Outcome
from adapters.postgres.events.records import StoredEvent
from api.events.received import Received
from api.http.answers import Answer, EventTime
from api.http.responses import exact_instant
from models.identifiers import shown_id

_EXAMPLE_ID = "evt_01hx8km4n5p6q7r8s9t0u1v2w3"


class EventResponse(Answer):
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
    timestamp: EventTime
    properties: dict[str, Any]
    metadata: dict[str, Any]
    product_item: str | None
    source: str = Field(examples=["events"])
    status: str = Field(examples=["counted"])
    skip_reason: str | None = Field(examples=[None, "unknown_metric"])
    created_at: datetime

    @classmethod
    def of(cls, event: StoredEvent, **more: object) -> Self:
        """Return the answer for a stored event; `more` are fields that a subclass has beside these."""
        own, key, properties = event.subscription_id, event.metric_key or event.metric_ref, event.properties or {}
        return cls.showing(
            event,
            id=shown_id("event", event.id),
            event_uuid=event.id,
            transaction_id=event.idempotency_key,
            external_customer_id=event.customer_code or event.customer_ref or "",
            customer_id=event.customer_ref or event.customer_code,
            subscription_id=event.subscription_ref or (None if own is None else shown_id("subscription", own)),
            code=key,
            metric_key=key,
            timestamp=exact_instant(event.occurred_at),
            properties=properties,
            metadata=properties,
            product_item=event.product_item_ref,
            created_at=event.received_at,
            **more,
        )

    @classmethod
    def fresh(cls, event: IngestEvent, outcome: Outcome, place: int) -> Self:
        """Return the answer for one event of a request from what was just stored."""
        return cls.of(_fresh(event, outcome, place))


class AcceptedResponse(Answer):
    """The event is stored; `skip_reason` tells if it does not count yet, `duplicate` if it was there before."""

    status: str = Field(examples=["accepted"])
    id: str = Field(examples=[_EXAMPLE_ID])
    idempotency_key: str = Field(examples=["req_7f8a9b2c3d4e5f6a"])
    duplicate: bool
    skip_reason: str | None

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Answer a single event in ABAXUS's way."""
        return cls.showing(
            None,
            status="accepted",
            id=shown_id("event", outcome.id_at(0)),
            idempotency_key=outcome.key_at(0),
            duplicate=bool(outcome.already),
            skip_reason=outcome.skipped.get(0),
        )


class SkippedEvent(Answer):
    """An event of a batch that is kept without counting."""

    index: int
    id: str
    reason: str = Field(examples=["unknown_metric"])


class ConflictingEvent(Answer):
    """An event of a batch whose key belongs to an earlier event with other content, which stays (C3)."""

    index: int
    id: str
    idempotency_key: str


class RejectedField(Answer):
    """What is wrong with one field of an event."""

    field: str = Field(examples=["events.3.value"])
    message: str
    code: str = Field(examples=["not_a_number"])


class RejectedEvent(Answer):
    """An event of a batch with `partial=true` that was not stored."""

    index: int
    errors: list[RejectedField]


class BatchResponse(Answer):
    """What became of the events of a batch."""

    status: str = Field(examples=["accepted"])
    accepted: int = Field(description="Stored now, the skipped ones included.", examples=[998])
    duplicates: int = Field(description="There before, with the same content.", examples=[2])
    skipped: list[SkippedEvent]
    conflicts: list[ConflictingEvent]
    rejected: list[RejectedEvent] = Field(description="Not stored; always empty without `partial=true`.")

    @classmethod
    def of(cls, outcome: Outcome, received: Received, **more: object) -> Self:
        """Answer a batch in ABAXUS's way: counts, and by position in the request what does not count."""
        conflicts = outcome.conflicts
        return cls.showing(
            None,
            status="accepted",
            accepted=outcome.accepted,
            duplicates=len(outcome.already) - len(conflicts),
            skipped=[
                SkippedEvent.showing(
                    None, index=received.index_of(place), id=shown_id("event", outcome.id_at(place)), reason=reason
                )
                for place, reason in outcome.skipped.items()
            ],
            conflicts=[
                ConflictingEvent.showing(
                    None,
                    index=received.index_of(place),
                    id=shown_id("event", outcome.already[place].id),
                    idempotency_key=outcome.key_at(place),
                )
                for place in conflicts
            ],
            rejected=_rejected(received),
            **more,
        )


class BoxBillingBatchResponse(Answer):
    """BoxBilling's answer to a batch."""

    ingested: int
    duplicates: int
    events: list[EventResponse]
    rejected: list[RejectedEvent]

    @classmethod
    def of(cls, outcome: Outcome, received: Received) -> Self:
        """Answer a batch in BoxBilling's way: every event as it is stored."""
        return cls.showing(
            None,
            ingested=outcome.accepted,
            duplicates=len(outcome.already),
            events=[EventResponse.fresh(event, outcome, place) for place, event in enumerate(received.events)],
            rejected=_rejected(received),
        )


class _Message(Answer):
    """What an answer begins with."""

    message: str = Field(examples=["Usage batch accepted"])


class UsageResponse(BatchResponse, _Message):
    """UsageBox's answer to a batch."""


def _rejected(received: Received) -> list[RejectedEvent]:
    return [
        RejectedEvent.showing(each, errors=[RejectedField.showing(error) for error in each.errors])
        for each in received.rejected
    ]


def _fresh(event: IngestEvent, outcome: Outcome, place: int) -> StoredEvent:
    """Return one event of a request from what was just stored, without asking Postgres for it."""
    stored = outcome.already.get(place)
    if stored is not None and stored.row is not None:
        known: dict[str, Any] = {each.name: stored.row.get(each.name) for each in fields(StoredEvent)}
        return StoredEvent(**known)
    value, reason, received_at = outcome.value_at(place), outcome.skipped.get(place), outcome.received_at
    assert received_at is not None, "it was stored"
    return StoredEvent(
        id=outcome.id_at(place),
        idempotency_key=outcome.key_at(place),
        customer_ref=event.customer_ref,
        customer_code=None,
        subscription_ref=event.subscription_ref,
        subscription_id=outcome.subscription_at(place),
        metric_ref=event.metric_ref,
        metric_key=None,
        value=None if value is None else Decimal(value),
        occurred_at=outcome.time_at(place),
        properties=event.properties,
        product_item_ref=event.item_ref,
        source=outcome.source,
        status="counted" if reason is None else "skipped",
        skip_reason=reason,
        received_at=received_at,
    )
