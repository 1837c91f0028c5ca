"""Which part of a period the rollups hold: its whole UTC days."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

#: Earlier than every event: where an aggregation that carries over begins to read.
BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """The part of a period that is counted: whole UTC days ``[first_day, end_day)`` and up to two partial days."""

    start: datetime
    end: datetime
    first_day: date
    end_day: date
    edges: tuple[tuple[datetime, datetime], ...]


def window_of(start: datetime, end: datetime) -> Window:
    """Cut ``[start, end)`` into whole UTC days, which the rollups hold, and the partial days at its edges."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    head = _midnight(start) if start == _midnight(start) else _midnight(start) + _DAY
    tail = _midnight(end)
    if head > tail:
        return Window(start, end, head.date(), head.date(), ((start, end),) if start < end else ())
    edges = tuple((a, b) for a, b in ((start, head), (tail, end)) if a < b)
    return Window(start, end, head.date(), tail.date(), edges)


def _midnight(instant: datetime) -> datetime:
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)
