"""A naive account of a life: what each period costs in the end, from its events, prices, discounts and pauses alone.

It knows nothing of invoices but which of them were voided for good, and imports nothing of the product. A period's
charges are priced once over everything that was used in it (C5); what was forgiven is taken off and never becomes a
debt (R20); the period's own coupons discount what is left (R19); fees stop in pauses, by the second (R14, R21).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from tests.lives.lives import Coupon, Life, Prices

FEE: Final = "fee"
UNITS: Final = "units"
CALLS: Final = "calls"

Charge = tuple[int, str]
"""The minute at which a period begins, and the charge."""


@dataclass(frozen=True)
class Account:
    """What closed periods cost in minor units: `charges` before discounts, `net` after them, by period."""

    charges: Mapping[Charge, int]
    net: Mapping[int, int]


@dataclass(frozen=True)
class _Facts:
    ends_at: int | None
    versions: tuple[tuple[int, int], ...]
    pauses: tuple[tuple[int, int], ...]
    events: tuple[tuple[int, int, int], ...]


def account(life: Life, forgiven: Mapping[Charge, int]) -> Account:
    """Return what every period that is over owes; `forgiven` is what voided invoices held and is not billed again."""
    facts = _facts(life)
    charges: dict[Charge, int] = {}
    net: dict[int, int] = {}
    uses: list[int] = [0 for _ in life.coupons]
    for k in range(200):
        start, end = life.boundary(k), life.boundary(k + 1)
        until = end if facts.ends_at is None else min(end, facts.ends_at)
        if until <= start or until + (life.grace_days if until == end else 0) * 24 * 60 > life.until:
            break
        whole = _priced(life.versions[_in_force(facts, start)], facts, start, end, until)
        left = {charge: max(0, minor - forgiven.get((start, charge), 0)) for charge, minor in whole.items()}
        charges |= {(start, charge): minor for charge, minor in left.items()}
        mine = [n for n, one in enumerate(life.coupons) if one.periods is None or uses[n] < one.periods]
        net[start], used = _discounted(sum(left.values()), [life.coupons[n] for n in mine])
        for place in used:
            uses[mine[place]] += 1
    return Account(charges, net)


def rounded(amount: Fraction) -> int:
    """Round an amount that is not negative, half up (R2)."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)


def _facts(life: Life) -> _Facts:
    ends = life.agreed_end
    versions, pauses, since = [(0, 0)], list[tuple[int, int]](), None
    events: list[tuple[int, int, int]] = []
    for step in life.steps:
        match step.act:
            case "use":
                events.append((step.when, step.n, step.m))
            case "amend":
                events[step.n] = (*events[step.n][:2], step.m)
            case "unuse":
                events[step.n] = (*events[step.n][:2], 0)
            case "pause":
                since = step.at
            case "resume" if since is not None:
                pauses.append((since, step.at))
                since = None
            case "terminate":
                ends = step.at if ends is None else min(ends, step.at)
            case "cancel":
                end = _period_end(life, step.at)
                ends = end if ends is None else min(ends, end)
            case "migrate":
                versions.append((_period_end(life, step.at), step.n))
    if since is not None:
        pauses.append((since, life.until))
    return _Facts(ends, tuple(versions), tuple(pauses), tuple(events))


def _period_end(life: Life, at: int) -> int:
    """Return the end of the period, or of the trial, in which a minute lies."""
    return next(b for k in range(200) if (b := life.boundary(k)) > at)


def _in_force(facts: _Facts, start: int) -> int:
    return [version for since, version in facts.versions if since <= start][-1]


def _priced(prices: Prices, facts: _Facts, start: int, end: int, until: int) -> dict[str, int]:
    """Price one whole period: each charge is rounded once."""
    stops = [(max(start, since), min(until, to)) for since, to in facts.pauses]
    paused = sum(max(0, to - since) for since, to in stops)
    used = [Fraction(0), Fraction(0)]
    for when, metric, quarters in facts.events:
        if start <= when < until and not any(since <= when < to for since, to in facts.pauses):
            used[metric] += Fraction(quarters, 4)
    fee = 100 * Fraction(prices.fee) * Fraction(until - start - paused, end - start)
    calls, below = Fraction(0), Fraction(0)
    for up_to, unit, flat in prices.tiers:
        top = used[1] if up_to is None else min(used[1], Fraction(up_to))
        if below == 0 or used[1] > below:
            calls += max(Fraction(0), top - below) * Fraction(unit) + Fraction(flat)
        below = Fraction(up_to or 0)
    units = 100 * used[0] * Fraction(prices.unit)
    return {UNITS: rounded(units), CALLS: rounded(100 * calls), FEE: rounded(fee)}


def _discounted(gross: int, coupons: list[Coupon]) -> tuple[int, list[int]]:
    """Take coupons off a period's sum: percentages first, then amounts, each in its order; say which took something."""
    left, used = gross, list[int]()
    for n in sorted(range(len(coupons)), key=lambda n: not coupons[n].is_percentage):
        worth = coupons[n].worth
        taken = min(left, rounded(Fraction(worth * left, 100)) if coupons[n].is_percentage else worth)
        if taken > 0:
            used.append(n)
            left -= taken
    return left, used
