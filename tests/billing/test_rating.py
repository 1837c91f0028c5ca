"""Lines of whole plans, with the numbers and the words of the contract (B29, B32 to B34, B98 to B100, B102, B105)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.charges import Charge, ChargeModel, Usage
from billing.invoice import InvoiceLine, total
from billing.money import UnknownCurrency, to_minor
from billing.period import Period
from billing.pricing import Step
from billing.proration import PeriodOutsideCycle
from billing.rating import rate
from tests.billing.strategies import CURRENCIES, charge_models, growing_usages

APRIL = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))
METRIC = UUID(int=100)


def metered(number: int, model: Any, **fields: Any) -> Charge:
    named = {"metric_id": METRIC, "metric_key": "api_calls", "metric_name": "API Calls", **fields}
    return Charge(id=UUID(int=number), model=model, **named)


def fee(number: int, amount: Any, description: str | None = "Growth base fee") -> Charge:
    return Charge(id=UUID(int=number), description=description, model={"kind": "flat", "amount": amount})


GROWTH = (
    metered(
        1,
        {
            "kind": "graduated",
            "tiers": [
                {"up_to": 100000, "unit_price": 0},
                {"up_to": 1000000, "unit_price": Decimal("0.0001")},
                {"up_to": None, "unit_price": Decimal("0.00005")},
            ],
        },
    ),
    fee(2, Decimal("49.00")),
)


def lines(
    charges: tuple[Charge, ...], quantity: Any, *, period: Period = APRIL, currency: str = "usd"
) -> tuple[InvoiceLine, ...]:
    return rate(charges, {METRIC: Usage(quantity=quantity)}, period=period, full_period=APRIL, currency=currency)


def test_the_growth_plan_costs_14900_cents_for_1_200_000_calls() -> None:
    usage, base = lines(GROWTH, 1200000)
    assert (usage.description, usage.amount_minor) == ("API Calls — tiered usage (1,200,000 calls)", 10000)
    assert (base.description, base.amount_minor, base.quantity) == ("Growth base fee", 4900, Decimal(1))
    assert total((usage, base)) == 14900
    assert [(step.units, step.amount) for step in usage.steps if isinstance(step, Step)] == [
        (Decimal(units), Decimal(amount)) for units, amount in ((100000, 0), (900000, 90), (200000, 10))
    ]
    assert (usage.kind, usage.unit_amount) == ("usage", None)
    assert (base.kind, base.unit_amount) == ("fee", Decimal(49))
    assert usage.period == base.period == APRIL


def test_every_charge_has_a_line_even_without_usage() -> None:
    usage, base = rate(GROWTH, {}, period=APRIL, full_period=APRIL, currency="usd")
    assert (usage.description, usage.amount_minor, usage.quantity) == (
        "API Calls — tiered usage (0 calls)",
        0,
        Decimal(0),
    )
    assert base.amount_minor == 4900


@pytest.mark.parametrize(("quantity", "cents"), [(12000, 12000), (10001, 10001), (10000, 10000), (0, 10000)])
def test_base_and_overage_of_the_pro_plan(quantity: int, cents: int) -> None:
    # Base 100, 10,000 calls included, 0.01 for each above: 12,000 calls cost 100 + 2,000 x 0.01 = 120.00.
    plan = (fee(1, 100), metered(2, {"kind": "included", "included": 10000, "unit_price": "0.01"}))
    assert total(lines(plan, quantity)) == cents


@pytest.mark.parametrize(("currency", "minor"), [("JPY", 100), ("USD", 10000), ("KWD", 100000)])
def test_the_currency_decides_the_minor_unit(currency: str, minor: int) -> None:
    assert lines((fee(1, 100),), 0, currency=currency)[0].amount_minor == minor


def test_a_line_is_rounded_once_and_not_for_each_tier() -> None:
    # Three tiers of 0.4 cents each are 1.2 cents; rounded for each tier they would be 0.
    model = {
        "kind": "graduated",
        "tiers": [{"up_to": up_to, "unit_price": "0.004"} for up_to in (1, 2, None)],
    }
    assert lines((metered(1, model),), 3)[0].amount_minor == 1


@pytest.mark.parametrize(
    ("fields", "quantity", "description"),
    [
        ({}, "1234.50", "API Calls — usage (1,234.5 calls)"),
        ({"unit": "requests"}, 5, "API Calls — usage (5 requests)"),
        ({"metric_name": None, "metric_key": "tokens"}, 5, "tokens — usage (5 tokens)"),
        ({"description": "Calls from Europe", "unit": "calls"}, 5, "Calls from Europe — usage (5 calls)"),
        ({}, -5, "API Calls — usage (0 calls)"),
    ],
)
def test_usage_lines_name_metric_quantity_and_unit(fields: dict[str, Any], quantity: Any, description: str) -> None:
    charge = metered(1, {"kind": "per_unit", "unit_price": 1}, **fields)
    assert lines((charge,), quantity)[0].description == description


def test_usage_is_found_by_charge_before_metric() -> None:
    by_unit = metered(1, {"kind": "per_unit", "unit_price": 1})
    other = metered(2, {"kind": "per_unit", "unit_price": 1})
    usages = {METRIC: Usage(quantity=5), other.id: Usage(quantity=7)}
    found = rate((by_unit, other), usages, period=APRIL, full_period=APRIL, currency="usd")
    assert [line.quantity for line in found] == [5, 7]


def test_a_fee_is_prorated_in_a_short_period_and_says_so() -> None:
    second_half = Period(start=APRIL.start + timedelta(days=15), end=APRIL.end)
    usage, base = lines(GROWTH, 1200000, period=second_half)
    assert (base.description, base.amount_minor) == ("Growth base fee (prorated 15/30 days)", 2450)
    assert usage.amount_minor == 10000


@pytest.mark.parametrize(
    ("cut", "share"),
    [
        (timedelta(hours=36), "36/720 hours"),
        (timedelta(seconds=90), "90/2,592,000 seconds"),
        (timedelta(microseconds=5), "5/2,592,000,000,000 microseconds"),
    ],
)
def test_the_share_is_written_in_the_largest_whole_unit(cut: timedelta, share: str) -> None:
    period = Period(start=APRIL.end - cut, end=APRIL.end)
    assert lines((fee(1, 49),), 0, period=period)[0].description == f"Growth base fee (prorated {share})"


def test_impossible_ratings_are_refused() -> None:
    with pytest.raises(UnknownCurrency):
        lines(GROWTH, 1, currency="XYZ")
    with pytest.raises(PeriodOutsideCycle):
        lines(GROWTH, 1, period=Period(start=APRIL.start, end=APRIL.end + timedelta(days=1)))


def test_a_charge_is_metered_exactly_when_it_has_a_metric() -> None:
    with pytest.raises(ValidationError, match="needs a metric"):
        Charge(id=UUID(int=1), model={"kind": "per_unit", "unit_price": 1})
    with pytest.raises(ValidationError, match="has no metric"):
        metered(1, {"kind": "flat", "amount": 1})
    assert [charge.metered for charge in GROWTH] == [True, False]


@given(st.lists(charge_models(), max_size=4), growing_usages(1), CURRENCIES)
def test_lines_are_in_order_rounded_and_add_up(
    models: list[ChargeModel], used: tuple[Usage, ...], currency: str
) -> None:
    charges = tuple(
        metered(number, model) if model.metered else Charge(id=UUID(int=number), model=model)
        for number, model in enumerate(models)
    )
    found = rate(charges, {METRIC: used[0]}, period=APRIL, full_period=APRIL, currency=currency)
    assert [line.charge_id for line in found] == [charge.id for charge in charges]
    assert [line.amount_minor for line in found] == [to_minor(model.amount(used[0]), currency) for model in models]
    assert total(found) == sum(line.amount_minor for line in found)
    for line in found:
        assert InvoiceLine.model_validate_json(line.model_dump_json()) == line
