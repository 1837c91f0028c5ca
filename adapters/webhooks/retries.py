"""When a webhook that failed is sent again: pauses that grow threefold up to six hours, for about three days (B165)."""

import secrets
from datetime import timedelta
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


def pause_after(attempts: int, schedule: tuple[float, ...]) -> timedelta | None:
    """Give the pause after so many failed attempts, up to a tenth shorter or longer; None when there is no retry left.

    The jitter keeps receivers that fail together from being called together.
    """
    if attempts > len(schedule):
        return None
    return timedelta(seconds=schedule[attempts - 1] * _CHANCE.uniform(0.9, 1.1))
