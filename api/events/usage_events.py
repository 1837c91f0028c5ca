"""Events as the four systems write them, read into one form (conflicts C7).

The usual bodies are read by a typed decoder in one pass. Whatever it does not take goes the slow way, which knows every
tolerated form and names each mistake with the position of its event.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from adapters.postgres.events.ingest_events import IngestEvent
from api.events.received import ParsedEvent, Received, Shape, received_of, too_many, wrong_body
from api.http.exact_json import DEEPEST_NESTING, LONGEST_NUMBER, read_json, says_keys_once
from api.http.moments import WithoutOffset, read_moment
from billing.numbers import NotANumber, parse_decimal, plain
from models.problems import FieldError

Ref = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

_PLAIN_NUMBER: Final = re.compile(rb"-?[0-9]{1,20}(?:\.[0-9]{1,18})?")
_LONG_DIGITS: Final = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
#: Seconds since 1970, before the year 2286, with six decimals at most.
_EPOCH: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WireEvent(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Every name that a seed gives to a part of an event."""

    metric_key: Ref | None = None
    code: Ref | None = None
    metric: Ref | None = None
    meter: Ref | None = None
    meter_id: Ref | None = None
    metric_id: Ref | None = None
    customer_id: Ref | None = None
    external_customer_id: Ref | None = None
    customerId: Ref | None = None
    subscription_id: Ref | None = None
    subscription: Ref | None = None
    external_subscription_id: Ref | None = None
    product_item: Ref | None = None
    product_item_id: Ref | None = None
    value: msgspec.Raw = msgspec.Raw(b"")
    quantity: msgspec.Raw = msgspec.Raw(b"")
    amount: msgspec.Raw = msgspec.Raw(b"")
    timestamp: datetime | None = None
    occurred_at: datetime | None = None
    idempotency_key: Ref | None = None
    transaction_id: Ref | None = None
    properties: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _WireBatch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[WireEvent]


class _Slow(ValueError):
    """What the typed decoder reads, but only the slow way judges."""


def _float(text: str) -> Decimal:
    value = Decimal(text)
    if len(text) > LONGEST_NUMBER or (value and abs(value.adjusted()) > LONGEST_NUMBER):
        raise _Slow(text[:20])
    return value


_SINGLE: Final = msgspec.json.Decoder(WireEvent, float_hook=_float)
_LIST: Final = msgspec.json.Decoder(list[WireEvent], float_hook=_float)
_BATCH: Final = msgspec.json.Decoder(_WireBatch, float_hook=_float)
_ENCODER: Final = msgspec.json.Encoder()


def read_events(body: bytes, shape: Shape) -> Received:
    """Read the events of a body: one object, `{"events": [...]}` or a bare array, as the shape allows.

    Raises ``Problem`` 400 ``malformed_json``, or 422 with every wrong field: all events are taken, or none.
    """
    try:
        return _quick(body, shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _Slow):
        return _careful(read_json(body), shape)


def _quick(body: bytes, shape: Shape) -> Received:
    if rb"\u0000" in body:
        raise _Slow
    if shape.single:
        read: WireEvent | list[WireEvent] | _WireBatch = _SINGLE.decode(body)
    else:
        read = _LIST.decode(body) if body.lstrip()[:1] == b"[" else _BATCH.decode(body)
    wire = [read] if isinstance(read, WireEvent) else read.events if isinstance(read, _WireBatch) else read
    if not 0 < len(wire) <= shape.most:
        raise _Slow
    if not says_keys_once(body, _ENCODER.encode(read)):
        raise _Slow
    if any(each.properties or each.metadata for each in wire) and _is_suspicious(body, len(wire)):
        raise _Slow
    needs_value = shape.needs_value
    events = [_event(each, needs_value) for each in wire]
    return Received(events, wire[0].transaction_id is not None, not shape.single)


def _is_suspicious(body: bytes, events: int) -> bool:
    """Tell cheaply whether properties may hold a number that is too long, or nest too deeply."""
    brackets = body.count(b"[") + body.count(b"{")
    return brackets > 3 * events + DEEPEST_NESTING or _LONG_DIGITS.search(body) is not None


def _event(wire: WireEvent, needs_value: bool) -> IngestEvent:
    """Take an event over if everything in it is in its plainest form."""
    metric = wire.metric_key or wire.code or wire.metric or wire.meter or wire.meter_id or wire.metric_id
    customer = wire.customer_id or wire.external_customer_id or wire.customerId
    subscription = wire.subscription_id or wire.subscription or wire.external_subscription_id
    raw = bytes(wire.value) or bytes(wire.quantity) or bytes(wire.amount)
    if metric is None or (customer is None and subscription is None):
        raise _Slow
    if raw:
        if not _PLAIN_NUMBER.fullmatch(raw):
            raise _Slow
    elif needs_value:
        raise _Slow
    key = wire.idempotency_key or wire.transaction_id
    if key is not None and unreachable(key):
        raise _Slow
    at = wire.timestamp or wire.occurred_at
    if at is not None and (at.tzinfo is None or at.year < 1971):
        raise _Slow
    return IngestEvent(
        metric,
        customer,
        subscription,
        wire.product_item or wire.product_item_id,
        key,
        raw.decode() if raw else None,
        wire.properties if wire.properties is not None else wire.metadata,
        at,
    )


def _careful(document: Any, shape: Shape) -> Received:
    """Read a document whatever its form, and name everything that is wrong with it."""
    items = _items(document, shape)
    read = []
    for position, item in enumerate(items):
        reader = _Reader(item, "" if shape.single else f"events.{position}.")
        read.append(ParsedEvent(reader.event(shape), reader.errors))
    boxbilling = any(isinstance(item, Mapping) and "transaction_id" in item for item in items[:1])
    return received_of(read, shape, boxbilling=boxbilling)


def _items(document: Any, shape: Shape) -> list[Any]:
    if shape.single:
        return [document]
    items = document
    if isinstance(document, Mapping):
        unknown = sorted(set(document) - {"events"})
        if unknown and "events" in document:
            raise wrong_body(unknown[0], "is not a field of a batch; it has `events`", "unknown_field")
        items = document.get("events", [document] if document else None)
    if not isinstance(items, list):
        raise wrong_body("events", 'send a list of events, or {"events": [...]}')
    if not items:
        raise wrong_body("events", "a batch holds at least one event")
    if len(items) > shape.most:
        raise too_many(shape, len(items))
    return items


_METRIC: Final = ("metric_key", "code", "metric", "meter", "meter_id", "metric_id")
_CUSTOMER: Final = ("customer_id", "external_customer_id", "customerId")
_SUBSCRIPTION: Final = ("subscription_id", "subscription", "external_subscription_id")
_ITEM: Final = ("product_item", "product_item_id")
_VALUE: Final = ("value", "quantity", "amount")
_TIME: Final = ("timestamp", "occurred_at")
_KEY: Final = ("idempotency_key", "transaction_id")
_PROPERTIES: Final = ("properties", "metadata")
_KNOWN: Final = frozenset(WireEvent.__struct_fields__)


UNREACHABLE: Final = "names the event in paths, so it must hold no / and not be ., .., corrections or volume"
_NO_EVENTS: Final = frozenset({".", "..", "corrections", "volume"})


def unreachable(key: str) -> bool:
    """Return whether no path could name the event."""
    return "/" in key or key in _NO_EVENTS


def code_of(error: ValueError) -> str:
    """Return the code of a refused event time."""
    return WithoutOffset.code if isinstance(error, WithoutOffset) else "invalid_timestamp"


class _Reader:
    """Reads one event and collects what is wrong with it."""

    def __init__(self, item: Any, where: str) -> None:
        self.item = item
        self.where = where
        self.errors: list[FieldError] = []

    def event(self, shape: Shape) -> IngestEvent | None:
        """Return the event, or None with ``errors`` filled."""
        if not isinstance(self.item, Mapping):
            self._wrong("", "an event is a JSON object", "invalid_type")
            return None
        for name in self.item.keys() - _KNOWN:
            self._wrong(str(name)[:100], "is not a field of an event", "unknown_field")
        metric = self._first(_METRIC, self._reference)
        customer = self._first(_CUSTOMER, self._reference)
        subscription = self._first(_SUBSCRIPTION, self._reference)
        if metric is None and not self._said(_METRIC):
            self._wrong("metric_key", "name the metric", "missing")
        if customer is None and subscription is None and not self._said((*_CUSTOMER, *_SUBSCRIPTION)):
            self._wrong("customer_id", "name the customer or the subscription", "missing")
        value = self._first(_VALUE, self._number)
        if value is None and shape.needs_value and not self._said(_VALUE):
            self._wrong("value", "give the quantity", "missing")
        event = IngestEvent(
            metric or "",
            customer,
            subscription,
            self._first(_ITEM, self._reference),
            self._first(_KEY, self._key),
            value,
            self._first(_PROPERTIES, self._object),
            self._first(_TIME, self._instant),
        )
        return None if self.errors else event

    def _wrong(self, field: str, message: str, code: str) -> None:
        self.errors.append(FieldError(f"{self.where}{field}".rstrip(".") or "body", message, code))

    def _said(self, names: Sequence[str]) -> bool:
        return any(self.item.get(name) is not None or (names is _VALUE and name in self.item) for name in names)

    def _first(self, names: Sequence[str], read: Callable[[str, Any], Any]) -> Any:
        """Read the first of several synonyms that was given; null says nothing, but for a value."""
        for name in names:
            value = self.item.get(name)
            if value is not None or (names is _VALUE and name in self.item):
                return read(name, value)
        return None

    def _reference(self, name: str, value: Any) -> str | None:
        if isinstance(value, str) and 1 <= len(value) <= 255:
            return value
        self._wrong(name, "must be a text of 1 to 255 characters", "invalid_reference")
        return None

    def _key(self, name: str, value: Any) -> str | None:
        key = self._reference(name, value)
        if key is None or not unreachable(key):
            return key
        self._wrong(name, UNREACHABLE, "invalid_reference")
        return None

    def _number(self, name: str, value: Any) -> str | None:
        try:
            if value is None:
                raise NotANumber("must not be null; leave it out, or give a number")
            if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
                raise NotANumber("must be a number")
            text = value if isinstance(value, str) else plain(Decimal(value))
            return plain(parse_decimal(text))
        except NotANumber as error:
            self._wrong(name, str(error), "not_a_number")
            return None

    def _instant(self, name: str, value: Any) -> datetime | None:
        try:
            at = self._epoch(value)
            at = read_moment(value).instant("UTC") if at is None else at
        except ValueError as error:
            self._wrong(name, str(error), code_of(error))
            return None
        if at < EARLIEST:
            self._wrong(name, "must not be before 1970", "invalid_timestamp")
            return None
        return at

    def _epoch(self, value: Any) -> datetime | None:
        """Read seconds since 1970, which events with a `transaction_id` (BoxBilling's) may say; None for others."""
        if "transaction_id" not in self.item or isinstance(value, bool) or not _EPOCH.fullmatch(str(value)):
            return None
        return EARLIEST + timedelta(microseconds=int(Decimal(str(value)) * 1_000_000))

    def _object(self, name: str, value: Any) -> dict[str, Any] | None:
        if isinstance(value, dict):
            return value
        self._wrong(name, "must be a JSON object", "invalid_type")
        return None
