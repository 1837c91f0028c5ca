"""Which part of a period the rollups hold: its whole UTC days."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

#: Earlier than every event: where an aggregation that carries over begins to read.
BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Window:
    """The part of a period that is counted: whole UTC days ``[first_day, end_day)`` and up to two partial days.

    The head is ``[start, head_end)``. The tail is the part of ``[tail_start, end)`` that is not before the start;
    `tail_start` is a midnight. Both are None where the period begins, or ends, with a whole day.
    """

    start: datetime
    end: datetime
    first_day: date
    end_day: date
    head_end: datetime | None
    tail_start: datetime | None

    @property
    def edges(self) -> tuple[tuple[datetime, datetime], ...]:
        """The partial days, ``[start, end)`` each."""
        head = () if self.head_end is None else ((self.start, self.head_end),)
        return head if self.tail_start is None else (*head, (max(self.start, self.tail_start), self.end))


def window_of(start: datetime, end: datetime) -> Window:
    """Cut ``[start, end)`` into whole UTC days, which the rollups hold, and the partial days at its edges."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    head = _midnight(start) if start == _midnight(start) else _midnight(start) + _DAY
    tail = _midnight(end)
    return Window(
        start,
        end,
        min(head, tail).date(),
        tail.date(),
        head if start < head <= tail else None,
        tail if tail < end and start < end else None,
    )


def _midnight(instant: datetime) -> datetime:
    return instant.replace(hour=0, minute=0, second=0, microsecond=0)
