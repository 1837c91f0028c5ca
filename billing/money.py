"""Money: currencies and their minor units, rounding, and splitting an amount without losing a cent (R2, R17)."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Final, Self

from iso4217 import Currency
from pydantic import AfterValidator, BaseModel, ConfigDict

from billing.numbers import ExactDecimal, exact

# Precious metals, bond units and test codes have no minor unit, so nothing can be invoiced in them.
_EXPONENTS: Final[Mapping[str, int]] = MappingProxyType(
    {entry.code: entry.exponent for entry in Currency if entry.exponent is not None}
)


class UnknownCurrency(ValueError):
    """Raised for a code that ISO 4217 does not list as a currency with a minor unit."""


class MixedCurrencies(ValueError):
    """Raised when amounts of different currencies would be added or subtracted."""


class NothingToAllocateOver(ValueError):
    """Raised when an amount is to be split over no weights, over zeros only, or over a negative weight."""


def normalise_currency(currency: str) -> str:
    """Return the upper-case ISO 4217 code of a currency written in any case: usd -> USD (C13).

    Raises `UnknownCurrency` for everything that cannot be invoiced in, such as XYZ or XAU.
    """
    # Non-ASCII letters can have ASCII upper-case forms (the long s); such a text is not a currency code.
    code = currency.upper() if currency.isascii() else currency
    if code not in _EXPONENTS:
        raise UnknownCurrency(f"{currency!r} is not an ISO 4217 currency code")
    return code


CurrencyCode = Annotated[str, AfterValidator(normalise_currency)]
"""An ISO 4217 code, accepted in any case and kept in upper case."""


def exponent(currency: str) -> int:
    """Return the number of decimals of a currency's minor unit: JPY 0, USD 2, KWD 3 (ISO 4217, any case).

    Raises `UnknownCurrency`.
    """
    return _EXPONENTS[normalise_currency(currency)]


def to_minor(amount: Decimal, currency: str) -> int:
    """Round an amount in major units to whole minor units, half away from zero, once per line (R2).

    0.015 USD -> 2 cents (B102), -0.015 USD -> -2, 100 JPY -> 100 (B105), 1.2345 KWD -> 1235. Raises `UnknownCurrency`.
    """
    with exact():
        return int(amount.scaleb(exponent(currency)).to_integral_value(rounding=ROUND_HALF_UP))


def to_major(minor: int, currency: str) -> Decimal:
    """Return an amount of minor units in major units, exactly: 4900 USD cents -> 49.00. Raises `UnknownCurrency`."""
    with exact():
        return Decimal(minor).scaleb(-exponent(currency))


def allocate(total_minor: int, weights: Sequence[Decimal]) -> tuple[int, ...]:
    """Split minor units in proportion to weights, so that the parts add up to the whole (R17, largest remainder).

    Each part is its exact share cut to whole units; the units left over go to the largest remainders, ties to the
    earlier part. A negative total mirrors the positive one: 100 over 1:1:1 -> 34, 33, 33; -100 -> -34, -33, -33.
    Weights are >= 0; with a total of 0 they may all be 0. Raises `NothingToAllocateOver`.
    """
    if any(weight < 0 for weight in weights):
        raise NothingToAllocateOver("a weight must not be negative")
    whole = sum((Fraction(weight) for weight in weights), Fraction(0))
    if not total_minor:
        return (0,) * len(weights)
    if not whole:
        raise NothingToAllocateOver(f"cannot split {total_minor} over weights that add up to 0")
    sign, units = (1, total_minor) if total_minor > 0 else (-1, -total_minor)
    shares = [units * Fraction(weight) / whole for weight in weights]
    parts = [share.numerator // share.denominator for share in shares]
    # sorted() is stable: equal remainders stay in the order of the parts.
    by_remainder = sorted(range(len(parts)), key=lambda index: parts[index] - shares[index])
    for index in by_remainder[: units - sum(parts)]:
        parts[index] += 1
    return tuple(sign * part for part in parts)


class Money(BaseModel):
    """An exact amount in major units of one currency; unrounded until `minor` is asked for."""

    model_config = ConfigDict(frozen=True)

    amount: ExactDecimal
    currency: CurrencyCode

    @classmethod
    def of_minor(cls, minor: int, currency: str) -> Self:
        """Build the money that so many minor units are: 4900, usd -> 49.00 USD."""
        return cls(amount=to_major(minor, currency), currency=currency)

    @property
    def minor(self) -> int:
        """The amount in minor units, rounded half away from zero (R2)."""
        return to_minor(self.amount, self.currency)

    def __add__(self, other: "Money") -> "Money":
        """Add money of the same currency; raises `MixedCurrencies` otherwise."""
        self._same_currency(other)
        with exact():
            return Money(amount=self.amount + other.amount, currency=self.currency)

    def __sub__(self, other: "Money") -> "Money":
        """Subtract money of the same currency; raises `MixedCurrencies` otherwise."""
        self._same_currency(other)
        with exact():
            return Money(amount=self.amount - other.amount, currency=self.currency)

    def __neg__(self) -> "Money":
        """Return the same amount with the other sign: a credit for a charge."""
        return Money(amount=self.amount.copy_negate(), currency=self.currency)

    def _same_currency(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise MixedCurrencies(f"cannot combine {self.currency} with {other.currency}")
