"""Hard limits and reservations as bodies and answers: quantities are exact numbers, spend is minor units."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from adapters.postgres.limits.limit_usage import Limit, LimitUsage
from adapters.postgres.limits.reservation_commit_store import FinishedReservation
from adapters.postgres.limits.reservation_store import Reserved
from adapters.postgres.rows import Row
from api.http.fields import ExactNumber, JsonObject, Ref
from billing.limits import LimitStatus
from billing.numbers import NonNegative, Positive
from models.identifiers import shown_id

DEFAULT_TTL_SECONDS: Final = 300
LONGEST_TTL_SECONDS: Final = 86_400

Ttl = Annotated[int, Field(ge=1, le=LONGEST_TTL_SECONDS, strict=True)]


class LimitBody(BaseModel):
    """A new cap: units of a metric, or minor units of the plan's currency for the spend of the period's usage."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"kind": "metric", "metric_key": "api_calls", "cap": 1000000},
                {"kind": "spend", "cap": 50000},
            ]
        },
    )

    kind: Literal["metric", "spend"] = "metric"
    metric_key: Ref | None = Field(default=None, description="The capped metric: its key, id or uuid.")
    cap: NonNegative

    @model_validator(mode="after")
    def _metric_or_spend(self) -> Self:
        if (self.kind == "metric") != (self.metric_key is not None):
            raise ValueError("a metric limit names its metric_key, and a spend limit names none")
        if self.kind == "spend" and self.cap != self.cap.to_integral_value():
            raise ValueError("the cap of a spend limit is whole minor units: 50000 is 500.00 dollars")
        return self


class LimitChange(BaseModel):
    """Another cap; what is capped is fixed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"cap": 2000000}]})

    cap: NonNegative


class LimitDocument(BaseModel):
    """A limit, and how it stands in the current period."""

    id: str = Field(examples=["lim_01kah7xnvbe2mv5gm2a5grmcwe"])
    uuid: str
    subscription_id: str
    kind: Literal["metric", "spend"]
    metric_key: str | None = Field(examples=["api_calls"])
    currency: str | None = Field(description="Of a spend limit.", examples=[None])
    cap: ExactNumber = Field(examples=[50])
    used: ExactNumber = Field(examples=[20])
    reserved: ExactNumber = Field(examples=[10])
    left: ExactNumber = Field(examples=[20])
    period_start: datetime
    period_end: datetime = Field(description="Exclusive: from then on the next period counts.")
    created_at: datetime
    updated_at: datetime


def limit_document(row: Row[Any], limit: Limit, counter: LimitUsage) -> dict[str, Any]:
    """Write a limit's row with how it stands."""
    return {
        **_standing(limit, counter.standing(limit), counter),
        "uuid": row.id,
        "subscription_id": shown_id("subscription", row.subscription_id),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _standing(limit: Limit, standing: LimitStatus, counter: LimitUsage) -> dict[str, Any]:
    is_spend = limit.metric_id is None
    return {
        "id": shown_id("usage_limit", limit.id),
        "kind": "spend" if is_spend else "metric",
        "metric_key": limit.metric_key,
        "currency": counter.version.currency if is_spend else None,
        "cap": standing.cap,
        "used": standing.used,
        "reserved": standing.reserved,
        "left": standing.left,
        "period_start": counter.period.start,
        "period_end": counter.period.end,
    }


class ReservationBody(BaseModel):
    """Quantity to take from the caps before the work is done."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"metric": "api_calls", "quantity": 10, "ttl_seconds": 60}]}
    )

    metric: Ref = Field(description="The metric's key, id or uuid.")
    quantity: Positive
    ttl_seconds: Ttl = Field(default=DEFAULT_TTL_SECONDS, description="When it expires unless it is settled.")
    properties: JsonObject | None = Field(
        default=None, description="Those of the event to come; filters and dynamic prices read them."
    )


class CommitBody(BaseModel):
    """What was really used: at most what was reserved, which is the default."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"quantity": 7, "idempotency_key": "job_42"}]}
    )

    quantity: Positive | None = None
    idempotency_key: Ref | None = Field(default=None, description="Of the event; the reservation's id by default.")
    properties: JsonObject | None = Field(default=None, description="In place of those of the reservation.")


class LimitUsageDocument(BaseModel):
    """How a limit stands with the reservation."""

    id: str
    kind: Literal["metric", "spend"]
    metric_key: str | None
    currency: str | None
    cap: ExactNumber
    used: ExactNumber
    reserved: ExactNumber
    left: ExactNumber
    period_start: datetime
    period_end: datetime


class ReservationDocument(BaseModel):
    """A reservation; ``limits`` is there when it was just made."""

    id: str = Field(examples=["resv_01kah7xnvbe2mv5gm2a5grmcwe"])
    subscription_id: str
    metric_key: str = Field(examples=["api_calls"])
    quantity: ExactNumber = Field(examples=[10])
    status: Literal["open", "committed", "released", "expired"]
    expires_at: datetime
    committed_quantity: ExactNumber | None
    event_id: str | None
    skip_reason: str | None = Field(default=None, description="Why the committed event does not count, if so.")
    properties: dict[str, Any] | None
    created_at: datetime
    limits: list[LimitUsageDocument] | None = None


def reserved_document(made: Reserved) -> dict[str, Any]:
    """Write a reservation that was just made, with the limits that it keeps."""
    return {
        "id": shown_id("reservation", made.id),
        "subscription_id": shown_id("subscription", made.subscription_id),
        "metric_key": made.metric_key,
        "quantity": made.quantity,
        "status": "open",
        "expires_at": made.expires_at,
        "committed_quantity": None,
        "event_id": None,
        "properties": made.properties,
        "created_at": made.created_at,
        "limits": [_standing(*each) for each in made.standings],
    }


def settled_document(settled: FinishedReservation) -> dict[str, Any]:
    """Write a reservation that was just committed or released."""
    return {**reservation_document(settled.values), "skip_reason": settled.skip_reason}


def reservation_document(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a reservation from its columns."""
    event: Any = values["event_id"]
    committed: Decimal | None = values["committed_quantity"]
    return {
        "id": shown_id("reservation", values["id"]),
        "subscription_id": shown_id("subscription", values["subscription_id"]),
        "metric_key": values["metric_key"],
        "quantity": values["quantity"],
        "status": values["status"],
        "expires_at": values["expires_at"],
        "committed_quantity": committed,
        "event_id": None if event is None else shown_id("event", event),
        "properties": values["properties"],
        "created_at": values["created_at"],
    }
