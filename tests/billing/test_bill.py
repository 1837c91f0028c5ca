"""What a close bills when periods that were billed before have changed too much."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from billing.closing.bill import Priced, bill_of
from billing.closing.periods import BilledLine, BillingTerms, PeriodToRate, Window, history_of
from billing.invoice import AbsurdInvoice, InvoiceLine
from billing.period import BillingCycle, Period

START = datetime(2026, 1, 1, tzinfo=UTC)
CYCLE = BillingCycle(interval="monthly", anchor=START, timezone="UTC", alignment="anniversary")
TERMS = BillingTerms(CYCLE, START, None, ())
VERSION = UUID(int=1)


def _month(number: int) -> Period:
    return CYCLE.period_containing(START + timedelta(days=31 * number))


def _priced(number: int, charges: int) -> Priced:
    """Price a month with so many charges of 0.01, none of them billed before."""
    period = _month(number)
    lines = [
        InvoiceLine(charge_id=UUID(int=each + 10), kind="usage", description="u", amount_minor=1, period=period)
        for each in range(charges)
    ]
    return PeriodToRate(period, period, period, period, None, VERSION), lines


def _billed(number: int) -> BilledLine:
    period = _month(number)
    return BilledLine(UUID(int=2), (), period, 1, 1, 1, VERSION, UUID(int=3), period.end)  # type: ignore[arg-type]


def test_item_13_changed_periods_that_do_not_fit_on_the_invoice_wait_for_the_next_one() -> None:
    """1,000 lines at most: March has 300, January 400, February 400. January and March fit, February waits."""
    history = history_of([_billed(0), _billed(1)])
    window = Window("period", _month(2).start, _month(2).end, _month(2).end)
    months = [_priced(0, 400), _priced(1, 400), _priced(2, 300)]
    bill = bill_of(TERMS, window, history, months, currency="usd")
    assert (len(bill.lines), bill.rated) == (700, (_month(0), _month(2)))
    assert [(left.period, left.reason) for left in bill.left_out] == [(_month(1), "1100 lines, more than 1000")]
    with pytest.raises(AbsurdInvoice):
        bill_of(TERMS, window, history, [*months[:2], _priced(2, 1001)], currency="usd")
