"""Proration: which part of a whole period something was active, as an exact ratio (R14)."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from typing import Final

from billing.period import Period, zone

_MICROSECOND: Final = timedelta(microseconds=1)
# Dividing may need endless digits; 120 of them decide every rounding to a minor unit (see `prorated`).
_DIVISION: Final = Context(prec=120, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])


class PeriodOutsideCycle(ValueError):
    """Raised when the active part does not lie inside the whole period, or the whole is empty."""


def fraction(active: Period, full: Period) -> Fraction:
    """Return the active share of a full period, by elapsed real time (R14, the default).

    15 of April's 30 days -> 1/2; in Berlin's March 2026, which has 743 hours, the first 24 hours weigh 24/743.
    `full` is the uncut period, also when the subscription began within it. Raises `PeriodOutsideCycle`.
    """
    _within(active, full)
    return Fraction(active.duration // _MICROSECOND, full.duration // _MICROSECOND)


def active_fraction(active: Period, full: Period, pauses: Sequence[Period] = ()) -> Fraction:
    """Return the share of a full period in which fees run: its active part less the paused time, by the second (R21).

    April with a pause from the 10th to the 25th -> 15/30. Pauses may reach beyond the period and do not overlap.
    Raises `PeriodOutsideCycle`.
    """
    stopped = Fraction(0)
    for pause in pauses:
        start, end = max(active.start, pause.start), min(active.end, pause.end)
        if start < end:
            stopped += fraction(Period(start=start, end=end), full)
    return fraction(active, full) - stopped


def fraction_by_day(active: Period, full: Period, timezone: str) -> Fraction:
    """Return the active share of a full period, by calendar days of the time zone (R14).

    Days are half-open differences of local dates: the first day counts, the end date does not, and changes of the clock
    have no influence. 10 to 30 April is 20 of 30 days -> 2/3. Raises `PeriodOutsideCycle`, `UnknownTimeZone`.
    """
    _within(active, full)
    whole = _days(full, timezone)
    if not whole:
        raise PeriodOutsideCycle("the whole period is shorter than one day")
    return Fraction(_days(active, timezone), whole)


def prorated(amount: Decimal, share: Fraction) -> Decimal:
    """Return the share of an amount, unrounded to minor units: 49.00 x 1/2 -> 24.50.

    Multiplies before it divides: a result with at most 120 digits is exact, so a true half cent is seen as one
    (0.015 x 1/3 -> 0.005) and rounds as R2 says.
    """
    with localcontext(_DIVISION):
        return amount * share.numerator / share.denominator


def _within(active: Period, full: Period) -> None:
    if full.is_empty:
        raise PeriodOutsideCycle("the whole period is empty")
    if not full.covers(active):
        raise PeriodOutsideCycle(
            f"{active.start.isoformat()} to {active.end.isoformat()} is not inside the whole period"
        )


def _days(period: Period, timezone: str) -> int:
    local = zone(timezone)
    return (period.end.astimezone(local).date() - period.start.astimezone(local).date()).days
