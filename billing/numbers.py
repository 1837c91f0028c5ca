"""Exact numbers: what may enter, how they are computed with, and how they are written (R1, C11, C12, B104).

No number of Durabill is ever a float. Text is read by one strict grammar, arithmetic happens in a decimal context that
raises instead of rounding silently, and output is plain notation without an exponent.
"""

import re
from contextlib import AbstractContextManager
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

INTEGER_DIGITS: Final = 20
"""Digits before the point that NUMERIC(38,18) holds."""

FRACTION_DIGITS: Final = 18
"""Digits after the point that NUMERIC(38,18) holds."""

LONGEST_TEXT: Final = 64
"""Longest accepted number text: sign, digits, point, and room for padding zeros."""

RoundingFunction = Literal["round", "ceil", "floor"]

# Conversions with int() and format() accept more than ASCII digits; this grammar does not (R1).
_GRAMMAR: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_JSON_PATTERN: Final = r"^[+-]?[0-9]{1,20}([.][0-9]{1,18})?$"
_UNSTORABLE_DIGITS: Final = 400
_MODES: Final[dict[RoundingFunction, str]] = {"round": ROUND_HALF_UP, "ceil": ROUND_CEILING, "floor": ROUND_FLOOR}

# A product of a 38-digit price and a 38-digit quantity has 76 digits; 400 leave room for sums of products.
_EXACT: Final = Context(
    prec=_UNSTORABLE_DIGITS, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact]
)


class NotANumber(ValueError):
    """Raised for input that is not an exact number that NUMERIC(38,18) can hold."""


def exact() -> AbstractContextManager[Context]:
    """Enter a decimal context in which +, - and * keep every digit and a lossy result raises `decimal.Inexact`.

    Python's default context silently rounds to 28 digits, fewer than one NUMERIC(38,18) has.
    """
    return localcontext(_EXACT)


def parse_decimal(text: str) -> Decimal:
    """Read the text `[+-]?digits[.digits]` in ASCII as an exact number (R1).

    Refused with `NotANumber`: NaN, Infinity, exponents, underscores, full-width digits, blanks, and values that need
    more than 20 integer digits or 18 fraction digits. Padding zeros do not count as digits. "-0" reads as 0.
    """
    if len(text) > LONGEST_TEXT:
        raise NotANumber(f"a number has at most {LONGEST_TEXT} characters, this one has {len(text)}")
    if not _GRAMMAR.fullmatch(text):
        raise NotANumber(f"{text!r} is not a plain decimal number such as 12 or -0.005")
    return _storable(Decimal(text))


def _storable(value: Decimal) -> Decimal:
    """Pass a value through when NUMERIC(38,18) holds it without rounding."""
    _finite(value)
    if not value:
        return Decimal(0)
    if value.adjusted() >= INTEGER_DIGITS:
        raise NotANumber(f"a number has at most {INTEGER_DIGITS} digits before the point")
    if _fraction_digits(value) > FRACTION_DIGITS:
        raise NotANumber(f"a number has at most {FRACTION_DIGITS} digits after the point")
    return value


def _finite(value: Decimal) -> Decimal:
    """Pass a finite value of a sane size through; `1e400` is as little a number of billing as NaN is (R1)."""
    if not value.is_finite():
        raise NotANumber("NaN and Infinity are not numbers here")
    # Bounding the size also bounds the work that a hostile `1E+999999999` could cause later.
    if value and (abs(value.adjusted()) > _UNSTORABLE_DIGITS or len(value.as_tuple().digits) > _UNSTORABLE_DIGITS):
        raise NotANumber("the number has too many digits")
    return value


def _fraction_digits(value: Decimal) -> int:
    """Count the digits after the point that are needed, trailing zeros left out."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    padding = next((count for count, digit in enumerate(reversed(digits)) if digit), 0)
    return max(0, -(exponent + padding))


def _decimal(value: Any) -> Decimal:
    """Turn an int, a Decimal or a text of the grammar into a Decimal; refuse all else, floats and booleans first."""
    if isinstance(value, bool | float):
        raise NotANumber(f"a {type(value).__name__} is not an exact number: send an integer, a decimal or a string")
    if isinstance(value, str):
        return parse_decimal(value)
    if isinstance(value, int):
        if value.bit_length() > 4 * _UNSTORABLE_DIGITS:
            raise NotANumber("the number has too many digits")
        return Decimal(value)
    if isinstance(value, Decimal):
        return _finite(value)
    raise NotANumber(f"{type(value).__name__} is not a number")


def _unbounded(value: Any) -> Decimal:
    """Turn a computed value, perhaps in the long text that `plain` wrote, into a Decimal of any scale."""
    if isinstance(value, str) and len(value) <= 2 * _UNSTORABLE_DIGITS and _GRAMMAR.fullmatch(value):
        return _finite(Decimal(value))
    return _decimal(value)


def _not_negative(value: Decimal) -> Decimal:
    if value < 0:
        raise NotANumber(f"must not be negative, got {plain(value)}")
    return value


def _positive(value: Decimal) -> Decimal:
    if value <= 0:
        raise NotANumber(f"must be more than 0, got {plain(value)}")
    return value


def plain(value: Decimal) -> str:
    """Write a number without exponent and without padding zeros: 10000, 0.5, and 0 for -0 (B104)."""
    _finite(value)
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def grouped(value: Decimal) -> str:
    """Write a number for people, with thousands separators: 1,200,000 and 1,234.5 (B99)."""
    whole, point, rest = plain(value).partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}{point}{rest}"


def json_number(value: Decimal) -> int | Decimal:
    """Return the value as a JSON number should carry it: an int when it is whole (1200000, never 1200000.0; C11)."""
    _finite(value)
    return int(value) if value == value.to_integral_value() else Decimal(plain(value))


def round_quantity(value: Decimal, function: RoundingFunction | None, precision: int = 0) -> Decimal:
    """Round a metric's quantity as its configuration says, to `precision` digits after the point.

    `round` is half away from zero (R2), `ceil` towards +infinity, `floor` towards -infinity; None leaves the value.
    A negative precision rounds to tens (-1), hundreds (-2) and so on. 2.25 round 1 -> 2.3; 2.21 ceil 1 -> 2.3.
    """
    if function is None:
        return value
    # Scaling first keeps quantize() at exponent 0 for every precision.
    with localcontext(_EXACT):
        scaled = value.scaleb(precision).to_integral_value(rounding=_MODES[function])
        return Decimal(plain(scaled.scaleb(-precision)))


def rounded_ratio(value: Fraction) -> Decimal:
    """Round an exact ratio to the 18 fraction digits that a stored quantity has, half away from zero.

    Postgres rounds NUMERIC the same way, so a quantity computed here equals the one computed there.
    """
    scaled = value * 10**FRACTION_DIGITS
    units = (2 * abs(scaled.numerator) + scaled.denominator) // (2 * scaled.denominator)
    with localcontext(_EXACT):
        return Decimal(plain(Decimal(units if value >= 0 else -units).scaleb(-FRACTION_DIGITS)))


_WRITTEN: Final = PlainSerializer(plain, return_type=str, when_used="json")


def _described(description: str) -> WithJsonSchema:
    """Describe the accepted input in OpenAPI; a string keeps every digit in any client."""
    return WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": _JSON_PATTERN}], "description": description},
        mode="validation",
    )


Quantity = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_storable),
    _WRITTEN,
    _described("An exact decimal, of any sign: at most 20 digits before and 18 after the point."),
]
"""An exact number of any sign that NUMERIC(38,18) holds: usage values and quantities."""

NonNegative = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_storable),
    AfterValidator(_not_negative),
    _WRITTEN,
    _described("An exact decimal, 0 or more: at most 20 digits before and 18 after the point."),
]
"""An exact number >= 0 that NUMERIC(38,18) holds: included units, tier bounds, rates in percent."""

Positive = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_storable),
    AfterValidator(_positive),
    _WRITTEN,
    _described("An exact decimal, more than 0: at most 20 digits before and 18 after the point."),
]
"""An exact number > 0 that NUMERIC(38,18) holds: package sizes."""

UnitPrice = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    AfterValidator(_storable),
    AfterValidator(_not_negative),
    _WRITTEN,
    _described("A price in major currency units (49.00 is forty-nine dollars), 0 or more, exact to 18 decimals."),
]
"""A price >= 0 in major currency units, exact to 18 decimals (B33)."""

LARGEST_MAJOR: Final = 10**15
"""Largest fixed price in major units; far above it, minor units would no longer fit a BIGINT."""


def _payable(value: Decimal) -> Decimal:
    if value > LARGEST_MAJOR:
        raise ValueError(f"must not be more than {LARGEST_MAJOR}")
    return value


FixedPrice = Annotated[NonNegative, AfterValidator(_payable)]
"""A fixed price of a period in major units, 0 or more."""

ExactDecimal = Annotated[Decimal, BeforeValidator(_unbounded), AfterValidator(_finite), _WRITTEN]
"""A computed number of any scale, such as an unrounded amount; never a float, NaN or Infinity."""
