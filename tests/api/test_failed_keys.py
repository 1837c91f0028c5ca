"""Guessing of keys is slowed by address and by account; who was let in before is let in still."""

import pytest

from api.http.failed_keys import FailedKeys
from models.problems import Problem

GOOD = "sk_live_" + "a" * 64


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def failures_until_refused(failed: FailedKeys, keys: list[str]) -> int:
    for count, key in enumerate(keys):
        try:
            failed.check("10.0.0.1", key)
        except Problem:
            return count
        failed.note_failure("10.0.0.1", key)
    return len(keys)


def test_an_account_may_fail_twenty_times_and_then_every_five_seconds() -> None:
    clock = Clock()
    failed = FailedKeys(clock)
    guesses = [f"sk_live_{n:064x}" for n in range(100)]
    assert failures_until_refused(failed, guesses) == 20
    clock.now += 5
    assert failures_until_refused(failed, guesses) == 1
    failed.check("10.0.0.1", GOOD)


def test_an_address_may_fail_two_hundred_times_and_then_twenty_times_a_second() -> None:
    clock = Clock()
    failed = FailedKeys(clock)
    guesses = [f"sk_live_{n:08x}" for n in range(1000)]
    failed.note_success(GOOD)
    assert failures_until_refused(failed, guesses) == 200
    clock.now += 1
    assert failures_until_refused(failed, guesses[200:]) == 20
    failed.check("10.0.0.1", GOOD)
    with pytest.raises(Problem, match="too_many_failed_keys") as refused:
        failed.check("10.0.0.1", "sk_live_" + "b" * 64)
    assert int(refused.value.headers["Retry-After"]) > 0
    failed.check("10.0.0.2", "sk_live_" + "b" * 64)
