"""Alerts and thresholds: lines, levels, occasions and the invoices in the middle of a period, by hand and at large."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.alerts import (
    Alert,
    AlertState,
    EvaluationThreshold,
    Threshold,
    crossed,
    level_threshold,
    nearest,
    occasion,
    percentage,
    projected,
)
from billing.charges import CHARGE_MODEL, Charge
from billing.closing.difference import billed_by, difference, unbilled_usage
from billing.invoice import InvoiceLine, total
from billing.period import Period
from billing.rating import rate
from billing.usage import Usage

START = datetime(2026, 3, 1, tzinfo=UTC)
MARCH = Period(start=START, end=datetime(2026, 4, 1, tzinfo=UTC))
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
D = Decimal


def test_a_line_is_reached_at_its_very_value() -> None:
    alert = Alert(threshold=D(10))
    assert alert.reached(D("9.99")) == ()
    assert alert.reached(D("9.999999999999999999")) == ()
    assert alert.reached(D(10)) == (100,)


def test_one_jump_reaches_several_levels_and_none_twice() -> None:
    alert = Alert(threshold=D(10_000), levels=(80, 50, 100))
    assert alert.reached(D(8_200)) == (50, 80)
    assert Alert(threshold=D(10_000), levels=(80, 50, 100), fired=frozenset({50, 80})).reached(D(8_300)) == ()
    assert alert.next_threshold(D(0)) == 5_000
    assert alert.next_threshold(D(8_200)) == 10_000
    assert alert.next_threshold(D(10_000)) is None


def test_a_wallet_falls_to_its_line() -> None:
    alert = Alert(kind="wallet_balance", threshold=D(1_000), levels=(50, 100))
    assert alert.reached(D(1_001)) == ()
    assert alert.reached(D(1_000)) == (100,)
    assert alert.reached(D(400)) == (100, 50)


def test_levels_are_exact() -> None:
    assert level_threshold(D("0.000000000000000001"), 33) == D("0.00000000000000000033")
    assert level_threshold(D(10_000), 80) == 8_000


@pytest.mark.parametrize(
    ("quantity", "threshold", "shown"),
    [(7_500, 10_000, "75"), (10_250, 10_000, "102.5"), (1, 3, "33.33"), (2, 3, "66.67"), (-1, 8, "-12.5"), (0, 7, "0")],
)
def test_percentages(quantity: int, threshold: int, shown: str) -> None:
    assert percentage(D(quantity), D(threshold)) == D(shown)


def test_a_projection_waits_for_a_tenth_of_the_period() -> None:
    period = Period(start=START, end=START + timedelta(days=30))
    assert projected(D(3_000), period, START + timedelta(days=10)) == 9_000
    assert projected(D(3_000), period, START + timedelta(days=3)) == 30_000
    assert projected(D(3_000), period, START + timedelta(days=2, hours=23)) is None
    assert projected(D(3_000), period, period.end + timedelta(days=9)) == 3_000


def test_occasions() -> None:
    assert occasion(recurring=False, period_start=START) == "once"
    assert occasion(recurring=True, period_start=START) == "2026-03-01T00:00:00+00:00"


def test_thresholds_that_one_jump_crosses_come_together() -> None:
    known = [Threshold(id=ONE, amount_minor=D(3_000)), Threshold(id=TWO, amount_minor=D(1_000))]
    assert crossed(known, 999) == ()
    assert crossed(known, 1_000) == (TWO,)
    assert crossed(known, 5_000) == (TWO, ONE)
    assert crossed(known, 5_000, done={TWO}) == (ONE,)
    assert crossed([Threshold(id=ONE, amount_minor=D(0))], 0) == ()


def test_the_nearest_line_of_each_metric() -> None:
    lines = [EvaluationThreshold(metric_id=TWO, quantity=D(5)), EvaluationThreshold(metric_id=ONE, quantity=D(9))]
    more = [*lines, EvaluationThreshold(metric_id=TWO, quantity=D(3))]
    assert nearest(more) == (
        EvaluationThreshold(metric_id=ONE, quantity=D(9)),
        EvaluationThreshold(metric_id=TWO, quantity=D(3)),
    )
    alert_state = AlertState(thresholds=nearest(more))
    assert alert_state.reached([EvaluationThreshold(metric_id=TWO, quantity=D(3))]) == (
        EvaluationThreshold(metric_id=TWO, quantity=D(3)),
    )
    assert (
        alert_state.reached(
            [EvaluationThreshold(metric_id=ONE, quantity=D(8)), EvaluationThreshold(metric_id=THREE, quantity=D(8))]
        )
        == ()
    )


QUANTITIES = st.decimals(min_value=-50, max_value=500, places=2, allow_nan=False, allow_infinity=False)
LEVELS = st.lists(st.integers(1, 200), min_size=1, max_size=5, unique=True).map(tuple)


@given(st.decimals(min_value="0.01", max_value=300, places=2), LEVELS, st.lists(QUANTITIES, max_size=20))
def test_however_usage_moves_a_level_fires_once_and_exactly_if_its_line_was_reached(
    threshold: Decimal, levels: tuple[int, ...], path: list[Decimal]
) -> None:
    fired: list[int] = []
    for quantity in path:
        fired += Alert(threshold=threshold, levels=levels, fired=frozenset(fired)).reached(quantity)
    assert len(fired) == len(set(fired))
    assert set(fired) == {level for level in levels if any(at >= level_threshold(threshold, level) for at in path)}


@given(st.decimals(min_value="0.01", max_value=300, places=2), LEVELS, st.lists(QUANTITIES, max_size=20))
def test_looking_only_at_the_nearest_line_misses_nothing(
    threshold: Decimal, levels: tuple[int, ...], path: list[Decimal]
) -> None:
    fired: set[int] = set()
    line: Decimal | None = D(-1_000)
    for quantity in path:
        alert = Alert(threshold=threshold, levels=levels, fired=frozenset(fired))
        if line is not None and quantity >= line:
            fired |= set(alert.reached(quantity))
            line = alert.next_threshold(quantity)
        assert not set(levels) & set(
            Alert(threshold=threshold, levels=levels, fired=frozenset(fired)).reached(quantity)
        )


TIERS = [
    {"up_to": "100", "unit_price": "0.133", "flat_fee": "0.5"},
    {"up_to": "250", "unit_price": "0.0777"},
    {"up_to": None, "unit_price": "0.021"},
]
CHARGES = (
    Charge(
        id=ONE,
        metric_id=ONE,
        metric_name="Calls",
        model=CHARGE_MODEL.validate_python({"kind": "graduated", "tiers": TIERS}),
    ),
    Charge(
        id=TWO,
        metric_id=TWO,
        metric_name="Seats",
        model=CHARGE_MODEL.validate_python({"kind": "per_unit", "unit_price": "0.335"}),
    ),
    Charge(id=THREE, description="Base fee", model=CHARGE_MODEL.validate_python({"kind": "flat", "amount": "49.00"})),
)


def proposed(calls: Decimal, seats: Decimal) -> tuple[InvoiceLine, ...]:
    used = {ONE: Usage(quantity=calls), TWO: Usage(quantity=seats)}
    return tuple(rate(CHARGES, used, period=MARCH, full_period=MARCH, currency="USD"))


MOVES = st.tuples(st.sampled_from([ONE, TWO]), st.decimals(min_value=-60, max_value=200, places=1))
THRESHOLDS = st.lists(st.integers(1, 9_000), min_size=1, max_size=4)


@settings(max_examples=500)
@given(st.lists(MOVES, max_size=12), THRESHOLDS)
def test_b155_b156_the_invoices_of_a_period_add_up_to_one_rating(
    moves: list[tuple[UUID, Decimal]], amounts: list[int]
) -> None:
    known = [Threshold(id=UUID(int=10 + place), amount_minor=D(amount)) for place, amount in enumerate(amounts)]
    used = {ONE: D(0), TWO: D(0)}
    existing: list[InvoiceLine] = []
    done: set[UUID] = set()
    for metric, value in moves:
        used[metric] += value
        lines = proposed(used[ONE], used[TWO])
        spend = total([line for line in lines if line.kind == "usage"])
        reached = crossed(known, spend, done=done)
        assert set(reached) == {each.id for each in known if each.amount_minor <= spend and spend > 0} - done
        if reached:
            done |= set(reached)
            middle = unbilled_usage(billed_by(existing), lines)
            assert all(line.kind == "usage" for line in middle)
            assert total(middle) >= 0
            existing += middle
    last = difference(billed_by(existing), proposed(used[ONE], used[TWO]), closed=())
    assert [line.kind for line in last if line.kind == "fee"] == ["fee"]
    assert {line.reason for line in last} == {"period"}
    assert total(existing) + total(last) == total(proposed(used[ONE], used[TWO]))


def test_b155_by_hand() -> None:
    """133 calls: 100 x 0.133 + 0.50 + 33 x 0.0777 = 16.3641; 300: 13.30 + 0.50 + 11.655 + 50 x 0.021 = 26.505."""
    middle = unbilled_usage({}, proposed(D(133), D(0)))
    assert [(line.charge_id, line.amount_minor) for line in middle] == [(ONE, 1636)]
    last = difference(billed_by(middle), proposed(D(300), D(0)), closed=())
    assert [line.amount_minor for line in last] == [2651 - 1636, 0, 4900]
    assert unbilled_usage(billed_by(middle), proposed(D(133), D(0))) == ()
    assert unbilled_usage(billed_by(middle), proposed(D(120), D(0))) == ()
