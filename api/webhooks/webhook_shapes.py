"""Bodies and answers of webhook endpoints and of what was delivered to them (seeds 003, 004; conflicts C26)."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from adapters.postgres.rows import Columns
from adapters.postgres.webhooks.webhook_store import Delivery, DeliveryAttempt, DeliveryStats
from adapters.webhooks.guard import LONGEST_URL
from api.http.answers import Answer
from api.http.fields import AnyCase
from models.identifiers import parse_id
from models.webhook_types import TYPE_NAMES

Status = Literal["active", "disabled"]
DeliveryStatus = Literal["pending", "succeeded", "failed"]
_Url = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_URL), Field(examples=["https://acme.io/hooks"])
]


_ALL_ABOUT: Final = tuple(sorted({f"{name.partition('.')[0]}.*" for name in TYPE_NAMES}))


def _known_type(name: str) -> str:
    """Refuse a type that nothing is ever told by; a misspelled one would be waited for in vain."""
    if name == "*" or name in TYPE_NAMES or name in _ALL_ABOUT:
        return name
    close = get_close_matches(name, (*TYPE_NAMES, *_ALL_ABOUT), n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    raise ValueError(f"{name!r} is no type of webhook{meant}; GET /openapi.json lists them under webhooks")


_EventType = Annotated[str, StringConstraints(max_length=100), AfterValidator(_known_type)]
_Events = Annotated[
    list[_EventType],
    Field(
        max_length=200,
        description="Types to send, such as `invoice.paid` or `invoice.*`; every one if it is empty, left out or "
        "holds `*`.",
    ),
]
#: Postgres and the audit log know it in every time zone.
_Instant = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(2201, 1, 1, tzinfo=UTC))]
_EVENTS: list[JsonValue] = ["invoice.created", "invoice.paid", "invoice.failed", "subscription.suspended"]


class WebhookEndpointUpdate(BaseModel):
    """What may be changed of an endpoint; a field that is left out or null stays as it is."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"status": "disabled"}]})

    url: _Url | None = None
    events: _Events | None = None
    signature_algo: Annotated[Literal["hmac"], AnyCase] | None = None
    status: Annotated[Status, AnyCase] | None = Field(None, description="Nothing new is sent to a disabled one.")

    def columns(self) -> Columns:
        """Return the columns of ``webhook_endpoints`` that the body sets."""
        given = self.model_dump(exclude_none=True)
        if "events" in given:
            given["events"] = [] if "*" in given["events"] else sorted(set(given["events"]))
        return given


class WebhookEndpointCreate(WebhookEndpointUpdate):
    """A new endpoint."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://acme.io/hooks", "events": _EVENTS, "signature_algo": "hmac"}]}
    )

    url: _Url


class WebhookEndpointResponse(Answer):
    """Where webhooks are sent."""

    id: UUID
    url: str = Field(examples=["https://acme.io/hooks"])
    events: list[str] = Field(description="Empty: every type.", examples=[_EVENTS])
    signature_algo: str = Field(examples=["hmac"])
    status: Status
    disabled_reason: str | None = Field(description="Why Durabill disabled it; null if somebody else did.")
    failing_since: datetime | None = Field(description="The first failed attempt since something was last accepted.")
    old_secret_until: datetime | None = Field(description="Until when the secret before the present one signs as well.")
    created_at: datetime
    updated_at: datetime


class WebhookEndpointCreated(WebhookEndpointResponse):
    """A new endpoint with its signing secret, which is shown this once."""

    secret: str = Field(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


class SecretRotation(BaseModel):
    """How long the old secret signs beside the new one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_hours": 24}]})

    overlap_hours: Annotated[
        int, Field(strict=True, ge=0, le=168, description="0: the old one stops signing at once.")
    ] = 24


class ReplayRequest(BaseModel):
    """What to send again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"since": "2026-05-01T00:00:00Z", "status": "failed"}]}
    )

    since: _Instant = Field(description="When the first message was recorded (wall time), inclusive.")
    until: _Instant | None = Field(None, description="Exclusive; now, if left out.")
    types: _Events = Field([], description="Types to send; those that the endpoint asks for if empty or left out.")
    status: Annotated[Literal["failed", "all"], AnyCase] = Field(
        "failed",
        description="`failed`: what failed, tried again by now or not, and what came while the endpoint was disabled. "
        "`all`: what succeeded as well, and what was said before the endpoint was there.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until is not None and self.until <= self.since:
            raise ValueError("until must be after since")
        return self


class ReplayResponse(Answer):
    """How many deliveries are on their way."""

    replayed: int = Field(ge=0, examples=[12])
    next_since: datetime | None = Field(description="There were more than 10,000: send `since` again with this value.")


class EndpointDeliveryStats(Answer):
    """How the deliveries to one endpoint stand."""

    endpoint_id: str
    url: str = Field(examples=["https://acme.io/hooks"])
    total: int = Field(examples=[200])
    succeeded: int = Field(examples=[197])
    failed: int = Field(description="The last attempt failed; another may follow.", examples=[2])
    pending: int = Field(description="Not tried yet.", examples=[1])
    attempts: int = Field(description="All of them.", examples=[204])
    success_rate: Decimal = Field(
        description="Percent of those tried, with two decimals; 0 if none was.", examples=[98.99]
    )
    failing_since: datetime | None

    @classmethod
    def of(cls, stats: DeliveryStats) -> Self:
        """Return the answer that shows how an endpoint's deliveries stand."""
        tried = stats.succeeded + stats.failed
        rate = Decimal(0) if tried == 0 else Decimal(100 * stats.succeeded) / tried
        return cls.showing(stats, endpoint_id=str(stats.id), success_rate=rate.quantize(Decimal("0.01"), ROUND_HALF_UP))


#: What the id of the object is called in the data of some types.
_ID_OF: Final = {"usage_alert": "alert_id", "usage_threshold": "threshold_id"}


class WebhookResponse(Answer):
    """One message on its way to one endpoint."""

    id: UUID
    message_id: str = Field(description="What `webhook-id` says: the same for every endpoint and attempt.")
    webhook_endpoint_id: UUID
    endpoint_id: UUID = Field(description="The same as webhook_endpoint_id.")
    webhook_type: str = Field(examples=["invoice.created"])
    object_type: str | None = Field(examples=["invoice"])
    object_id: UUID | None
    payload: dict[str, Any]
    sequence: int = Field(description="Counts the messages about one resource, from 1.")
    status: DeliveryStatus
    attempts: int
    retries: int = Field(description="Attempts after the first one.")
    max_retries: int = Field(description="Attempts after the first one that are made without being asked for.")
    last_retried_at: datetime | None
    next_retry_at: datetime | None = Field(description="Null: no attempt follows by itself.")
    http_status: int | None
    response: str | None = Field(description="How the last answer began.")
    error_message: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Delivery, *, max_retries: int) -> Self:
        """Return the answer that shows a delivery with its message."""
        object_type = row.webhook_type.partition(".")[0]
        return cls.showing(
            row,
            webhook_endpoint_id=row.endpoint_id,
            object_type=object_type,
            object_id=parse_id(str(row.payload["data"].get(_ID_OF.get(object_type, f"{object_type}_id")))),
            retries=max(0, row.attempts - 1),
            max_retries=max_retries,
            last_retried_at=row.last_attempt_at if row.attempts > 1 else None,
            next_retry_at=row.next_attempt_at,
            http_status=row.last_http_status,
            response=row.last_response,
            error_message=row.last_error,
        )


class WebhookDeliveryAttemptResponse(Answer):
    """One attempt."""

    id: UUID
    webhook_id: UUID
    attempt_number: int
    http_status: int | None
    response_body: str | None
    success: bool
    error_message: str | None
    error: str | None = Field(description="The same as error_message.")
    duration_ms: int
    attempted_at: datetime

    @classmethod
    def of(cls, row: DeliveryAttempt) -> Self:
        """Return the answer that shows one attempt."""
        return cls.showing(row, webhook_id=row.delivery_id, attempt_number=row.number, error_message=row.error)
