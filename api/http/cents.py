"""Amounts that requests give in minor units: whole ones, whatever the currency's digits are (conflicts C11)."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator

from billing.invoice import LARGEST_MINOR
from billing.numbers import NonNegative


def _storable(amount: Decimal) -> Decimal:
    if amount > LARGEST_MINOR:
        raise ValueError(f"must not be more than {LARGEST_MINOR}")
    if amount != amount.to_integral_value():
        raise ValueError("must be whole minor units: a currency has no smaller amount")
    return amount


Cents = Annotated[NonNegative, AfterValidator(_storable)]
"""An amount in whole minor units, 0 or more."""
