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
    """Read `2026-04-01` or `2026-04-01T00:00:00Z`; a time without an offset is UTC. Raises ValueError."""
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
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a date such as 2026-04-01 or a time such as 2026-04-01T00:00:00Z") from None


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
