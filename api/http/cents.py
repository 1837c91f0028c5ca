"""Amounts that requests give in minor units: decimals, perhaps with a fraction of a cent (conflicts C11)."""

from decimal import Decimal
from typing import Annotated, Final

from pydantic import AfterValidator

from billing.invoice import LARGEST_MINOR
from billing.numbers import NonNegative, plain

MOST_DECIMALS: Final = 12
"""Decimals of a minor unit that still fit when the amount is written in major units."""


def _storable(amount: Decimal) -> Decimal:
    if amount > LARGEST_MINOR:
        raise ValueError(f"must not be more than {LARGEST_MINOR}")
    if len(plain(amount).partition(".")[2]) > MOST_DECIMALS:
        raise ValueError(f"must not have more than {MOST_DECIMALS} decimals")
    return amount


Cents = Annotated[NonNegative, AfterValidator(_storable)]
"""An amount in minor units, 0 or more."""
