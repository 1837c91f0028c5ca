"""Percentages of single events: what is free, what straddles, and what one event costs at least and at most (R7)."""

from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.charges import Percentage
from billing.pricing import price
from billing.usage import NO_USAGE, Usage
from tests.billing.strategies import hundredths, prices, rates


def used(model: Percentage, *values: str) -> Usage:
    """Fold events in their order."""
    return reduce(model.with_event, (Decimal(value) for value in values), NO_USAGE)


@pytest.mark.parametrize(
    ("limits", "values", "cost"),
    [
        # 2 % and 0.30 each, of 100, 50 and 200
        ({}, ("100", "50", "200"), "7.90"),
        ({"free_events": 2}, ("100", "50", "200"), "4.30"),
        ({"free_events": 3}, ("100", "50", "200"), "0"),
        # The first 100 are free: the first event lies wholly inside, the bound included.
        ({"free_amount": "100"}, ("100", "50", "200"), "5.60"),
        # The second event straddles: 2 % of 30 and the whole fee.
        ({"free_amount": "120"}, ("100", "50", "200"), "5.20"),
        ({"transaction_min": "2"}, ("100", "50", "200"), "8.60"),
        ({"transaction_max": "2"}, ("100", "50", "200"), "5.30"),
        ({"free_events": 1, "transaction_min": "1.5", "transaction_max": "4"}, ("100", "50", "200"), "5.50"),
        # A refund takes its share back; a total below nothing is nothing (R10).
        ({"free_amount": "100"}, ("150", "-20"), "1.20"),
        ({"transaction_max": "1"}, ("-500",), "0"),
    ],
)
def test_worked_examples(limits: dict[str, Any], values: tuple[str, ...], cost: str) -> None:
    model = Percentage(rate=Decimal(2), fixed_fee=Decimal("0.30"), **limits)
    assert price(model.steps(used(model, *values))) == Decimal(cost)


def test_the_order_decides_which_events_are_free() -> None:
    model = Percentage(rate=Decimal(10), free_events=1)
    assert price(model.steps(used(model, "1", "100"))) == 10
    assert price(model.steps(used(model, "100", "1"))) == Decimal("0.1")


@pytest.mark.parametrize(
    "wrong",
    [{"free_events": 1, "free_amount": "1"}, {"transaction_min": "2", "transaction_max": "1"}, {"free_events": 0}],
)
def test_what_is_ambiguous_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Percentage(rate=Decimal(1), **wrong)


@given(rate=rates, fee=prices, values=st.lists(hundredths(0, 40), max_size=6))
def test_limits_that_limit_nothing_change_nothing(rate: Decimal, fee: Decimal, values: list[Decimal]) -> None:
    plain = Percentage(rate=rate, fixed_fee=fee)
    limited = Percentage(rate=rate, fixed_fee=fee, transaction_min=Decimal(0), transaction_max=Decimal(10**9))
    texts = [str(value) for value in values]
    assert price(plain.steps(used(plain, *texts))) == price(limited.steps(used(limited, *texts)))


@given(rate=rates, fee=prices, free=hundredths(0, 90), values=st.lists(hundredths(0, 40), max_size=6))
def test_the_free_amount_takes_its_share_of_the_value_off_once(
    rate: Decimal, fee: Decimal, free: Decimal, values: list[Decimal]
) -> None:
    model = Percentage(rate=rate, fixed_fee=fee, free_amount=free)
    usage = used(model, *(str(value) for value in values))
    assert usage.charged_value == max(sum(values, Decimal(0)) - free, Decimal(0))
    assert price(model.steps(usage)) == usage.charged_value * model.share + usage.charged_events * fee
