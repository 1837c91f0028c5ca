"""Random lives through the pure core against a naive account: what was used is billed exactly once.

What was paid is given back at most once, and every step that time brings is legal.
`DURABILL_LIVES` says how many lives (1,200 without it), `DURABILL_LIFE` names one seed to live alone.
"""

import os
from typing import Final

import pytest

from billing.subscriptions.subscription import IllegalTransition
from tests.lives.driver import Driver
from tests.lives.lives import (
    CANCELED_AGREED_ENDS,
    DISCOUNTED_CORRECTIONS,
    DISCOUNTED_PARTS,
    ENDS_WHILE_PENDING,
    ENDS_WITH_GRACE,
    FORGIVING_VOIDS,
    LATE_DELETES,
    MIGRATES_BACK,
    REBILLING_VOIDS,
    VOIDS_AFTER_CORRECTIONS,
    Life,
    instant,
    life,
    minute_of,
    rough_life,
)
from tests.lives.oracle import account
from tests.lives.record import Record, name_of

LIVES: Final = int(os.environ.get("DURABILL_LIVES", "1200"))
ONE: Final = os.environ.get("DURABILL_LIFE")
SHARES: Final = 4

KEPT: Final = frozenset(
    {
        CANCELED_AGREED_ENDS,
        DISCOUNTED_CORRECTIONS,
        DISCOUNTED_PARTS,
        ENDS_WHILE_PENDING,
        ENDS_WITH_GRACE,
        FORGIVING_VOIDS,
        LATE_DELETES,
        MIGRATES_BACK,
        REBILLING_VOIDS,
        VOIDS_AFTER_CORRECTIONS,
    }
)
"""The options of a life in which the core keeps the rules; each of the others is a known fault."""


def disagreements(told: Life, record: Record) -> list[str]:
    """Compare the invoices of a life with what the naive account says it owes."""
    owed = account(told, record.forgiven)
    live = [invoice for invoice in record.invoices if invoice.is_live]
    billed: dict[tuple[int, str], int] = {}
    for invoice in live:
        for line in invoice.lines:
            key = (minute_of(line.charged_period.start), name_of(line.charged_id))
            billed[key] = billed.get(key, 0) + line.amount_minor
    found = [
        f"{charge} of the period from {instant(start)}: owed {owed.charges.get((start, charge), 0)}, "
        f"billed {billed.get((start, charge), 0)}"
        for start, charge in sorted(owed.charges.keys() | billed.keys())
        if owed.charges.get((start, charge), 0) != billed.get((start, charge), 0)
    ]
    net, due = sum(owed.net.values()), sum(invoice.due_minor for invoice in live)
    if net != due:
        found.append(f"after discounts: owed {net}, billed {due}")
    still_open = sum(invoice.due_minor - invoice.prepaid_minor for invoice in live if invoice.state != "paid")
    received = record.paid_minor + still_open + record.topped_up_minor - record.wallet_minor
    if due != received:
        found.append(f"billed {due}, but paid, open and drawn from the wallet are {received}")
    if record.granted_minor > sum(max(0, invoice.due_minor) for invoice in live):
        found.append(f"{record.granted_minor} was given back, more than was billed")
    return found


def lived(seed: int, options: frozenset[str]) -> list[str]:
    """Live one life; give what is wrong with it."""
    told = life(seed, options)
    driver = Driver(told)
    try:
        driver.live()
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return disagreements(told, driver.record)


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.timeout(0 if LIVES > 10_000 else 180)
def test_what_was_used_is_billed_once_and_what_was_paid_is_given_back_once(share: int) -> None:
    seeds = [int(ONE)] if ONE else range(share, LIVES, SHARES)
    for seed in seeds:
        wrong = lived(seed, KEPT)
        assert not wrong, f"seed {seed} (DURABILL_LIFE={seed} tells it alone):\n" + "\n".join(wrong)


def roughly_lived(seed: int) -> Driver:
    """Live a life of commands in any order; one that is refused changes nothing, and nothing else may fail."""
    driver = Driver(rough_life(seed, KEPT))
    for step in driver.life.steps:
        driver.advance(instant(step.at))
        before = driver.state
        try:
            driver.take(step)
        except IllegalTransition:
            assert driver.state == before, f"a refused {step.act} changed the state"
    driver.advance(instant(driver.life.until))
    return driver


@pytest.mark.timeout(0 if LIVES > 10_000 else 180)
def test_every_step_that_time_brings_is_legal_whatever_was_commanded() -> None:
    for seed in [int(ONE)] if ONE else range(LIVES):
        try:
            driver = roughly_lived(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed} (DURABILL_LIFE={seed} tells it alone)") from error
        left = [due for due in driver.state.due_closes if due.close_at is None or due.close_at <= driver.at]
        assert not left, f"seed {seed}: something due was never billed: {left}"
