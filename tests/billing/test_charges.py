"""Every charge model: hand-computed prices, independent oracles, and the properties that all share (R3 to R8, R10)."""

from decimal import ROUND_CEILING, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.charges import (
    CHARGE_MODEL,
    CHARGE_MODELS,
    ChargeModel,
    Graduated,
    GraduatedPercentage,
    Package,
    PerUnit,
    Tier,
    Usage,
    Volume,
)
from billing.money import to_minor
from billing.numbers import exact
from tests.billing.strategies import BY_KIND, charge_models, growing_usages, prices, quantities, tiers

GROWTH_TIERS = [
    {"up_to": 100000, "unit_price": 0},
    {"up_to": 1000000, "unit_price": Decimal("0.0001")},
    {"up_to": None, "unit_price": Decimal("0.00005")},
]
TWO_TIERS = [{"up_to": 100, "unit_price": 2}, {"up_to": None, "unit_price": 1, "flat_fee": 50}]
TWO_BANDS = [{"up_to": 100, "rate": 2}, {"up_to": None, "rate": 1, "flat_fee": 10}]

EXAMPLES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"kind": "flat", "amount": "49.00"}, {"quantity": 0}, "49"),
    ({"kind": "flat", "amount": "49.00"}, {"quantity": 7, "events": 7}, "49"),
    ({"kind": "per_unit", "unit_price": "0.00005"}, {"quantity": 200000}, "10"),
    ({"kind": "per_unit", "unit_price": "0.005"}, {"quantity": 3}, "0.015"),
    # 100,000 x 0 + 900,000 x 0.0001 + 200,000 x 0.00005 = 0 + 90 + 10
    ({"kind": "graduated", "tiers": GROWTH_TIERS}, {"quantity": 1200000}, "100"),
    # (740,000 - 100,000) x 0.0001
    ({"kind": "graduated", "tiers": GROWTH_TIERS}, {"quantity": 740000}, "64"),
    ({"kind": "graduated", "tiers": GROWTH_TIERS}, {"quantity": 1}, "0"),
    # 100 x 2 + 0.5 x 1 + 50: half a unit is enough to enter the second tier
    ({"kind": "graduated", "tiers": TWO_TIERS}, {"quantity": "100.5"}, "250.5"),
    ({"kind": "graduated", "tiers": TWO_TIERS}, {"quantity": 100}, "200"),
    # the first tier's flat fee is due at zero usage
    ({"kind": "graduated", "tiers": [{"up_to": None, "unit_price": 1, "flat_fee": 5}]}, {"quantity": 0}, "5"),
    ({"kind": "included", "included": 10000, "unit_price": "0.01"}, {"quantity": 12000}, "20"),
    ({"kind": "included", "included": 10000, "unit_price": "0.01"}, {"quantity": 10001}, "0.01"),
    ({"kind": "included", "included": 10000, "unit_price": "0.01"}, {"quantity": 10000}, "0"),
    ({"kind": "volume", "tiers": TWO_TIERS}, {"quantity": 100}, "200"),
    ({"kind": "volume", "tiers": TWO_TIERS}, {"quantity": 101}, "151"),
    ({"kind": "volume", "tiers": TWO_TIERS}, {"quantity": "100.5"}, "150.5"),
    ({"kind": "volume", "tiers": [{"up_to": None, "unit_price": 1, "flat_fee": 5}]}, {"quantity": 0}, "5"),
    # 95 units after 5 free: 10 started packages of 10
    ({"kind": "package", "amount": 500, "package_size": 10, "free_units": 5}, {"quantity": 100}, "5000"),
    ({"kind": "package", "amount": 500, "package_size": 10, "free_units": 5}, {"quantity": 5}, "0"),
    ({"kind": "package", "amount": 500, "package_size": 10, "free_units": 5}, {"quantity": "5.01"}, "500"),
    ({"kind": "package", "amount": 1, "package_size": 1}, {"quantity": 2**53 + 1}, "9007199254740993"),
    # 100 x 2.9 % + 4 x 0.30
    ({"kind": "percentage", "rate": "2.9", "fixed_fee": "0.30"}, {"quantity": 100, "events": 4}, "4.1"),
    ({"kind": "percentage", "rate": "1.5"}, {"quantity": 200, "events": 4}, "3"),
    # 100 x 2 % + 1 x 1 % + 10
    ({"kind": "graduated_percentage", "bands": TWO_BANDS}, {"quantity": 101}, "12.01"),
    ({"kind": "graduated_percentage", "bands": TWO_BANDS}, {"quantity": 100}, "2"),
    ({"kind": "dynamic"}, {"quantity": 5, "events": 2, "priced": "0.80"}, "0.8"),
]


def usage(**fields: Any) -> Usage:
    return Usage(**fields)


@pytest.mark.parametrize(("model", "used", "amount"), EXAMPLES)
def test_hand_computed_prices(model: dict[str, Any], used: dict[str, Any], amount: str) -> None:
    assert CHARGE_MODEL.validate_python(model).amount(usage(**used)) == Decimal(amount)


def test_unit_prices_below_a_cent_are_exact() -> None:
    # B33: 200,000 x 0.00005 is 1000 cents, and 3 x 0.005 is 1.5 cents, which round to 2 (B102).
    assert to_minor(PerUnit(unit_price="0.00005").amount(usage(quantity=200000)), "USD") == 1000
    assert to_minor(PerUnit(unit_price="0.005").amount(usage(quantity=3)), "USD") == 2


def test_every_digit_of_a_large_bill_is_kept() -> None:
    price, quantity = (
        Decimal("99999999999999999999.999999999999999999"),
        Decimal("99999999999999999999.999999999999999999"),
    )
    with exact():
        expected = price * quantity
    assert PerUnit(unit_price=price).amount(usage(quantity=quantity)) == expected


def test_each_model_of_the_registry_is_tested_here() -> None:
    kinds = [model.model_fields["kind"].default for model in CHARGE_MODELS]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == set(BY_KIND) == {example["kind"] for example, _, _ in EXAMPLES}


@given(charge_models(), growing_usages(3))
def test_billing_a_period_in_parts_costs_the_same(model: ChargeModel, cuts: tuple[Usage, ...]) -> None:
    first, second, third = cuts
    parts = model.amount_between(first, second) + model.amount_between(second, third)
    assert model.amount_between(first, third) == parts


@given(charge_models(without=frozenset({"volume"})), growing_usages(2))
def test_more_usage_never_costs_less(model: ChargeModel, cuts: tuple[Usage, ...]) -> None:
    less, more = cuts
    assert model.amount(less) <= model.amount(more)


def test_volume_alone_has_cliffs() -> None:
    model = Volume(tiers=[{"up_to": 10, "unit_price": 2}, {"up_to": None, "unit_price": 1}])
    assert [model.amount(usage(quantity=quantity)) for quantity in (10, 11)] == [Decimal(20), Decimal(11)]
    assert model.amount_between(usage(quantity=10), usage(quantity=11)) == -9


@given(prices, quantities)
def test_one_open_tier_prices_like_per_unit(price: Decimal, quantity: Decimal) -> None:
    tier = (Tier(up_to=None, unit_price=price),)
    amounts = {model.amount(usage(quantity=quantity)) for model in (Graduated(tiers=tier), Volume(tiers=tier))}
    assert amounts == {PerUnit(unit_price=price).amount(usage(quantity=quantity))}


@given(charge_models(), quantities, st.integers(0, 9))
def test_negative_usage_prices_as_none(model: ChargeModel, quantity: Decimal, events: int) -> None:
    negative = usage(quantity=-quantity, events=events, priced=-quantity)
    assert model.amount(negative) == model.amount(usage(quantity=0, events=events)) >= 0


@given(charge_models(), growing_usages(1))
def test_the_steps_explain_the_whole_amount(model: ChargeModel, used: tuple[Usage, ...]) -> None:
    steps = model.steps(used[0])
    assert steps
    assert sum(step.amount for step in steps) == model.amount(used[0])
    assert all(step.amount == step.units * step.unit_price + step.flat_fee for step in steps)


@given(charge_models(), growing_usages(1))
def test_a_model_and_its_steps_survive_json(model: ChargeModel, used: tuple[Usage, ...]) -> None:
    assert CHARGE_MODEL.validate_json(CHARGE_MODEL.dump_json(model)) == model
    assert CHARGE_MODEL.validate_python(model.model_dump(mode="json")) == model
    for step in model.steps(used[0]):
        assert type(step).model_validate_json(step.model_dump_json()) == step


@given(tiers(), quantities)
def test_graduated_agrees_with_pricing_each_hundredth_of_a_unit(tier_list: tuple[Tier, ...], quantity: Decimal) -> None:
    expected = tier_list[0].flat_fee
    entered = {0}
    for unit in range(1, int(quantity * 100) + 1):
        place = Decimal(unit).scaleb(-2)
        index = next(i for i, tier in enumerate(tier_list) if tier.up_to is None or place <= tier.up_to)
        expected += tier_list[index].unit_price / 100
        entered.add(index)
    # The quantity passes through every tier below the one it ends in; a tier whose width is 0 is the first, up to 0.
    expected += sum(tier_list[index].flat_fee for index in range(1, max(entered) + 1))
    assert Graduated(tiers=tier_list).amount(usage(quantity=quantity)) == expected


@given(tiers(), quantities)
def test_volume_agrees_with_looking_the_total_up(tier_list: tuple[Tier, ...], quantity: Decimal) -> None:
    tier = next(tier for tier in tier_list if tier.up_to is None or quantity <= tier.up_to)
    expected = quantity * tier.unit_price + tier.flat_fee
    assert Volume(tiers=tier_list).amount(usage(quantity=quantity)) == expected


@given(quantities, quantities, st.integers(1, 40))
def test_packages_agree_with_dividing_and_rounding_up(quantity: Decimal, free: Decimal, size: int) -> None:
    started = (max(quantity - free, Decimal(0)) / size).to_integral_value(rounding=ROUND_CEILING)
    model = Package(package_price=3, package_size=size, free_units=free)
    assert model.amount(usage(quantity=quantity)) == 3 * started


@given(tiers(), quantities)
def test_percentages_are_graduated_prices_in_hundredths(tier_list: tuple[Tier, ...], quantity: Decimal) -> None:
    bands = [{"up_to": tier.up_to, "rate": tier.unit_price, "flat_fee": tier.flat_fee} for tier in tier_list]
    cents = [Tier(up_to=tier.up_to, unit_price=tier.unit_price / 100, flat_fee=tier.flat_fee) for tier in tier_list]
    percentage, graduated = GraduatedPercentage(bands=bands), Graduated(tiers=cents)
    assert percentage.amount(usage(quantity=quantity)) == graduated.amount(usage(quantity=quantity))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([], "at least one tier"),
        ([100], "last tier must have up_to null"),
        ([100, 200], "last tier must have up_to null"),
        ([None, None], "only the last tier"),
        ([100, None, 200], "tier 2 has up_to null"),
        ([100, 100, None], "without overlap"),
        ([200, 100, None], "without overlap: tier 2 ends at 100, not above tier 1, which ends at 200"),
        ([-1, None], "must not be negative"),
    ],
)
def test_impossible_tiers_are_refused(bounds: list[int | None], message: str) -> None:
    for kind in ("graduated", "volume"):
        with pytest.raises(ValidationError, match=message):
            CHARGE_MODEL.validate_python({"kind": kind, "tiers": [{"up_to": b, "unit_price": 1} for b in bounds]})
    with pytest.raises(ValidationError, match=message):
        GraduatedPercentage(bands=[{"up_to": b, "rate": 1} for b in bounds])


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "per_unit", "unit_price": -1},
        {"kind": "per_unit"},
        {"kind": "per_unit", "unit_price": "1e-5"},
        {"kind": "per_unit", "unit_price": "0." + "0" * 18 + "1"},
        {"kind": "per_unit", "unit_price": 1, "unit_prise": 2},
        {"kind": "flat", "amount": "-0.01"},
        {"kind": "package", "amount": 1, "package_size": 0},
        {"kind": "graduated", "tiers": [{"up_to": None, "unit_price": 1, "flat_fee": -1}]},
        {"kind": "graduated", "tiers": [{"unit_price": 1}]},
        {"kind": "unknown"},
        {},
    ],
)
def test_impossible_prices_are_refused(model: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CHARGE_MODEL.validate_python(model)


def test_a_tier_may_include_nothing() -> None:
    # 0 included units as two tiers: every unit is overage (C6).
    model = Graduated(tiers=[{"up_to": 0, "unit_price": 0}, {"up_to": None, "unit_price": 1, "flat_fee": 5}])
    assert model.amount(usage(quantity=0)) == 0
    assert model.amount(usage(quantity=2)) == 7
