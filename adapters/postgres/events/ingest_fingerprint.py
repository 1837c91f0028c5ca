"""Fingerprints of events: what tells a retry from another event under the same key, for ever (C3).

A fingerprint covers what the client sent but for the time, which is compared on its own. Numbers are equal in any
notation, properties in any order. It is stored in `event_keys`, so its rule may never change; 64 bits are enough
because only contents sent under one key of one project are ever compared.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

import msgspec

from adapters.postgres.events.ingest_events import IngestEvent
from billing.numbers import plain

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number", order="sorted")
_SEPARATOR: Final = "\x1f"
_MAYBE_FRACTION: Final = re.compile("[0-9][.eE]")


def references_of(event: IngestEvent) -> str:
    """Write the references of an event, so that no two different ones look alike."""
    return repr((event.metric_ref, event.customer_ref, event.subscription_ref, event.item_ref)) + _SEPARATOR


def fingerprint_of(references: str, value: str | None, properties: str) -> int:
    """Return the fingerprint of an event as a signed 64-bit number; ``properties`` as `canonical` writes them."""
    if value is not None and "." in value:
        value = value.rstrip("0").rstrip(".")
    data = f"{references}{value}{_SEPARATOR}{properties}".encode()
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)


def written(properties: Mapping[str, Any]) -> str:
    """Write properties as JSON with sorted keys and every digit that was sent."""
    return _ENCODER.encode(properties).decode()


def canonical(properties: Mapping[str, Any] | None, text: str) -> str:
    """Write properties so that equal ones look alike; ``text`` is what `written` gives. None of them is nothing."""
    if not properties:
        return ""
    return written(_alike(properties)) if _MAYBE_FRACTION.search(text) else text


def _alike(value: Any) -> Any:
    if isinstance(value, Decimal):
        whole = value.to_integral_value()
        return int(whole) if whole == value else [_SEPARATOR, plain(value)]
    if isinstance(value, Mapping):
        return {name: _alike(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_alike(each) for each in value]
    return value
