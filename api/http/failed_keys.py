"""Guessing of API keys is slowed, by address and by account: both may fail so often at once, and so often later."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fastapi import Request

from models.problems import Problem

#: How often one may fail at once, and how often in a second from then on.
_ADDRESS: Final = (200.0, 20.0)
_ACCOUNT: Final = (20.0, 0.2)
#: What a key's owner sees of it in lists: kind, environment and the first digits name the account that is guessed at.
_SHOWN: Final = 16
_MOST_REMEMBERED: Final = 10_000


class _Allowance:
    """Failures that are left to each name; a name that was not heard of for long has all of them."""

    def __init__(self, capacity: float, per_second: float) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def left(self, name: str, now: float) -> float:
        left, since = self._left.get(name, (self._capacity, now))
        return min(self._capacity, left + (now - since) * self._per_second)

    def wait_seconds(self, name: str, now: float) -> float:
        return max(0.0, 1 - self.left(name, now)) / self._per_second

    def take(self, name: str, now: float) -> None:
        self._left[name] = (self.left(name, now) - 1, now)
        self._left.move_to_end(name)
        if len(self._left) > _MOST_REMEMBERED:
            self._left.popitem(last=False)


class FailedKeys:
    """What this process remembers of keys that failed, and of keys that did not: those are never slowed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._addresses = _Allowance(*_ADDRESS)
        self._accounts = _Allowance(*_ACCOUNT)
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, key: str) -> None:
        """Refuse a key without looking it up when too many failed. Raises ``Problem`` 429 with ``Retry-After``."""
        if _digest(key) in self._good:
            return
        now = self._clock()
        wait = max(self._addresses.wait_seconds(address, now), self._accounts.wait_seconds(key[:_SHOWN], now))
        if wait > 0:
            seconds = str(math.ceil(wait))
            detail = f"Too many API keys failed from here or for this account; try again in {seconds} s."
            raise Problem(429, "too_many_failed_keys", detail, headers={"Retry-After": seconds})

    def note_failure(self, address: str, key: str) -> None:
        """Count a key that was unknown, expired or revoked."""
        now = self._clock()
        self._addresses.take(address, now)
        self._accounts.take(key[:_SHOWN], now)
        self._good.pop(_digest(key), None)

    def note_success(self, key: str) -> None:
        """Remember a key that was good."""
        digest = _digest(key)
        if digest not in self._good:
            self._good[digest] = None
            if len(self._good) > _MOST_REMEMBERED:
                self._good.popitem(last=False)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def address_of(request: Request) -> str:
    """Return the address that a request came from, as the server or a proxy that it trusts names it."""
    return "" if request.client is None else request.client.host
