"""Assembling is a diff, and only legal transitions happen (B97, B106, B108, C14)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.charges import Charge, ChargeModel, Usage
from billing.closing.difference import billed_by, difference
from billing.invoice import (
    AbsurdInvoice,
    IllegalTransition,
    InvoiceEvent,
    InvoiceLine,
    InvoiceStatus,
    TooManyGroups,
    total,
    transition,
)
from billing.period import Period
from billing.rating import rate
from billing.usage import GroupUsage
from tests.billing.strategies import CURRENCIES, charge_models, growing_usages

APRIL = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))
MAY = Period(start=APRIL.end, end=datetime(2026, 6, 1, tzinfo=UTC))
METRIC = UUID(int=100)
PER_CALL = Charge(
    id=UUID(int=1), metric_id=METRIC, metric_name="API Calls", model={"kind": "per_unit", "unit_price": "0.005"}
)
BASE = Charge(id=UUID(int=2), description="Base fee", model={"kind": "flat", "amount": 49})


def propose(
    used: Usage, charges: Sequence[Charge] = (PER_CALL, BASE), period: Period = APRIL
) -> tuple[InvoiceLine, ...]:
    return rate(charges, {METRIC: used}, period=period, full_period=period, currency="USD")


def test_a_first_invoice_has_every_line_in_order() -> None:
    usage, base = difference({}, propose(Usage(quantity=3, events=3)))
    assert (usage.amount_minor, usage.quantity, usage.total_quantity, usage.events) == (2, Decimal(3), Decimal(3), 3)
    assert (base.amount_minor, base.quantity) == (4900, Decimal(1))
    assert usage.reference == f"{PER_CALL.id}:2026-04-01T00:00:00+00:00"
    assert {usage.reason, base.reason} == {"period"}


def test_a_first_invoice_keeps_lines_of_zero_and_a_second_one_has_none() -> None:
    first = difference({}, propose(Usage(quantity=0)))
    assert [line.amount_minor for line in first] == [0, 4900]
    assert difference(billed_by(first), propose(Usage(quantity=0))) == ()


def test_late_usage_is_an_adjustment_of_the_difference() -> None:
    first = difference({}, propose(Usage(quantity=3, events=3)))
    (late,) = difference(billed_by(first), propose(Usage(quantity=4, events=4)))
    # 4 x 0.005 = 2.0 cents: the fourth call costs nothing more, but it is shown.
    assert (late.amount_minor, late.quantity, late.total_quantity, late.events) == (0, Decimal(1), Decimal(4), 1)
    assert late.reason == "adjustment"
    assert late.description == "API Calls — usage (4 calls), adjustment"
    assert late.reference == first[0].reference


def test_a_period_that_still_runs_is_continued_not_adjusted() -> None:
    april = difference({}, propose(Usage(quantity=100)))
    may = difference({}, propose(Usage(quantity=100), period=MAY))
    now = (*propose(Usage(quantity=300)), *propose(Usage(quantity=300), period=MAY))
    late, running = difference(billed_by([*april, *may]), now, closed={APRIL.start})
    assert (late.period, late.reason, late.amount_minor) == (APRIL, "adjustment", 100)
    assert (running.period, running.reason, running.amount_minor) == (MAY, "period", 100)
    assert running.description == "API Calls — usage (300 calls), less what was invoiced before"


def test_a_correction_downwards_gives_the_difference_back() -> None:
    first = difference({}, propose(Usage(quantity=100)))
    (credit,) = difference(billed_by(first), propose(Usage(quantity=40)))
    assert (credit.amount_minor, credit.quantity) == (-30, Decimal(-60))


def test_lines_of_other_charges_and_periods_are_left_alone() -> None:
    first = difference({}, propose(Usage(quantity=100)))
    assert difference(billed_by(first), propose(Usage(quantity=100), charges=(BASE,))) == ()
    assert len(difference(billed_by(first), propose(Usage(quantity=100), period=MAY))) == 2


@st.composite
def plans(draw: st.DrawFn) -> tuple[Charge, ...]:
    models: list[ChargeModel] = draw(st.lists(charge_models(), min_size=1, max_size=4))
    return tuple(
        Charge(id=UUID(int=number), metric_id=METRIC if model.metered else None, metric_name="Calls", model=model)
        for number, model in enumerate(models)
    )


@given(plans(), growing_usages(4), CURRENCIES)
def test_a_period_in_several_invoices_costs_the_same_as_in_one(
    charges: tuple[Charge, ...], seen: tuple[Usage, ...], currency: str
) -> None:
    def proposed(used: Usage) -> tuple[InvoiceLine, ...]:
        return rate(charges, {METRIC: used}, period=APRIL, full_period=APRIL, currency=currency)

    written: list[InvoiceLine] = []
    for used in seen:
        written += difference(billed_by(written), proposed(used))
        assert difference(billed_by(written), proposed(used)) == ()
    whole = difference({}, proposed(seen[-1]))
    assert total(written) == total(whole)
    for line in whole:
        parts = [part for part in written if part.reference == line.reference]
        assert sum(part.amount_minor for part in parts) == line.amount_minor
        assert sum(part.quantity for part in parts) == line.total_quantity == line.quantity


GROUPED = Charge(
    id=UUID(int=3),
    metric_id=METRIC,
    metric_name="Calls",
    group_by=("region",),
    model={"kind": "graduated", "tiers": [{"up_to": None, "unit_price": 1, "flat_fee": 5}]},
)


def grouped_usage(**quantities: int) -> Usage:
    groups = tuple(
        GroupUsage(group=(("region", name),), usage=Usage(quantity=quantity, events=1))
        for name, quantity in quantities.items()
    )
    return Usage(quantity=sum(quantities.values()), events=len(groups), groups=groups)


def test_each_group_is_a_difference_of_its_own() -> None:
    first = difference({}, propose(grouped_usage(eu=10, us=4), (GROUPED,)))
    assert [(line.description, line.amount_minor) for line in first] == [
        ("Calls (region: eu) — tiered usage (10 calls)", 1500),
        ("Calls (region: us) — tiered usage (4 calls)", 900),
    ]
    assert len({line.reference for line in first}) == 2
    late = difference(billed_by(first), propose(grouped_usage(eu=10, uk=1, us=6), (GROUPED,)))
    assert [(dict(line.group), line.amount_minor, line.reason) for line in late] == [
        ({"region": "uk"}, 600, "period"),
        ({"region": "us"}, 200, "adjustment"),
    ]
    assert [line.quantity for line in late] == [1, 2]
    assert late[1].reference == first[1].reference


def test_a_group_without_usage_any_more_gives_back_what_it_was_billed() -> None:
    first = difference({}, propose(grouped_usage(eu=10, us=4), (GROUPED, BASE)))
    moved = propose(grouped_usage(eu=14), (GROUPED, BASE))
    more, gone = difference(billed_by(first), moved)
    assert (more.amount_minor, more.group) == (400, (("region", "eu"),))
    assert (gone.amount_minor, gone.events, dict(gone.group)) == (-900, -1, {"region": "us"})
    assert gone.quantity == -4
    assert gone.description == "Calls (region: us) — no usage left, adjustment"
    assert difference(billed_by([*first, more, gone]), moved) == ()


def test_the_line_of_a_charge_without_groups_yet_is_given_back_when_there_are_some() -> None:
    # The first tier's flat fee is due at zero usage (R4), and then once for each group.
    empty = difference({}, propose(Usage(quantity=0), (GROUPED,)))
    assert [(line.amount_minor, line.group) for line in empty] == [(500, ())]
    used = difference(billed_by(empty), propose(grouped_usage(eu=1), (GROUPED,)), closed=())
    assert [(line.amount_minor, line.group, line.reason) for line in used] == [
        (600, (("region", "eu"),), "period"),
        (-500, (), "period"),
    ]


@given(st.lists(st.dictionaries(st.sampled_from(["eu", "us", "uk"]), st.integers(0, 9)), min_size=1, max_size=4))
def test_groups_billed_in_several_invoices_cost_the_same_as_in_one(seen: list[dict[str, int]]) -> None:
    written: list[InvoiceLine] = []
    for quantities in seen:
        proposed = propose(grouped_usage(**quantities), (GROUPED, BASE))
        written += difference(billed_by(written), proposed)
        assert difference(billed_by(written), proposed) == ()
        assert total(written) == total(difference({}, proposed))
        for line in proposed:
            assert sum(each.amount_minor for each in written if each.group == line.group) >= line.amount_minor
    assert sum(line.events for line in written) == len(seen[-1])


def test_a_charge_with_too_many_groups_says_so() -> None:
    assert "grouping by user gives more than 500 groups" in str(TooManyGroups(["user"], 500))


def test_two_proposals_of_one_charge_and_period_are_refused() -> None:
    with pytest.raises(AbsurdInvoice, match="2 times"):
        difference({}, propose(Usage(quantity=1), charges=(BASE, BASE)))


def test_too_many_lines_are_refused() -> None:
    charges = [BASE.model_copy(update={"id": UUID(int=number)}) for number in range(1001)]
    assert len(difference({}, propose(Usage(quantity=1), charges=charges[:1000]))) == 1000
    with pytest.raises(AbsurdInvoice, match="1001 lines"):
        difference({}, propose(Usage(quantity=1), charges=charges))


def test_absurd_amounts_are_refused() -> None:
    # 2 x 10^15 calls at half a cent are 10^15 cents: the largest that passes.
    assert difference({}, propose(Usage(quantity=2 * 10**15), charges=(PER_CALL,)))[0].amount_minor == 10**15
    with pytest.raises(AbsurdInvoice, match="minor units"):
        difference({}, propose(Usage(quantity=2 * 10**15 + 1), charges=(PER_CALL,)))
    with pytest.raises(AbsurdInvoice, match="a total of"):
        difference({}, propose(Usage(quantity=2 * 10**15)))
    free = PER_CALL.model_copy(update={"model": PER_CALL.model.model_copy(update={"unit_price": Decimal(0)})})
    assert difference({}, propose(Usage(quantity=10**20 - 1), charges=(free,)))[0].amount_minor == 0
    with pytest.raises(AbsurdInvoice, match="more than 20 digits"):
        difference({}, propose(Usage(quantity=10**20), charges=(free,)))


def test_lines_survive_json() -> None:
    for line in difference({}, propose(Usage(quantity=Decimal("3.5"), events=2))):
        assert InvoiceLine.model_validate_json(line.model_dump_json()) == line


LEGAL = {
    ("draft", "issue", "issued"),
    ("draft", "void", "voided"),
    ("issued", "pay", "paid"),
    ("issued", "fail", "failed"),
    ("issued", "become_overdue", "overdue"),
    ("issued", "void", "voided"),
    ("failed", "pay", "paid"),
    ("failed", "fail", "failed"),
    ("failed", "become_overdue", "overdue"),
    ("failed", "void", "voided"),
    ("overdue", "pay", "paid"),
    ("overdue", "fail", "overdue"),
    ("overdue", "void", "voided"),
}


@pytest.mark.parametrize("status", get_args(InvoiceStatus))
@pytest.mark.parametrize("event", get_args(InvoiceEvent))
def test_only_these_transitions_are_legal(status: InvoiceStatus, event: InvoiceEvent) -> None:
    legal = {(before, cause): after for before, cause, after in LEGAL}
    if (status, event) in legal:
        assert transition(status, event) == legal[status, event]
    else:
        with pytest.raises(IllegalTransition, match=f"an invoice that is {status} cannot"):
            transition(status, event)


def test_a_month_and_a_day_apart_are_different_periods() -> None:
    shifted = Period(start=APRIL.start + timedelta(days=1), end=APRIL.end)
    first = difference({}, propose(Usage(quantity=1)))
    assert len(difference(billed_by(first), propose(Usage(quantity=1), period=shifted))) == 2
