"""The pace of requests to one provider account, and the pauses that the provider asks for."""

import asyncio
import time

_LONGEST_PAUSE_SECONDS = 3600.0


class Limited(Exception):
    """Raised instead of a request that would have to wait too long; nothing was sent."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the provider's account takes no requests for {retry_after:.1f} s")
        self.retry_after = retry_after


class RateLimiter:
    """Spaces the requests of one account, shared by everything in this process that speaks to it.

    A pause (`Retry-After`) holds for all of them, so that requests which were refused do not come back together.
    """

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._last = 0.0
        self._paused_until = 0.0

    async def turn(self, *, until: float) -> None:
        """Wait for the next free moment. Raises `Limited` if it comes after `until` (of `time.monotonic()`)."""
        while True:
            now = time.monotonic()
            free_at = max(self._last + self._gap, self._paused_until)
            if free_at <= now:
                self._last = now
                return
            if free_at > until:
                raise Limited(free_at - now)
            await asyncio.sleep(free_at - now)

    def pause(self, seconds: float) -> None:
        """Send nothing for so long, an hour at most."""
        self._paused_until = max(self._paused_until, time.monotonic() + min(seconds, _LONGEST_PAUSE_SECONDS))
