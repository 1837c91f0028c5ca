"""JSON answers: instants in whole UTC seconds, exact numbers, ids as text."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final
from uuid import UUID

import msgspec
from fastapi import Response
from pydantic import BaseModel

from api.http.answers import Answer
from billing.numbers import json_number, plain

_ENCODER = msgspec.json.Encoder()


def instant(value: datetime) -> str:
    """Write an instant as ``YYYY-MM-DDTHH:MM:SSZ``: UTC, whole seconds, the rest cut off."""
    assert value.tzinfo is not None, "an instant has a zone"
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def exact_instant(value: datetime) -> str:
    """Write an instant as ``instant`` does, with its fraction of a second if it has one: event times lose nothing."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def shown(value: Any) -> Any:
    """Turn a document of Python values into what the JSON encoder writes exactly.

    Instants become whole UTC seconds, dates ISO text, uuids text, Decimals JSON numbers (whole ones without a point;
    conflicts C11), models their fields by alias. Raises TypeError for anything else, floats first.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    exact = _EXACTLY.get(kind)
    if exact is not None:
        return exact(value)
    for base, write in _WRITERS:
        if isinstance(value, base):
            return write(value)
    raise TypeError(f"{kind.__name__} has no JSON form here; a float never has one")


def _number(value: Decimal) -> int | msgspec.Raw:
    whole = json_number(value)
    return whole if isinstance(whole, int) else msgspec.Raw(plain(value).encode())


def _list(value: Iterable[Any]) -> list[Any]:
    return [shown(item) for item in value]


def _object(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): shown(item) for key, item in value.items()}


def _answer(value: Answer) -> dict[str, Any]:
    return {alias: shown(item) for alias, item in zip(_aliases(type(value)), value.__dict__.values(), strict=True)}


@cache
def _aliases(kind: type[Answer]) -> tuple[str, ...]:
    return tuple(field.serialization_alias or field.alias or name for name, field in kind.model_fields.items())


_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None), msgspec.Raw})
#: Nearly every value is of one of these very types, so that nobody has to ask what it is derived from.
_EXACTLY: Final[Mapping[type, Callable[[Any], Any]]] = {
    dict: _object,
    list: _list,
    tuple: _list,
    Decimal: _number,
    datetime: instant,
    UUID: str,
}
# A datetime is a date and a str enum a str, so the order matters.
_WRITERS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (Answer, _answer),
    (list, _list),
    (tuple, _list),
    (Decimal, _number),
    (datetime, instant),
    (date, date.isoformat),
    (UUID, str),
    (Enum, lambda value: shown(value.value)),
    (Mapping, _object),
    (BaseModel, lambda value: shown(value.model_dump(mode="python", by_alias=True))),
    (frozenset, lambda value: _list(sorted(value))),
    (str, str),
    (int, int),
)


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a dict, a list or a pydantic model as JSON (see ``shown``)."""
    return Response(
        _ENCODER.encode(shown(content)),
        status_code=status,
        headers=None if headers is None else dict(headers),
        media_type="application/json",
    )


def created(content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Answer 201 with what was made."""
    return reply(content, 201, headers)


def no_content() -> Response:
    """Answer 204: done, and there is nothing to show."""
    return Response(status_code=204)
