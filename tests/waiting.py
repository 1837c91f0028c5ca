"""Waiting for conditions instead of sleeping for luck."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECONDS = 0.05


async def eventually(
    condition: Callable[[], Awaitable[T]], *, seconds: float = 30, until: Callable[[T], object] = bool
) -> T:
    """Ask again until ``until(answer)`` holds, and give that answer; fails after ``seconds`` with the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = await condition()
        if until(answer):
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; the last answer was {answer!r}")
        await _pause()


async def _pause() -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), _PAUSE_SECONDS)
