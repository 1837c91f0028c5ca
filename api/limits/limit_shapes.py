"""Hard limits and reservations as bodies and answers: quantities are exact numbers, spend is minor units."""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from adapters.postgres.limits.limit_usage import Limit, LimitUsage
from adapters.postgres.limits.reservation_commit_store import FinishedReservation, Reservation
from adapters.postgres.limits.reservation_store import Reserved
from api.events.usage_events import UNREACHABLE, unreachable
from api.http.answers import Answer
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


class LimitUsageDocument(Answer):
    """How a limit stands, with the reservation that is answered."""

    id: str = Field(examples=["lim_01kah7xnvbe2mv5gm2a5grmcwe"])
    kind: Literal["metric", "spend"]
    metric_key: str | None = Field(examples=["api_calls"])
    currency: str | None = Field(description="Of a spend limit.", examples=[None])
    cap: ExactNumber = Field(examples=[50])
    used: ExactNumber = Field(examples=[20])
    reserved: ExactNumber = Field(examples=[10])
    left: ExactNumber = Field(examples=[20])
    period_start: datetime
    period_end: datetime = Field(description="Exclusive: from then on the next period counts.")

    @classmethod
    def of(cls, limit: Limit, status: LimitStatus, usage: LimitUsage) -> Self:
        """Return the answer for a limit that has a status in the period of `usage`."""
        is_spend = limit.metric_id is None
        return cls.showing(
            status,
            id=shown_id("usage_limit", limit.id),
            kind="spend" if is_spend else "metric",
            metric_key=limit.metric_key,
            currency=usage.version.currency if is_spend else None,
            period_start=usage.period.start,
            period_end=usage.period.end,
            **cls.more(limit),
        )

    @classmethod
    def more(cls, limit: Limit) -> dict[str, object]:
        """Return the fields that a subclass has beside these."""
        del limit
        return {}


class LimitDocument(LimitUsageDocument):
    """A limit, and how it stands in the current period."""

    uuid: UUID
    subscription_id: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def more(cls, limit: Limit) -> dict[str, object]:
        """Return the fields of the limit itself."""
        return {
            "uuid": limit.id,
            "subscription_id": shown_id("subscription", limit.subscription_id),
            "created_at": limit.created_at,
            "updated_at": limit.updated_at,
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


def _reachable(key: str) -> str:
    if unreachable(key):
        raise ValueError(UNREACHABLE)
    return key


EventKey = Annotated[Ref, AfterValidator(_reachable)]


class CommitBody(BaseModel):
    """What was really used: at most what was reserved, which is the default."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"quantity": 7, "idempotency_key": "job_42"}]}
    )

    quantity: Positive | None = None
    idempotency_key: EventKey | None = Field(default=None, description="Of the event; the reservation's id by default.")
    properties: JsonObject | None = Field(default=None, description="In place of those of the reservation.")


class ReservationDocument(Answer):
    """A reservation."""

    id: str = Field(examples=["resv_01kah7xnvbe2mv5gm2a5grmcwe"])
    subscription_id: str
    metric_key: str = Field(examples=["api_calls"])
    quantity: ExactNumber = Field(examples=[10])
    status: Literal["open", "committed", "released", "expired"]
    expires_at: datetime
    committed_quantity: ExactNumber | None
    event_id: str | None
    properties: JsonObject | None
    created_at: datetime

    @classmethod
    def of(cls, found: Reservation | Reserved, **more: object) -> Self:
        """Return the answer for a reservation; `more` are fields that a subclass has beside it."""
        event = found.event_id
        return cls.showing(
            found,
            id=shown_id("reservation", found.id),
            subscription_id=shown_id("subscription", found.subscription_id),
            event_id=None if event is None else shown_id("event", event),
            **more,
        )


class ReservedDocument(ReservationDocument):
    """A reservation that was just made, with the limits that it keeps."""

    limits: list[LimitUsageDocument]

    @classmethod
    def made(cls, reserved: Reserved) -> Self:
        """Return the answer for a reservation that was just made."""
        return cls.of(reserved, limits=[LimitUsageDocument.of(*each) for each in reserved.standings])


class SettledDocument(ReservationDocument):
    """A reservation that was just committed or released."""

    skip_reason: str | None = Field(description="Why the committed event does not count, if so.")

    @classmethod
    def settled(cls, finished: FinishedReservation) -> Self:
        """Return the answer for a reservation that was just settled."""
        return cls.of(finished.reservation, skip_reason=finished.skip_reason)
