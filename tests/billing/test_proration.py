"""Shares of a period and of an amount (R14)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import allocate, to_minor
from billing.period import BillingCycle, Period
from billing.proration import PeriodOutsideCycle, active_fraction, fraction, fraction_by_day, prorated
from tests.billing.strategies import cycles, prices

APRIL = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))


def april(first: int, end: int) -> Period:
    return Period(start=APRIL.start + timedelta(days=first - 1), end=APRIL.start + timedelta(days=end - 1))


def test_half_a_month_is_half() -> None:
    assert fraction(april(16, 31), APRIL) == Fraction(1, 2)
    assert prorated(Decimal("49.00"), Fraction(1, 2)) == Decimal("24.50")


def test_the_denominator_is_the_whole_period_even_if_it_was_joined_late() -> None:
    cycle = BillingCycle(interval="monthly", anchor=april(11, 11).start, timezone="UTC", alignment="calendar")
    period = cycle.period_containing(april(20, 20).start)
    assert fraction(period, cycle.full_period_containing(period.start)) == Fraction(20, 30)


def test_by_second_a_day_of_23_hours_weighs_23_hours_and_by_day_it_is_a_day() -> None:
    cycle = BillingCycle(
        interval="monthly",
        anchor=datetime(2026, 2, 28, 23, tzinfo=UTC),
        timezone="Europe/Berlin",
        alignment="calendar",
    )
    march = cycle.full_period(0)
    # 29 March, the day on which the clocks go forward: 28 March 23:00Z to 29 March 22:00Z.
    short = Period(start=datetime(2026, 3, 28, 23, tzinfo=UTC), end=datetime(2026, 3, 29, 22, tzinfo=UTC))
    assert fraction(short, march) == Fraction(23, 743)
    assert fraction_by_day(short, march, "Europe/Berlin") == Fraction(1, 31)


def test_a_true_half_cent_stays_one() -> None:
    # A share of 1/3 has endless digits, the result 0.005 has not: it rounds up (R2).
    assert prorated(Decimal("0.015"), Fraction(1, 3)) == Decimal("0.005")
    assert to_minor(prorated(Decimal("0.015"), Fraction(1, 3)), "USD") == 1
    assert to_minor(prorated(Decimal("0.0149"), Fraction(1, 3)), "USD") == 0


@pytest.mark.parametrize("active", [april(1, 32), Period(start=datetime(2026, 3, 1, tzinfo=UTC), end=APRIL.end)])
def test_a_part_outside_the_whole_is_refused(active: Period) -> None:
    with pytest.raises(PeriodOutsideCycle):
        fraction(active, APRIL)
    with pytest.raises(PeriodOutsideCycle):
        fraction_by_day(active, APRIL, "UTC")


def test_an_empty_whole_is_refused() -> None:
    empty = april(3, 3)
    with pytest.raises(PeriodOutsideCycle):
        fraction(empty, empty)
    minute = Period(start=APRIL.start, end=APRIL.start + timedelta(minutes=1))
    with pytest.raises(PeriodOutsideCycle):
        fraction_by_day(minute, minute, "UTC")


@given(cycles(), st.integers(0, 3), st.lists(st.fractions(0, 1, max_denominator=50), max_size=4), prices)
def test_the_parts_of_any_cut_add_up_to_the_whole(
    cycle: BillingCycle, k: int, cuts: list[Fraction], amount: Decimal
) -> None:
    full = cycle.full_period(k)
    seconds = full.duration // timedelta(seconds=1)
    inner = sorted(full.start + timedelta(seconds=int(cut * seconds)) for cut in cuts)
    edges = [full.start, *inner, full.end]
    parts = [Period(start=start, end=end) for start, end in pairwise(edges)]
    assert sum(fraction(part, full) for part in parts) == 1
    assert sum(fraction_by_day(part, full, cycle.timezone) for part in parts) == 1
    whole = to_minor(amount, "USD")
    weights = [Decimal(part.duration // timedelta(microseconds=1)) for part in parts]
    assert sum(allocate(whole, weights)) == whole


def test_paused_time_is_taken_out_of_the_active_time_by_the_second() -> None:
    """April with pauses from the 10th to the 20th, and from the 25th into May: 9 + 5 = 14 of 30 days."""
    stops = [april(10, 20), Period(start=april(25, 26).start, end=datetime(2026, 6, 1, tzinfo=UTC))]
    assert active_fraction(APRIL, APRIL, stops) == Fraction(14, 30)
    assert active_fraction(april(1, 15), APRIL, stops) == Fraction(9, 30)
    assert active_fraction(APRIL, APRIL) == 1
