"""10,000 random sets of events: each aggregation against a naive one, under permutation, duplication and splitting.

The naive ones are written differently on purpose: they sort by hand, keep ratios, and know nothing of the real ones.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.aggregations import AGGREGATIONS, CARRY_OVER_AGGREGATIONS, EventValue, aggregation
from billing.period import Period

SETS = 1000
PERIOD = Period(start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 4, 1, tzinfo=UTC))
SECOND = timedelta(seconds=1)

Events = Sequence[EventValue]
Naive = Callable[[Events, dict[str, Any]], Fraction]


def numbers(events: Events) -> list[Fraction]:
    return [Fraction(event.value) for event in events if event.value is not None]


def naive_unique(events: Events, given: dict[str, Any]) -> Fraction:
    seen = []
    for event in events:
        what = event.properties.get("user", event.value)
        if what is not None and str(what) not in seen:
            seen.append(str(what))
    return Fraction(len(seen))


def naive_latest(events: Events, given: dict[str, Any]) -> Fraction:
    last: EventValue | None = None
    for event in events:
        if event.value is None:
            continue
        moment = (event.occurred_at, event.received_at, event.key)
        if last is None or moment > (last.occurred_at, last.received_at, last.key):
            last = event
    return Fraction(0) if last is None or last.value is None else Fraction(last.value)


def naive_weighted(events: Events, given: dict[str, Any]) -> Fraction:
    """Walk through the period from change to change and add up level x time."""
    changes = sorted((max(event.occurred_at, PERIOD.start), Fraction(event.value or 0)) for event in events)
    area, level, since = Fraction(0), Fraction(0), PERIOD.start
    for at, change in [*changes, (PERIOD.end, Fraction(0))]:
        area += level * ((at - since) // SECOND)
        level, since = level + change, at
    return area / ((PERIOD.end - PERIOD.start) // SECOND)


def naive_percentile(events: Events, given: dict[str, Any]) -> Fraction:
    ranked, wanted = sorted(numbers(events)), Fraction(given["percentile"])
    for index, value in enumerate(ranked, start=1):
        if Fraction(index * 100, len(ranked)) >= wanted:
            return value
    return Fraction(0)


NAIVE: dict[str, Naive] = {
    "sum": lambda events, given: sum(numbers(events), Fraction(0)),
    "count": lambda events, given: Fraction(len(events)),
    "max": lambda events, given: sorted(numbers(events))[-1] if numbers(events) else Fraction(0),
    "min": lambda events, given: sorted(numbers(events))[0] if numbers(events) else Fraction(0),
    "unique_count": naive_unique,
    "latest": naive_latest,
    "average": lambda events, given: sum(numbers(events), Fraction(0)) / max(len(numbers(events)), 1),
    "weighted_sum": naive_weighted,
    "percentile": naive_percentile,
    "custom": lambda events, given: sum(numbers(events), Fraction(0)),
}


def some_events(chance: random.Random) -> list[EventValue]:
    """Give up to nine events in and around the period, many of them at the same instants."""
    instants = [PERIOD.start, PERIOD.end, PERIOD.end - SECOND, PERIOD.start - SECOND]
    length = (PERIOD.end - PERIOD.start) // SECOND
    return [
        EventValue(
            key=f"{number:02}",
            value=None if chance.random() < 0.1 else Decimal(chance.randrange(-500, 5000)).scaleb(-chance.randrange(4)),
            properties={"user": chance.choice("abc")} if chance.random() < 0.5 else {},
            occurred_at=chance.choice([*instants, PERIOD.start + SECOND * chance.randrange(-length // 4, length)]),
            received_at=PERIOD.start + SECOND * chance.randrange(3),
        )
        for number in range(chance.randrange(10))
    ]


def configuration(chance: random.Random, kind: str) -> dict[str, Any]:
    """Choose what the kind can be configured by."""
    given: dict[str, Any] = {}
    if kind == "percentile":
        given["percentile"] = chance.choice([1, 7, 25, 50, Decimal("99.9"), 100])
    if kind == "unique_count":
        given["field"] = "user"
    if kind == "custom":
        given["expression"] = "value * 2"
    if kind in CARRY_OVER_AGGREGATIONS and chance.random() < 0.4:
        given["carry_over"] = True
    return given


def test_every_aggregation_has_a_naive_one() -> None:
    assert NAIVE.keys() == AGGREGATIONS.keys()
    assert SETS * len(AGGREGATIONS) >= 10_000


@pytest.mark.parametrize("kind", AGGREGATIONS)
def test_a_thousand_random_sets(kind: str) -> None:
    chance = random.Random(f"sets of {kind}")
    for number in range(SETS):
        given, events = configuration(chance, kind), some_events(chance)
        folding = aggregation(kind, **given)
        counted = [
            event
            for event in events
            if event.occurred_at < PERIOD.end and (given.get("carry_over") or event.occurred_at >= PERIOD.start)
        ]
        shuffled = chance.sample(events, len(events)) + chance.choices(events, k=2 if events else 0)
        quantity = folding.fold(shuffled, PERIOD)
        assert abs(Fraction(quantity) - NAIVE[kind](counted, given)) * 2 * 10**18 <= 1, (number, given, events)
        assert folding.fold(events, PERIOD) == quantity
        cut = chance.randrange(len(events) + 1)
        if folding.from_rollup:
            parts = [part for part in (events[:cut], events[cut:]) if has_values(part, counted)]
            folded = [
                folding.fold(part, PERIOD)
                for part in (parts if kind in ("max", "min") else (events[:cut], events[cut:]))
            ]
            together = {"max": max, "min": min}.get(kind, lambda quantities: sum(quantities, Decimal(0)))
            assert together(folded or [Decimal(0)]) == quantity


def has_values(part: Events, counted: Events) -> bool:
    """Return whether a part has a largest and a smallest value; of one without, the quantity is 0."""
    return any(event.value is not None and event in counted for event in part)
