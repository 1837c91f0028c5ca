"""Filters and groups: each event is in one bucket and one group, and the parts add up to the whole (B51)."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from billing.aggregations import EventValue, aggregation
from billing.charges import Charge
from billing.period import Period
from billing.rating import rate
from billing.scope import (
    Combination,
    EventScope,
    PropertyMatch,
    bucket_of,
    group_label,
    group_of,
    ranked,
)
from billing.usage import GroupUsage, Usage

APRIL = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))


def takes(**values: str | list[str]) -> Combination:
    return Combination(
        matches=tuple(
            PropertyMatch(key=key, values=(each,) if isinstance(each, str) else tuple(each))
            for key, each in values.items()
        )
    )


def test_an_event_matches_all_properties_of_a_combination() -> None:
    gold_eu = takes(region=["eu", "uk"], tier="gold")
    assert gold_eu.holds({"region": "uk", "tier": "gold", "user": "ann"})
    assert not gold_eu.holds({"region": "uk"})
    assert not gold_eu.holds({"region": "us", "tier": "gold"})
    assert gold_eu.label == "region: eu, uk; tier: gold"


def test_the_most_specific_of_overlapping_filters_takes_the_event() -> None:
    eu, gold, gold_eu = takes(region="eu"), takes(tier="gold"), takes(region="eu", tier="gold")
    europe = takes(region=["eu", "uk"])
    buckets = (europe, gold, eu, gold_eu)
    assert ranked(buckets) == (3, 1, 2, 0)
    for properties, bucket in (
        ({"region": "eu", "tier": "gold"}, 3),
        ({"region": "uk", "tier": "gold"}, 1),
        ({"region": "eu"}, 2),
        ({"region": "uk"}, 0),
        ({"region": "us", "tier": "iron"}, None),
        ({}, None),
    ):
        assert bucket_of(buckets, properties) == bucket, properties


def test_of_equally_specific_filters_the_first_takes_the_event() -> None:
    assert bucket_of((takes(region="eu"), takes(tier="gold")), {"region": "eu", "tier": "gold"}) == 0
    assert bucket_of((takes(tier="gold"), takes(region="eu")), {"region": "eu", "tier": "gold"}) == 0


def test_a_combination_names_each_property_once() -> None:
    match = PropertyMatch(key="region", values=("eu",))
    with pytest.raises(ValidationError, match="each property once"):
        Combination(matches=(match, match))


def test_groups_know_equal_numbers_and_missing_properties() -> None:
    assert group_of(["tier", "region"], {"region": "eu", "tier": 5}) == (("region", "eu"), ("tier", "5"))
    assert group_of(["tier"], {"tier": Decimal("5.0")}) == group_of(["tier"], {"tier": "5"})
    assert group_of(["tier"], {"tier": [1]}) == group_of(["tier"], {}) == (("tier", None),)
    assert group_label((("region", "eu"), ("user", None))) == "region: eu; user: none"
    assert len(group_label((("user", "x" * 500),))) == 66


PROPERTIES: dict[str, list[Any]] = {
    "region": ["eu", "us", "uk", None],
    "tier": ["gold", "iron", 5, Decimal("5.0"), None],
    "user": ["a", "b"],
}


def some_combination(chance: random.Random) -> Combination:
    keys = chance.sample(["region", "tier"], chance.randrange(1, 3))
    values = {"region": ["eu", "us", "uk"], "tier": ["gold", "iron", "5"]}
    return takes(**{key: chance.sample(values[key], chance.randrange(1, 3)) for key in keys})


def some_event(chance: random.Random, number: int) -> EventValue:
    properties = {key: chance.choice(values) for key, values in PROPERTIES.items()}
    at = APRIL.start + timedelta(hours=chance.randrange(720))
    value = Decimal(chance.randrange(-100, 1000)).scaleb(-chance.randrange(3))
    return EventValue(key=str(number), value=value, properties=properties, occurred_at=at, received_at=at)


def test_buckets_and_groups_add_up_to_the_metrics_total() -> None:
    """The sum of the parts is the whole, for everything additive: no event is counted twice, none is lost."""
    chance = random.Random("buckets")
    for _ in range(1000):
        buckets = tuple(some_combination(chance) for _ in range(chance.randrange(4)))
        events = [some_event(chance, number) for number in range(chance.randrange(12))]
        scopes = [EventScope(buckets=buckets, bucket=index) for index in (*range(len(buckets)), None)]
        parts: defaultdict[Any, list[EventValue]] = defaultdict(list)
        for event in events:
            holding = [scope for scope in scopes if scope.holds(event.properties)]
            assert len(holding) == 1, event
            parts[holding[0].bucket, group_of(["user", "tier"], event.properties)].append(event)
        for kind, together in (("sum", sum), ("count", sum), ("max", max), ("min", min)):
            folding = aggregation(kind)
            quantities = [folding.fold(part, APRIL) for part in parts.values()]
            assert together(quantities or [Decimal(0)]) == folding.fold(events, APRIL)


def test_each_group_is_a_line_priced_by_itself() -> None:
    tiers = [{"up_to": 10, "unit_price": 1, "flat_fee": 2}, {"up_to": None, "unit_price": "0.5"}]
    charge = Charge(
        id=UUID(int=1),
        metric_id=UUID(int=2),
        metric_name="API Calls",
        group_by=("region",),
        model={"kind": "graduated", "tiers": tiers},
    )
    used = Usage(
        quantity=32,
        events=3,
        groups=(
            GroupUsage(group=(("region", "eu"),), usage=Usage(quantity=20, events=2)),
            GroupUsage(group=(("region", None),), usage=Usage(quantity=12, events=1)),
        ),
        metric_name="Calls of the API",
        unit="calls",
    )
    lines = rate((charge,), {charge.id: used}, period=APRIL, full_period=APRIL, currency="usd")
    # 2 + 10 x 1 + 10 x 0.5, and 2 + 10 x 1 + 2 x 0.5: tiers start in every group.
    assert [(line.description, line.amount_minor, line.events) for line in lines] == [
        ("Calls of the API (region: eu) — tiered usage (20 calls)", 1700, 2),
        ("Calls of the API (region: none) — tiered usage (12 calls)", 1300, 1),
    ]
    assert [line.group for line in lines] == [(("region", "eu"),), (("region", None),)]


def test_a_filters_name_and_a_group_stand_beside_each_other() -> None:
    scope = EventScope(buckets=(takes(region="eu", tier="gold"),), bucket=0)
    charge = Charge(
        id=UUID(int=1),
        metric_id=UUID(int=2),
        metric_name="Calls",
        scope=scope,
        group_by=("user",),
        model={"kind": "per_unit", "unit_price": 1},
    )
    used = Usage(quantity=3, groups=(GroupUsage(group=(("user", "ann"),), usage=Usage(quantity=3)),))
    (line,) = rate((charge,), {charge.id: used}, period=APRIL, full_period=APRIL, currency="usd")
    assert line.description == "Calls (region: eu; tier: gold; user: ann) — usage (3 calls)"
    named = charge.model_copy(update={"description": "Gold in Europe"})
    (line,) = rate((named,), {charge.id: used}, period=APRIL, full_period=APRIL, currency="usd")
    assert line.description == "Gold in Europe (user: ann) — usage (3 calls)"
