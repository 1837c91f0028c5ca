"""When a webhook that failed is sent again: pauses that grow threefold up to six hours, for about three days (B165)."""

import secrets
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_GROWTH: Final = 3
_LONGEST_SECONDS: Final = 6 * 3600.0
_ALTOGETHER_SECONDS: Final = 72 * 3600.0
_CHANCE: Final = secrets.SystemRandom()


def pauses(first_seconds: float) -> tuple[float, ...]:
    """List the pauses before each retry, in seconds, without their jitter; a first pause of 5 s gives 19 retries."""
    found: list[float] = []
    pause = first_seconds
    while sum(found) + pause <= _ALTOGETHER_SECONDS:
        found.append(pause)
        pause = min(pause * _GROWTH, _LONGEST_SECONDS)
    return tuple(found)


def pause_after(attempts: int, schedule: tuple[float, ...], asked_for: timedelta | None = None) -> timedelta | None:
    """Give the pause after so many failed attempts, up to a tenth shorter or longer; None when there is no retry left.

    The jitter keeps receivers that fail together from being called together. It is no shorter than the receiver
    ``asked_for`` (see `retry_after_of`).
    """
    if attempts > len(schedule):
        return None
    pause = timedelta(seconds=schedule[attempts - 1] * _CHANCE.uniform(0.9, 1.1))
    return pause if asked_for is None else max(pause, asked_for)


def retry_after_of(retry_after: str | None, *, now: datetime) -> timedelta | None:
    """Read what a receiver answered as Retry-After (RFC 9110): seconds, or a date; at most six hours.

    None for what is neither, and for what is over.
    """
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        seconds = float(text[:9])
    else:
        try:
            seconds = (parsedate_to_datetime(text).astimezone(UTC) - now).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return timedelta(seconds=min(seconds, _LONGEST_SECONDS)) if seconds > 0 else None
