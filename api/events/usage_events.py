"""Events as the four systems write them, read into one form (conflicts C7).

The usual bodies are read by a typed decoder in one pass. Whatever it does not take goes the slow way, which knows every
tolerated form and names each mistake with the position of its event.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from adapters.postgres.events.ingest_events import IngestEvent
from api.http.exact_json import DEEPEST_NESTING, LONGEST_NUMBER, read_json
from api.http.moments import read_moment
from billing.numbers import NotANumber, parse_decimal, plain
from models.problems import FieldError, Problem

Ref = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

_PLAIN_NUMBER: Final = re.compile(rb"-?[0-9]{1,20}(?:\.[0-9]{1,18})?")
_LONG_DIGITS: Final = re.compile(rb"[0-9]{%d}" % (LONGEST_NUMBER + 1))
_MOST_LISTED: Final = 100
#: Seconds since 1970, before the year 2286, with six decimals at most.
_EPOCH: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WireEvent(msgspec.Struct, forbid_unknown_fields=True):
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


@dataclass(frozen=True)
class Shape:
    """What one route takes: how many events, what must be in each, and whether good ones are taken without the bad."""

    most: int
    needs_value: bool = False
    single: bool = False
    partial: bool = False


@dataclass(frozen=True)
class Rejected:
    """An event of a batch that was not taken while others were, by its position in the request."""

    index: int
    errors: Sequence[FieldError]


@dataclass(frozen=True)
class Received:
    """The events of a body, and whether it was written in BoxBilling's words (`transaction_id` and `code`).

    ``indexes`` are their positions in the request where some of it was rejected.
    """

    events: Sequence[IngestEvent]
    boxbilling: bool
    batch: bool = False
    indexes: Sequence[int] | None = None
    rejected: Sequence[Rejected] = ()

    def index_of(self, place: int) -> int:
        """Return the position in the request of the event at a place."""
        return place if self.indexes is None else self.indexes[place]

    def refusal(self, problem: Problem) -> Problem:
        """Return a refusal of event times with the positions of the request; a single event has none."""
        if not self.batch:
            return Problem(problem.status, problem.code, problem.detail, errors=[_of_single(e) for e in problem.errors])
        errors = [error for each in self.rejected for error in each.errors]
        errors += [self._placed(error) for error in problem.errors]
        places = [self.index_of(place) for place in problem.extra["invalid_indexes"]]
        extra = {"invalid_indexes": sorted([*places, *(each.index for each in self.rejected)])}
        return Problem(problem.status, problem.code, problem.detail, errors=errors, extra=extra)

    def without(self, problem: Problem) -> "Received | None":
        """Leave out the events that a refusal of event times names; None if none of the others is left."""
        named = {_place_of(error): self._placed(error) for error in problem.errors}
        out = {place: named.get(place) for place in problem.extra["invalid_indexes"]}
        kept = [place for place in range(len(self.events)) if place not in out]
        general = FieldError("timestamp", "lies outside the accepted time", problem.code)
        rejected = [Rejected(self.index_of(place), (error or general,)) for place, error in out.items()]
        return (
            None
            if not kept
            else Received(
                [self.events[place] for place in kept],
                self.boxbilling,
                self.batch,
                [self.index_of(place) for place in kept],
                sorted([*self.rejected, *rejected], key=lambda each: each.index),
            )
        )

    def _placed(self, error: FieldError) -> FieldError:
        return replace(error, field=f"events.{self.index_of(_place_of(error))}.timestamp")


def _place_of(error: FieldError) -> int:
    return int(error.field.split(".")[1])


def _of_single(error: FieldError) -> FieldError:
    return replace(error, field="timestamp")


@dataclass(frozen=True)
class ParsedEvent:
    """One event as it was read: None, with the reasons, if it is wrong."""

    event: IngestEvent | None
    errors: Sequence[FieldError]


def _float(text: str) -> Decimal:
    value = Decimal(text)
    if len(text) > LONGEST_NUMBER or (value and abs(value.adjusted()) > LONGEST_NUMBER):
        raise _Slow(text[:20])
    return value


_SINGLE: Final = msgspec.json.Decoder(WireEvent, float_hook=_float)
_LIST: Final = msgspec.json.Decoder(list[WireEvent], float_hook=_float)
_BATCH: Final = msgspec.json.Decoder(_WireBatch, float_hook=_float)


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
        wire = [_SINGLE.decode(body)]
    else:
        wire = _LIST.decode(body) if body.lstrip()[:1] == b"[" else _BATCH.decode(body).events
    if not 0 < len(wire) <= shape.most:
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
    at = wire.timestamp or wire.occurred_at
    if at is not None:
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        if at.year < 1971:
            raise _Slow
    return IngestEvent(
        metric,
        customer,
        subscription,
        wire.product_item or wire.product_item_id,
        wire.idempotency_key or wire.transaction_id,
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


def received_of(read: Sequence[ParsedEvent], shape: Shape, *, boxbilling: bool = False) -> Received:
    """Take all the events that were read, or none; with ``shape.partial`` the good ones, if there are any.

    Raises ``Problem`` 422 with the positions of the wrong ones.
    """
    rejected = [Rejected(index, each.errors) for index, each in enumerate(read) if each.event is None]
    good = [(index, each.event) for index, each in enumerate(read) if each.event is not None]
    if rejected and not (shape.partial and good):
        raise _refused(rejected, len(read), shape)
    indexes = [index for index, _ in good] if rejected else None
    return Received([event for _, event in good], boxbilling, not shape.single, indexes, rejected)


def _refused(rejected: Sequence[Rejected], total: int, shape: Shape) -> Problem:
    errors = [error for each in rejected for error in each.errors]
    detail = f"{errors[0].field}: {errors[0].message}"
    if shape.single:
        return Problem(422, errors[0].code, detail, errors=errors)
    detail = f"{len(rejected)} of {total} events are wrong, so none was stored. {detail}"
    extra = {"invalid_indexes": [each.index for each in rejected]}
    return Problem(422, "invalid_events", detail, errors=errors[:_MOST_LISTED], extra=extra)


def too_many(shape: Shape, count: int) -> Problem:
    """Refuse a batch with more events than the shape allows (B63)."""
    return _wrong("events", f"a batch holds at most {shape.most} events, this one {count}", "too_many_events")


def _items(document: Any, shape: Shape) -> list[Any]:
    if shape.single:
        return [document]
    items = document
    if isinstance(document, Mapping):
        unknown = sorted(set(document) - {"events"})
        if unknown and "events" in document:
            raise _wrong(unknown[0], "is not a field of a batch; it has `events`", "unknown_field")
        items = document.get("events", [document] if document else None)
    if not isinstance(items, list):
        raise _wrong("events", 'send a list of events, or {"events": [...]}')
    if not items:
        raise _wrong("events", "a batch holds at least one event")
    if len(items) > shape.most:
        raise too_many(shape, len(items))
    return items


def _wrong(field: str, message: str, code: str = "validation_failed") -> Problem:
    return Problem(422, code, f"{field}: {message}", errors=(FieldError(field, message, code),))


_METRIC: Final = ("metric_key", "code", "metric", "meter", "meter_id", "metric_id")
_CUSTOMER: Final = ("customer_id", "external_customer_id", "customerId")
_SUBSCRIPTION: Final = ("subscription_id", "subscription", "external_subscription_id")
_ITEM: Final = ("product_item", "product_item_id")
_VALUE: Final = ("value", "quantity", "amount")
_TIME: Final = ("timestamp", "occurred_at")
_KEY: Final = ("idempotency_key", "transaction_id")
_PROPERTIES: Final = ("properties", "metadata")
_KNOWN: Final = frozenset(WireEvent.__struct_fields__)


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
            self._first(_KEY, self._reference),
            value,
            self._first(_PROPERTIES, self._object),
            self._first(_TIME, self._instant),
        )
        return None if self.errors else event

    def _wrong(self, field: str, message: str, code: str) -> None:
        self.errors.append(FieldError(f"{self.where}{field}".rstrip(".") or "body", message, code))

    def _said(self, names: Sequence[str]) -> bool:
        return any(self.item.get(name) is not None for name in names)

    def _first(self, names: Sequence[str], read: Callable[[str, Any], Any]) -> Any:
        """Read the first of several synonyms that was given."""
        for name in names:
            value = self.item.get(name)
            if value is not None:
                return read(name, value)
        return None

    def _reference(self, name: str, value: Any) -> str | None:
        if isinstance(value, str) and 1 <= len(value) <= 255:
            return value
        self._wrong(name, "must be a text of 1 to 255 characters", "invalid_reference")
        return None

    def _number(self, name: str, value: Any) -> str | None:
        try:
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
            self._wrong(name, str(error), "invalid_timestamp")
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
