"""Billing periods: half-open instants in UTC, computed on the customer's wall clock from the anchor (R11, R12, R13)."""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, model_validator

Interval = Literal["weekly", "monthly", "quarterly", "yearly"]
Alignment = Literal["anniversary", "calendar"]

_MONTHS: Final[dict[Interval, int]] = {"monthly": 1, "quarterly": 3, "yearly": 12}
_WEEK: Final = timedelta(days=7)


class UnknownTimeZone(ValueError):
    """Raised for a name that the IANA time zone database does not hold."""


class BeforeAnchor(ValueError):
    """Raised when a billing period is asked for at an instant before the subscription began."""


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Look up a time zone by its IANA name, such as Europe/Berlin; raises `UnknownTimeZone`."""
    try:
        # Cached here; and where ZoneInfo is proxied, as in the sandbox of Temporal, no_cache() still gives a real zone.
        return ZoneInfo.no_cache(name)
    # A folder of the database ("Europe") is an OSError, a path ("../x") or a NUL byte a ValueError.
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise UnknownTimeZone(f"{name!r} is not an IANA time zone such as UTC or Europe/Berlin") from error


def _time_zone(name: str) -> str:
    return zone(name).key


def _utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{instant.isoformat()} is outside the calendar in UTC") from error


Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A point in time: a datetime with an offset, kept in UTC."""

TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""An IANA time zone name."""


def inclusive_end(end: datetime) -> datetime:
    """Return the end of a half-open period as the API displays it: one second earlier (C24).

    2026-05-01T00:00:00Z -> 2026-04-30T23:59:59Z. For display only: nothing is ever computed from it (R11).
    """
    return end - timedelta(seconds=1)


class Period(BaseModel):
    """The instants from `start` up to, but not including, `end`, both UTC (R11); `start == end` is empty."""

    model_config = ConfigDict(frozen=True)

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end < self.start:
            raise ValueError(
                f"a period must not end ({self.end.isoformat()}) before it starts ({self.start.isoformat()})"
            )
        return self

    @property
    def is_empty(self) -> bool:
        """Return whether the period holds no instant."""
        return self.start == self.end

    @property
    def duration(self) -> timedelta:
        """The elapsed real time: the day on which the clocks go forward has 23 hours (R14)."""
        return self.end - self.start

    def contains(self, at: datetime) -> bool:
        """Return whether an instant lies in the period: the start does, the end does not."""
        return self.start <= at < self.end

    def covers(self, other: "Period") -> bool:
        """Return whether the other period lies wholly inside this one."""
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: "Period") -> bool:
        """Return whether the periods share an instant; neighbours do not, and an empty period shares none."""
        return max(self.start, other.start) < min(self.end, other.end)

    def intersection(self, other: "Period") -> "Period | None":
        """Return the instants that both periods hold, or None when there are none."""
        if not self.overlaps(other):
            return None
        return Period(start=max(self.start, other.start), end=min(self.end, other.end))


class BillingCycle(BaseModel):
    """How a subscription's time is cut into periods.

    `anchor` is the instant the subscription began, `timezone` the billing time zone whose wall clock sets the
    boundaries. `anniversary` periods run from the anchor's own day and time; `calendar` periods are whole weeks (from
    Monday, ISO 8601), months, quarters or years, of which the first is cut off at the anchor.
    Period k is always computed from the anchor, never from period k-1 (R12): 31 Jan -> 28 Feb -> 31 Mar -> 30 Apr.
    """

    model_config = ConfigDict(frozen=True)

    interval: Interval
    anchor: Instant
    timezone: TimeZone
    alignment: Alignment

    def boundary(self, k: int) -> datetime:
        """Return the UTC instant at which full period k starts and full period k-1 ends (R12, R13).

        The origin (k = 0) is the anchor for an anniversary cycle and the start of the week, month, quarter or year that
        contains the anchor for a calendar cycle. Raises ValueError or OverflowError outside the years 1 to 9999.
        """
        # The anchor itself may be the second occurrence of an ambiguous hour, which its wall clock cannot tell.
        if k == 0 and self.alignment == "anniversary":
            return self.anchor
        origin = self._origin()
        if self.interval == "weekly":
            return _instant(origin + k * _WEEK, self.timezone)
        return _instant(_plus_months(origin, k * _MONTHS[self.interval]), self.timezone)

    def full_period(self, k: int) -> Period:
        """Return period k uncut: the denominator of every proration (R14)."""
        return Period(start=self.boundary(k), end=self.boundary(k + 1))

    def index_containing(self, at: datetime) -> int:
        """Return the k whose full period contains the instant; negative before period 0.

        The local calendar gives an estimate that is off by at most one or two, whatever the distance from the anchor.
        """
        k = self._estimate(at)
        while self.boundary(k) > at:
            k -= 1
        while self.boundary(k + 1) <= at:
            k += 1
        return k

    def full_period_containing(self, at: datetime) -> Period:
        """Return the uncut period that contains the instant; it may begin before the anchor in a calendar cycle."""
        return self.full_period(self.index_containing(at))

    def period_containing(self, at: datetime) -> Period:
        """Return the billing period that contains the instant: the full one, cut off at the anchor.

        Raises `BeforeAnchor` for an instant before the anchor.
        """
        if at < self.anchor:
            raise BeforeAnchor(f"{at.isoformat()} is before the first period, which starts {self.anchor.isoformat()}")
        return self._clipped(self.index_containing(at))

    def periods_between(self, start: datetime, end: datetime) -> tuple[Period, ...]:
        """Give every billing period that shares an instant with [start, end), in order; none lies before the anchor."""
        first = max(start, self.anchor)
        if end <= first:
            return ()
        found = [self.period_containing(first)]
        k = self.index_containing(first)
        while found[-1].end < end:
            k += 1
            found.append(self._clipped(k))
        return tuple(found)

    def _clipped(self, k: int) -> Period:
        full = self.full_period(k)
        return Period(start=max(full.start, self.anchor), end=full.end)

    def _origin(self) -> datetime:
        """Return the wall-clock time from which all boundaries are counted."""
        local = self.anchor.astimezone(zone(self.timezone)).replace(tzinfo=None, fold=0)
        if self.alignment == "anniversary":
            return local
        return datetime.combine(_calendar_start(local.date(), self.interval), time.min)

    def _estimate(self, at: datetime) -> int:
        local, origin = at.astimezone(zone(self.timezone)), self._origin()
        if self.interval == "weekly":
            return (local.date() - origin.date()).days // 7
        months = (local.year - origin.year) * 12 + local.month - origin.month
        return months // _MONTHS[self.interval]


def _calendar_start(day: date, interval: Interval) -> date:
    """Return the first day of the calendar week, month, quarter or year that contains the day."""
    match interval:
        case "weekly":
            return day - timedelta(days=day.weekday())
        case "monthly":
            return day.replace(day=1)
        case "quarterly":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case "yearly":
            return day.replace(month=1, day=1)


def _plus_months(local: datetime, months: int) -> datetime:
    """Move a wall-clock time by months, the day clamped to the length of the month (R12): 31 Jan + 1 -> 28 Feb."""
    years, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    # monthrange() indexes lists by the year and fails obscurely outside the calendar.
    if not 1 <= years <= 9999:
        raise OverflowError(f"year {years} is outside the calendar")
    return local.replace(year=years, month=month + 1, day=min(local.day, calendar.monthrange(years, month + 1)[1]))


def _instant(local: datetime, timezone: str) -> datetime:
    """Return the UTC instant of a wall-clock time (R13).

    A time that the clocks skip takes the offset from before the gap (Berlin, 2026-03-29 02:30 -> 01:30Z, shown as
    03:30); one that happens twice means the first (2026-10-25 02:30 -> 00:30Z). Both are what PEP 495 does for fold=0.
    """
    return local.replace(tzinfo=zone(timezone), fold=0).astimezone(UTC)
