"""Rounding, currencies and allocation (R2, R17, B102, B105)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import (
    MixedCurrencies,
    Money,
    NothingToAllocateOver,
    UnknownCurrency,
    allocate,
    exponent,
    normalise_currency,
    to_major,
    to_minor,
)
from tests.billing.strategies import CURRENCIES, quantities


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("0.015", "USD", 2),
        ("-0.015", "USD", -2),
        ("0.0149999", "usd", 1),
        ("0.025", "USD", 3),
        ("49.00", "usd", 4900),
        ("100", "JPY", 100),
        ("99.5", "JPY", 100),
        ("1.2345", "KWD", 1235),
        ("1.2344999", "kwd", 1234),
        ("0", "USD", 0),
    ],
)
def test_amounts_round_once_half_away_from_zero(amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor


def test_rounding_sees_digits_beyond_the_default_context_of_python() -> None:
    # 28 digits would round 0.00499...9 (34 nines) up to 0.005 first, and then to a cent.
    assert to_minor(Decimal("0.004" + "9" * 34), "USD") == 0
    assert to_minor(Decimal("12345678901234567890.125"), "USD") == 1234567890123456789013


@given(st.integers(-(10**15), 10**15), CURRENCIES)
def test_minor_and_major_units_are_inverse(minor: int, currency: str) -> None:
    assert to_minor(to_major(minor, currency), currency) == minor


@given(quantities, CURRENCIES)
def test_a_credit_is_the_mirror_of_a_charge(amount: Decimal, currency: str) -> None:
    assert to_minor(-amount, currency) == -to_minor(amount, currency)


def test_exponents_are_those_of_iso_4217() -> None:
    assert [exponent(code) for code in ("jpy", "USD", "Kwd", "CLF", "ISK")] == [0, 2, 3, 4, 0]
    assert normalise_currency("eur") == "EUR"


@pytest.mark.parametrize("code", ["", "XYZ", "US", "USDX", "XAU", "XXX", "uſd", " usd"])
def test_what_cannot_be_invoiced_in_is_unknown(code: str) -> None:
    with pytest.raises(UnknownCurrency):
        exponent(code)


def test_money_of_one_currency_adds_up_and_of_two_does_not() -> None:
    bill, credit = Money(amount="100.005", currency="usd"), Money.of_minor(1, "USD")
    assert bill + credit == Money(amount="100.015", currency="USD")
    assert (bill - credit).minor == 10000
    assert -credit == Money(amount="-0.01", currency="USD")
    with pytest.raises(MixedCurrencies):
        bill + Money(amount=1, currency="EUR")
    with pytest.raises(MixedCurrencies):
        bill - Money(amount=1, currency="EUR")


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (100, "1 1 1", (34, 33, 33)),
        (-100, "1 1 1", (-34, -33, -33)),
        (10, "0 1", (0, 10)),
        (1, "1 1", (1, 0)),
        (5, "0.5 0.3 0.2", (3, 1, 1)),
        (0, "0 0", (0, 0)),
        (0, "", ()),
        (7, "3", (7,)),
    ],
)
def test_allocation_by_largest_remainder(total: int, weights: str, parts: tuple[int, ...]) -> None:
    assert allocate(total, [Decimal(weight) for weight in weights.split()]) == parts


@given(st.integers(-1000, 1000), st.lists(quantities, min_size=1, max_size=6).filter(any))
def test_parts_add_up_and_are_within_one_unit_of_their_share(total: int, weights: list[Decimal]) -> None:
    parts = allocate(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < sum(weights)
    assert allocate(-total, weights) == tuple(-part for part in parts)


@pytest.mark.parametrize("weights", [[], [Decimal(0)], [Decimal(2), Decimal(-1)]])
def test_an_amount_is_not_lost_for_want_of_a_weight(weights: list[Decimal]) -> None:
    with pytest.raises(NothingToAllocateOver):
        allocate(1, weights)
