"""Wallets: prepaid credits that pay invoices before any card does (B132, B133).

A credit is worth `rate_amount` minor units of the wallet's currency. Credits may have any fraction, money has none.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.money import normalise_currency
from billing.numbers import FRACTION_DIGITS, ExactDecimal, exact, plain
from billing.period import Instant

LARGEST_CREDITS: Final = 10**15
"""Most credits that one movement may have, and that a wallet may hold."""

_FURTHEST_DAYS: Final = 36_500


class Wallet(BaseModel):
    """What of a wallet decides whether, and for how much, an invoice draws on it."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    currency: str
    rate_amount: ExactDecimal
    credits: ExactDecimal
    priority: int
    created_at: Instant
    expires_at: Instant | None = None


class Draw(BaseModel):
    """What one invoice takes from one wallet: whole minor units, and the credits that they are."""

    model_config = ConfigDict(frozen=True)

    wallet_id: UUID
    amount_minor: int
    credits: ExactDecimal


def value_of(amount: Decimal, rate_amount: Decimal) -> Decimal:
    """Return what credits are worth in minor units, unrounded."""
    with exact():
        return amount * rate_amount


def to_credits(amount_minor: int, rate_amount: Decimal) -> Decimal:
    """Return the credits that so many minor units are, cut to the 18 decimals that a row holds.

    Cutting is in the customer's favour and can never take more than there is: 100 at 3 -> 33.333333333333333333.
    """
    ratio = Fraction(amount_minor) / Fraction(rate_amount) * 10**FRACTION_DIGITS
    with exact():
        return Decimal(plain(Decimal(ratio.numerator // ratio.denominator).scaleb(-FRACTION_DIGITS)))


def split_across_wallets(wallets: Sequence[Wallet], *, due_minor: int, currency: str, at: datetime) -> tuple[Draw, ...]:
    """Return what an invoice of `due_minor` takes from its customer's wallets, whole minor units from each.

    Lower priority comes first, then the older wallet. One of another currency, or whose expiry is not after `at`, is
    passed over. The draws add up to `due_minor` at most.
    """
    wanted = normalise_currency(currency)
    usable = [
        wallet
        for wallet in wallets
        if normalise_currency(wallet.currency) == wanted and (wallet.expires_at is None or wallet.expires_at > at)
    ]
    found: list[Draw] = []
    left = due_minor
    for wallet in sorted(usable, key=lambda wallet: (wallet.priority, wallet.created_at, wallet.id)):
        amount = min(left, _whole(value_of(wallet.credits, wallet.rate_amount)))
        if amount > 0:
            taken = to_credits(amount, wallet.rate_amount)
            found.append(Draw(wallet_id=wallet.id, amount_minor=amount, credits=taken))
            left -= amount
    return tuple(found)


def _whole(value: Decimal) -> int:
    with exact():
        return int(value.to_integral_value(rounding=ROUND_DOWN))


class Forecast(BaseModel):
    """When a wallet runs out if it goes on as it did; None: nothing is used, or not within a hundred years."""

    model_config = ConfigDict(frozen=True)

    average_daily: ExactDecimal
    days_remaining: int | None


def forecast(*, balance: Decimal, consumed: int, days: int) -> Forecast:
    """Project a balance by what was consumed on average in the last `days` days, both in minor units.

    The average is rounded to two decimals for display (half to even); the days are computed from
    the exact one: 100 left, 30 used in 30 days -> 100 days.
    """
    if consumed <= 0:
        return Forecast(average_daily=Decimal(0), days_remaining=None)
    average = Fraction(consumed) / days
    remaining = int(Fraction(balance) / average)
    shown = Decimal(round(average * 100)) / 100
    if remaining > _FURTHEST_DAYS:
        return Forecast(average_daily=shown, days_remaining=None)
    return Forecast(average_daily=shown, days_remaining=remaining)
