"""R18, R26: what a provider can take of an amount."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.collectable import collectable_minor


@pytest.mark.parametrize(
    ("amount", "currency", "part"),
    [
        (10, "USD", 0),
        (49, "usd", 0),
        (50, "usd", 50),
        (29, "GBP", 0),
        (30, "GBP", 30),
        (30, "JPY", 0),
        (17499, "HUF", 0),
        # 1.235 dinars: five thousandths are carried. 0.009: all of it.
        (1235, "KWD", 1230),
        (9, "KWD", 0),
        (7001, "BHD", 7000),
        # 123.45 ariary, which Stripe takes whole.
        (12345, "MGA", 12300),
        (1, "XAF", 1),
    ],
)
def test_item_10_stripe_takes_no_less_than_its_minimum_and_whole_steps(amount: int, currency: str, part: int) -> None:
    assert collectable_minor("stripe", amount, currency) == part


@pytest.mark.parametrize("provider", [None, "manual", "sandbox"])
def test_item_10_others_take_every_amount(provider: str | None) -> None:
    assert collectable_minor(provider, 1, "usd") == 1


@given(amount=st.integers(0, 10**15), currency=st.sampled_from(["usd", "kwd", "mga", "huf", "isk"]))
def test_item_10_what_can_be_taken_can_be_taken_again(amount: int, currency: str) -> None:
    part = collectable_minor("stripe", amount, currency)
    assert 0 <= part <= amount
    assert collectable_minor("stripe", part, currency) == part
