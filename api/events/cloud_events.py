"""CloudEvents 1.0 as usage events: structured, batched, and binary (attributes in headers).

| attribute | becomes |
|---|---|
| `source` and `id` | the idempotency key: the pair, written as a JSON array, so that no two pairs look alike |
| `type` | the metric |
| `subject` | the customer |
| extension `subscriptionid` | the subscription, named instead of the customer or beside it |
| `time` | the event's time; without it, the customer's now |
| `data` | a number is the value; an object is the properties, in which the metric finds its value |

Other extensions (`traceparent`, ...) are legal, say nothing about usage, and are not kept.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote

from fastapi import Request

from adapters.postgres.events.ingest_events import IngestEvent
from api.events.received import ParsedEvent, Received, Shape, received_of, too_many
from api.events.usage_events import EARLIEST, code_of
from api.http.exact_json import read_json
from api.http.moments import read_moment
from billing.numbers import NotANumber, parse_decimal, plain
from models.problems import FieldError, Problem, invalid

STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"

_PREFIX: Final = "ce-"
_VERSION: Final = "1.0"
_LONGEST: Final = 255


def is_cloud_event(media_type: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request holds CloudEvents in any of their three forms."""
    return media_type.startswith("application/cloudevents") or f"{_PREFIX}specversion" in headers


def is_batch(request: Request) -> bool:
    """Return whether a request holds a batch of CloudEvents."""
    return media_type_of(request.headers.get("content-type", "")) == BATCHED


def read_cloud_events(body: bytes, media_type: str, headers: Mapping[str, str], shape: Shape) -> Received:
    """Read the CloudEvents of a request; ``shape`` says how many a batch may hold, and whether good ones go alone.

    Raises ``Problem`` 400 for what is no JSON, 415 for another CloudEvents format, 422 with every wrong attribute.
    """
    if media_type == BATCHED:
        items = read_json(body)
        if not isinstance(items, list) or not items:
            raise invalid("body", "a batch is a list of at least one event")
        if len(items) > shape.most:
            raise too_many(shape, len(items))
        return received_of([_read(item, f"events.{place}.") for place, item in enumerate(items)], shape)
    if media_type == STRUCTURED:
        document = read_json(body)
    elif media_type.startswith("application/cloudevents"):
        raise Problem(415, "unsupported_media_type", f"{media_type[:80]} is not taken; send {STRUCTURED}.")
    else:
        document = _from_headers(body, media_type, headers)
    return received_of([_read(document, "")], Shape(most=1, single=True))


def _from_headers(body: bytes, media_type: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return an event in binary mode the form of a structured one; header values are percent-encoded."""
    document: dict[str, Any] = {
        name[len(_PREFIX) :]: unquote(value) for name, value in headers.items() if name.startswith(_PREFIX)
    }
    if media_type:
        document["datacontenttype"] = media_type
    if body and _is_json(media_type):
        document["data"] = read_json(body)
    return document


def _is_json(media_type: str) -> bool:
    return media_type in ("", "application/json") or media_type.endswith("+json")


def _read(item: Any, where: str) -> ParsedEvent:
    reader = _Reader(item, where)
    event = reader.event()
    return ParsedEvent(None, reader.errors) if event is None or reader.errors else ParsedEvent(event, ())


@dataclass
class _Reader:
    """Reads one event and collects what is wrong with it."""

    item: Any
    where: str

    def __post_init__(self) -> None:
        self.errors: list[FieldError] = []

    def event(self) -> IngestEvent | None:
        """Return the event, or None with ``errors`` filled."""
        if not isinstance(self.item, Mapping):
            self._wrong("", "an event is a JSON object", "invalid_type")
            return None
        if self.item.get("specversion") != _VERSION:
            self._wrong("specversion", f"must be {_VERSION!r}", "unsupported_version")
        key = json.dumps([self._text("source"), self._text("id")], ensure_ascii=False, separators=(",", ":"))
        subscription = self._text("subscriptionid", required=False)
        value, properties = self._data()
        return IngestEvent(
            self._text("type") or "",
            self._text("subject", required=subscription is None),
            subscription,
            None,
            key,
            value,
            properties,
            self._time(),
        )

    def _wrong(self, field: str, message: str, code: str) -> None:
        self.errors.append(FieldError(f"{self.where}{field}".rstrip(".") or "body", message, code))

    def _text(self, name: str, *, required: bool = True) -> str | None:
        value = self.item.get(name)
        if isinstance(value, str) and 1 <= len(value) <= _LONGEST:
            return value
        if required or value is not None:
            code = "missing" if value is None else "invalid_attribute"
            self._wrong(name, f"must be a text of 1 to {_LONGEST} characters", code)
        return None

    def _time(self) -> Any:
        value = self.item.get("time")
        if value is None:
            return None
        try:
            at = read_moment(value).instant("UTC")
        except ValueError as error:
            self._wrong("time", str(error), code_of(error))
            return None
        if at < EARLIEST:
            self._wrong("time", "must not be before 1970", "invalid_timestamp")
        return at

    def _data(self) -> tuple[str | None, dict[str, Any] | None]:
        """Return the value and the properties that the data mean."""
        kind = self.item.get("datacontenttype")
        if "data_base64" in self.item or (isinstance(kind, str) and not _is_json(media_type_of(kind))):
            self._wrong("data", "must be JSON: an object of properties, or a number", "invalid_data")
            return None, None
        data = self.item.get("data")
        if isinstance(data, dict) or "data" not in self.item:
            return None, data
        if isinstance(data, bool) or not isinstance(data, int | Decimal):
            self._wrong("data", "must be an object of properties, or a number", "invalid_data")
            return None, None
        try:
            return plain(parse_decimal(plain(Decimal(data)))), None
        except NotANumber as error:
            self._wrong("data", str(error), "not_a_number")
            return None, None


def media_type_of(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()
