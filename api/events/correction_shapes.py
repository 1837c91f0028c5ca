"""Bodies and answers of corrections: amending, voiding and replacing events (C3, B108)."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self
from uuid import UUID

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.postgres.events.correction_store import CorrectionEntry
from adapters.postgres.events.ingest_events import IngestEvent
from api.events.received import Shape
from api.events.usage_events import read_events
from api.events.usage_responses import EventResponse
from api.http.answers import Answer, EventTime
from api.http.fields import Prose, Ref
from api.http.moments import InstantField
from api.http.responses import exact_instant
from billing.numbers import Quantity
from models.identifiers import shown_id
from models.problems import invalid

MOST_BACKFILLED: Final = 10_000
"""Most events in the body of a backfill."""

_JSON: Final = msgspec.json.Encoder(decimal_format="number")


class AmendEvent(BaseModel):
    """What the event is to say: a new value, new properties (they replace the old ones), or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"value": 12, "reason": "Twelve calls were sent as twenty-one."}]},
    )

    value: Quantity | None = None
    properties: dict[str, Any] | None = None
    reason: Prose | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "AmendEvent":
        if self.value is None and "value" in self.model_fields_set:
            raise ValueError("value must not be null; leave it out to keep it, or give a number")
        if self.value is None and self.properties is None:
            raise ValueError("give value or properties")
        return self


class VoidEvent(BaseModel):
    """Why the event no longer counts."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "Sent by a test run."}]})

    reason: Prose | None = None


class CorrectedEventResponse(EventResponse):
    """The event as it is now."""


class BackfillEvents(BaseModel):
    """All events of a metric in ``[from_timestamp, to_timestamp)`` are replaced by `events`, which may be none.

    `customer_id` or `subscription_id` narrow it to one customer or subscription. In `events` the metric and the
    customer or subscription may be left out.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "metric_key": "api_calls",
                    "customer_id": "cust_acme",
                    "from_timestamp": "2026-04-01T00:00:00Z",
                    "to_timestamp": "2026-04-02T00:00:00Z",
                    "reason": "The exporter counted retries.",
                    "events": [
                        {"value": 950, "timestamp": "2026-04-01T12:00:00Z", "idempotency_key": "acme-2026-04-01-v2"}
                    ],
                }
            ]
        },
    )

    metric_key: Ref
    customer_id: Ref | None = None
    subscription_id: Ref | None = None
    from_timestamp: InstantField
    to_timestamp: InstantField
    reason: Prose = Field(min_length=1)
    events: list[dict[str, Any]] = Field(max_length=MOST_BACKFILLED)


class SkippedBackfilled(Answer):
    """An event that is kept without counting."""

    index: int
    reason: str


class BackfillResponse(Answer):
    """What was done, in numbers of events."""

    id: str = Field(examples=["bkf_01hx8km4n5p6q7r8s9t0u1v2w3"])
    voided: int
    amended: int = Field(description="Kept under the same key, with other content.")
    unchanged: int
    added: int
    skipped: list[SkippedBackfilled]
    subscription_ids: list[str]


class CorrectionResponse(Answer):
    """One event that was changed, and what became of it: `pending` until a close has looked at its period again."""

    id: str
    kind: str = Field(examples=["amended", "voided", "added"])
    backfill_id: str | None
    event_id: str
    idempotency_key: str
    subscription_id: str | None
    metric_id: str | None
    timestamp: EventTime
    old_value: Decimal | None
    new_value: Decimal | None
    old_properties: dict[str, Any] | None
    new_properties: dict[str, Any] | None
    reason: str | None
    actor_type: str
    actor_id: str | None
    pending: bool
    invoice_id: str | None
    invoice_number: str | None
    created_at: datetime

    @classmethod
    def of(cls, entry: CorrectionEntry) -> Self:
        """Show a correction with what was before and after."""
        return cls.showing(
            entry,
            id=shown_id("correction", entry.id),
            backfill_id=_shown("backfill", entry.backfill_id),
            event_id=shown_id("event", entry.event_id),
            subscription_id=_shown("subscription", entry.subscription_id),
            metric_id=_shown("metric", entry.metric_id),
            timestamp=exact_instant(entry.occurred_at),
            pending=entry.settled_at is None,
            invoice_id=_shown("invoice", entry.settled_by),
        )


def read_backfilled(body: BackfillEvents) -> Sequence[IngestEvent]:
    """Read the events of a backfill as ingestion reads a batch; what they leave out is the backfill's.

    Raises `Problem` 422 for malformed events and for one outside the window, of another metric or of somebody else.
    """
    if not body.events:
        return ()
    own = _owner(body)
    wire = [{"metric_key": body.metric_key, **own, **event} for event in body.events]
    read = read_events(_JSON.encode(wire), Shape(most=MOST_BACKFILLED)).events
    for place, event in enumerate(read):
        if event.occurred_at is None or not body.from_timestamp <= event.occurred_at < body.to_timestamp:
            raise invalid(f"events.{place}.timestamp", "must lie in [from_timestamp, to_timestamp)")
        if event.metric_ref != body.metric_key:
            raise invalid(f"events.{place}.metric_key", "must be the backfill's metric")
        if body.customer_id is not None and event.customer_ref != body.customer_id:
            raise invalid(f"events.{place}.customer_id", "must be the backfill's customer")
        if body.subscription_id is not None and event.subscription_ref != body.subscription_id:
            raise invalid(f"events.{place}.subscription_id", "must be the backfill's subscription")
    return read


def _owner(body: BackfillEvents) -> dict[str, str]:
    given = {"customer_id": body.customer_id, "subscription_id": body.subscription_id}
    return {name: ref for name, ref in given.items() if ref is not None}


def _shown(kind: str, own: UUID | None) -> str | None:
    return None if own is None else shown_id(kind, own)
