"""Wallets in the pure core: who pays first, whole minor units, and never more than there is (B133)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from billing.numbers import exact
from billing.wallets import Wallet, forecast, split_across_wallets, to_credits, value_of

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def wallet(number: int, *, holds: str, rate: str = "1", priority: int = 1, **more: object) -> Wallet:
    fixed = {"currency": "USD", "created_at": NOW - timedelta(days=30 - number)}
    return Wallet(
        id=UUID(int=number), credits=Decimal(holds), rate_amount=Decimal(rate), priority=priority, **{**fixed, **more}
    )


def taken(*wallets: Wallet, due: int, currency: str = "usd") -> list[tuple[int, int]]:
    found = split_across_wallets(wallets, due_minor=due, currency=currency, at=NOW)
    return [(draw.wallet_id.int, draw.amount_minor) for draw in found]


def test_b133_lower_priority_pays_first_then_the_older_wallet() -> None:
    first, second, third = (
        wallet(1, holds="50", priority=2),
        wallet(2, holds="30"),
        wallet(3, holds="30"),
    )
    assert taken(third, first, second, due=100) == [(2, 30), (3, 30), (1, 40)]


def test_b133_expired_wallets_and_other_currencies_are_passed_over() -> None:
    gone = wallet(1, holds="50", expires_at=NOW)
    euros = wallet(2, holds="50", currency="EUR")
    good = wallet(3, holds="50", expires_at=NOW + timedelta(seconds=1))
    assert taken(gone, euros, good, due=100) == [(3, 50)]


def test_b133_a_wallet_pays_whole_minor_units_only() -> None:
    assert taken(wallet(1, holds="0.7", rate="3"), due=100) == [(1, 2)]
    assert taken(wallet(1, holds="0.3", rate="3"), due=100) == []


def test_credits_are_cut_in_the_customers_favour() -> None:
    assert to_credits(100, Decimal(3)) == Decimal("33.333333333333333333")


@given(
    holds=st.decimals("0", "1000000", places=6),
    rate=st.decimals("0.000001", "5000", places=6).filter(bool),
    due=st.integers(0, 10**9),
)
def test_a_draw_takes_at_most_what_is_there_and_what_is_due(holds: Decimal, rate: Decimal, due: int) -> None:
    found = split_across_wallets([wallet(1, holds=str(holds), rate=str(rate))], due_minor=due, currency="USD", at=NOW)
    for draw in found:
        assert 0 < draw.amount_minor <= due
        assert draw.credits <= holds
        with exact():
            assert value_of(draw.credits, rate) <= draw.amount_minor <= value_of(holds, rate)
    if not found:
        assert due == 0 or value_of(holds, rate) < 1


def test_b132_the_forecast_divides_what_is_left_by_the_daily_average() -> None:
    found = forecast(balance=Decimal(100), consumed=30, days=30)
    assert (found.average_daily, found.days_remaining) == (Decimal(1), 100)
    assert forecast(balance=Decimal(100), consumed=0, days=30).days_remaining is None
    assert forecast(balance=Decimal(0), consumed=7, days=30).days_remaining == 0
