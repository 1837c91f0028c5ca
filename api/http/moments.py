"""Points in time as clients write them: a plain date, or a date and time (conflicts C21)."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

from billing.period import zone

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST: Final = 64
_YEARS: Final = range(1970, 2201)


class WithoutOffset(ValueError):
    """A date and time that names no offset, so that nobody knows which instant it is."""

    code: Final = "timestamp_without_offset"

    def __init__(self) -> None:
        super().__init__(
            "must say its offset: end it with Z for UTC, or with one such as +02:00; a plain date needs none"
        )


@dataclass(frozen=True)
class Moment:
    """What the client wrote, and what it says: a day (whose instant depends on the billing zone) or an instant."""

    text: str
    value: date | datetime

    def instant(self, timezone: str) -> datetime:
        """Return the UTC instant; a plain date means the start of that day in the time zone (R13)."""
        if isinstance(self.value, datetime):
            return self.value
        return datetime.combine(self.value, time.min, tzinfo=zone(timezone)).astimezone(UTC)


def read_moment(value: Any) -> Moment:
    """Read `2026-04-01` or `2026-04-01T00:00:00Z`.

    Raises ValueError; ``WithoutOffset`` for a time without an offset, which is never taken as UTC.
    """
    if isinstance(value, Moment):
        return value
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isascii():
        raise ValueError("must be a date such as 2026-04-01 or a time such as 2026-04-01T00:00:00Z")
    found = _read(value)
    if found.year not in _YEARS:
        raise ValueError(f"must lie in the years {_YEARS.start} to {_YEARS.stop - 1}")
    return Moment(text=value, value=found)


def _read(text: str) -> date | datetime:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        read = datetime.fromisoformat(text)
        if read.tzinfo is not None:
            return read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a date such as 2026-04-01 or a time such as 2026-04-01T00:00:00Z") from None
    raise WithoutOffset


_EXAMPLES: Final = ["2026-04-01T00:00:00Z", "2024-05-01"]

AnyMoment = Annotated[
    Moment,
    BeforeValidator(read_moment),
    WithJsonSchema({"type": "string", "maxLength": _LONGEST, "examples": _EXAMPLES}),
]
"""A request field: a date or a date and time."""


def _instant(value: Any) -> datetime:
    return read_moment(value).instant("UTC")


InstantField = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": _LONGEST}),
]
"""A request field that is an instant; a plain date is its midnight in UTC."""
