"""Discounts: worked examples by hand, and what holds for every mixture of coupons (B121, R2, R17)."""

from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.discounts import (
    AppliedCoupon,
    FixedAmountOff,
    PercentageOff,
    after_use,
    cents_in_major,
    cents_in_minor,
    discounts,
    uses_of,
)
from tests.billing.strategies import CURRENCIES, hundredths


def percent(rate: str, number: int = 1, uses: int | None = None) -> AppliedCoupon:
    return AppliedCoupon(
        application_id=UUID(int=number), name="Ten", off=PercentageOff(rate=Decimal(rate)), uses_left=uses
    )


def fixed(cents: str, number: int = 1, uses: int | None = None, currency: str = "USD") -> AppliedCoupon:
    off = FixedAmountOff(amount_cents=Decimal(cents), currency=currency)
    return AppliedCoupon(application_id=UUID(int=number), name="Five", off=off, uses_left=uses)


def taken(*coupons: AppliedCoupon, amounts: tuple[int, ...] = (10000,), currency: str = "USD") -> list[int]:
    return [discount.amount_minor for discount in discounts(coupons, amounts, currency)]


@pytest.mark.parametrize(
    ("coupons", "expected"),
    [
        ([percent("10")], [1000]),  # 100.00 -> 90.00 (B121)
        ([fixed("500")], [500]),
        ([percent("50", 1), percent("50", 2)], [5000, 2500]),
        # 10 % of 100.00 first, then 5.00, in whatever order they were applied.
        ([fixed("500", 1), percent("10", 2)], [1000, 500]),
        ([percent("10", 1), fixed("500", 2)], [1000, 500]),
        ([fixed("15000")], [10000]),
        ([percent("100", 1), fixed("500", 2)], [10000]),
        ([percent("0")], []),
        ([fixed("0")], []),
        ([percent("10", uses=0)], []),
        ([fixed("500", currency="EUR")], []),
        ([], []),
    ],
)
def test_worked_examples(coupons: list[AppliedCoupon], expected: list[int]) -> None:
    assert taken(*coupons) == expected


def test_each_discount_is_rounded_once_half_away_from_zero() -> None:
    # 12.5 % of 1.00 is 12.5 cents; of 0.04 half a cent.
    assert taken(percent("12.5"), amounts=(100,)) == [13]
    assert taken(percent("12.5"), amounts=(4,)) == [1]
    assert taken(percent("12.4"), amounts=(4,)) == []
    assert taken(fixed("20.5")) == [21]


def test_the_parts_of_a_discount_follow_the_lines() -> None:
    # 10 % of 149.00 is 14.90, of which 10.00 for the usage and 4.90 for the fee.
    (discount,) = discounts([percent("10")], (10000, 4900), "usd")
    assert (discount.amount_minor, discount.parts) == (1490, (1000, 490))
    # 1.00 over three equal lines: the cent that is left over goes to the earliest.
    (discount,) = discounts([fixed("100")], (500, 500, 500), "USD")
    assert discount.parts == (34, 33, 33)


def test_a_negative_line_makes_the_bill_smaller_and_carries_no_part() -> None:
    (discount,) = discounts([percent("50")], (1000, -400, 0), "USD")
    assert (discount.amount_minor, discount.parts) == (300, (300, 0, 0))
    assert taken(percent("50"), amounts=(400, -400)) == []
    assert taken(fixed("50"), amounts=(-400,)) == []


def test_a_discount_names_its_coupon() -> None:
    assert [one.description for one in discounts([percent("12.50"), fixed("1", 2)], (100,), "USD")] == [
        "Coupon Ten (12.5 % off)",
        "Coupon Five",
    ]


def test_uses_are_counted_down_for_what_gave_a_discount() -> None:
    held = (percent("10", 1, 3), fixed("5", 2, 1, "EUR"), percent("5", 3))
    after = after_use(held, discounts(held, (10000,), "USD"))
    assert [coupon.uses_left for coupon in after] == [2, 1, None]


def test_a_billing_period_is_one_use_and_shares_a_fixed_amount() -> None:
    """5.00 off 3.00 leaves 2.00 for the next invoice of the period; what is used up still discounts its last period."""
    held = (percent("10", 1, 1), fixed("500", 2, 1))
    first = discounts(held, (300,), "USD")
    assert [(one.amount_minor, one.counts) for one in first] == [(30, True), (270, True)]
    later = tuple(
        coupon.model_copy(update={"uses_left": 0, "taken_minor": one.amount_minor})
        for coupon, one in zip(held, first, strict=True)
    )
    second = discounts(later, (1000,), "USD", billed_minor=300)
    assert [(one.amount_minor, one.counts) for one in second] == [(100, False), (230, False)]
    assert after_use(later, second) == later


def test_a_correction_gives_back_what_was_paid() -> None:
    """100.00 less 50 % was 50.00; 40.00 are left of it: 20.00 are due, so 30.00 of the discount go with 60.00."""
    held = percent("50", uses=0).model_copy(update={"taken_minor": 5000})
    (back,) = discounts([held], (-6000,), "USD", billed_minor=10000)
    assert (back.amount_minor, back.parts, back.counts) == (-3000, (-3000,), False)


def test_a_coupon_that_came_in_the_middle_leaves_what_was_billed_before() -> None:
    """10.00 were billed; 50 % came; 20.00 more: 10.00 off. 5.00 off what comes after 10.00 of 12.00: 2.00."""
    half, five = percent("50").model_copy(update={"since_minor": 1000}), fixed("500", 2)
    assert [one.amount_minor for one in discounts([half], (2000,), "USD", billed_minor=1000)] == [1000]
    late = five.model_copy(update={"since_minor": 1000})
    assert [one.amount_minor for one in discounts([late], (200,), "USD", billed_minor=1000)] == [200]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6), hundredths(0, 100), hundredths(0, 300))
def test_the_discounts_of_a_periods_invoices_add_up_to_the_discount_of_the_whole(
    amounts: list[int], rate: Decimal, cents: Decimal
) -> None:
    held = (percent(str(rate), 1), fixed(str(cents), 2))
    billed, given_off = 0, {1: 0, 2: 0}
    for amount in amounts:
        coupons = [one.model_copy(update={"taken_minor": given_off[one.application_id.int]}) for one in held]
        for discount in discounts(coupons, (amount,), "USD", billed_minor=billed):
            given_off[discount.application_id.int] += discount.amount_minor
        billed += amount
    assert sum(given_off.values()) == sum(taken(*held, amounts=(billed,)))


def test_uses_of_each_frequency() -> None:
    assert (uses_of("once", None), uses_of("recurring", 3), uses_of("forever", None)) == (1, 3, None)


def test_a_rate_is_a_part_of_the_bill() -> None:
    for rate in ("-1", "100.01", "NaN"):
        with pytest.raises(ValidationError):
            PercentageOff.model_validate({"rate": rate})


def test_amounts_in_cents_follow_the_currency() -> None:
    assert (cents_in_minor(Decimal("2500"), "USD"), cents_in_minor(Decimal("0.5"), "JPY")) == (2500, 1)
    assert [cents_in_major(Decimal(2500), currency) for currency in ("USD", "JPY", "KWD")] == [
        Decimal("25"),
        Decimal(2500),
        Decimal("2.5"),
    ]


@st.composite
def applied(draw: st.DrawFn) -> tuple[AppliedCoupon, ...]:
    """At most four coupons of any kind, some used up."""
    found = []
    for number in range(draw(st.integers(0, 4))):
        uses = draw(st.sampled_from([None, 0, 1, 3]))
        if draw(st.booleans()):
            found.append(percent(str(draw(hundredths(0, 100))), number, uses))
        else:
            found.append(fixed(str(draw(hundredths(0, 300))), number, uses, draw(CURRENCIES)))
    return tuple(found)


amounts = st.lists(st.integers(-200, 400), max_size=5).map(tuple)


@given(applied(), amounts, CURRENCIES)
def test_a_discount_is_between_nothing_and_the_bill(
    coupons: tuple[AppliedCoupon, ...], lines: tuple[int, ...], currency: str
) -> None:
    found = discounts(coupons, lines, currency)
    assert all(discount.amount_minor > 0 for discount in found)
    assert 0 <= sum(discount.amount_minor for discount in found) <= max(0, sum(lines))


@given(applied(), amounts, CURRENCIES)
def test_the_parts_add_up_and_no_line_falls_below_zero(
    coupons: tuple[AppliedCoupon, ...], lines: tuple[int, ...], currency: str
) -> None:
    found = discounts(coupons, lines, currency)
    assert all(sum(discount.parts) == discount.amount_minor for discount in found)
    for index, line in enumerate(lines):
        parts = [discount.parts[index] for discount in found]
        assert all(part >= 0 for part in parts)
        assert sum(parts) <= max(0, line)


@given(applied(), amounts, CURRENCIES)
def test_percentages_come_first(coupons: tuple[AppliedCoupon, ...], lines: tuple[int, ...], currency: str) -> None:
    kinds = {coupon.application_id: coupon.off.kind for coupon in coupons}
    order = [kinds[discount.application_id] for discount in discounts(coupons, lines, currency)]
    assert order == sorted(order, reverse=True)
