"""What may enter as a number, and how numbers are written (R1, B104)."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from billing.numbers import (
    ExactDecimal,
    NonNegative,
    NotANumber,
    Positive,
    Quantity,
    UnitPrice,
    exact,
    grouped,
    json_number,
    parse_decimal,
    plain,
    round_quantity,
    rounded_ratio,
)

storable = st.decimals(
    min_value=Decimal(-(10**19)), max_value=Decimal(10**19), places=18, allow_nan=False, allow_infinity=False
)

REFUSED_TEXTS = [
    "",
    " 1",
    "1 ",
    "1\n",
    ".5",
    "5.",
    "1,5",
    "1_000",
    "1e3",
    "1E400",
    "0x10",
    "NaN",
    "Infinity",
    "-inf",
    "１２",
    "٣",
    "--1",
    "+-1",
    "1" * 21,
    "0." + "1" * 19,
    "9" * 400,
    "0" * 400,
]


class Form(BaseModel):
    quantity: Quantity = Decimal(0)
    price: UnitPrice = Decimal(0)
    included: NonNegative = Decimal(0)
    size: Positive = Decimal(1)
    computed: ExactDecimal = Decimal(0)


@pytest.mark.parametrize("text", REFUSED_TEXTS)
def test_other_notations_are_refused(text: str) -> None:
    with pytest.raises(NotANumber):
        parse_decimal(text)
    with pytest.raises(ValidationError):
        Form(quantity=text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("+7", "7"),
        ("007", "7"),
        ("1.50", "1.5"),
        ("0.00005", "0.00005"),
        ("9" * 20 + "." + "9" * 18, "9" * 20 + "." + "9" * 18),
        ("1." + "0" * 30, "1"),
    ],
)
def test_plain_decimal_text_is_read_exactly(text: str, value: str) -> None:
    assert parse_decimal(text) == Decimal(value)
    assert plain(parse_decimal(text)) == value


@given(storable)
def test_what_is_written_reads_back_as_the_same_number(value: Decimal) -> None:
    text = plain(value)
    assert parse_decimal(text) == value
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith("0"))


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1E400"),
        10**400,
        10**20,
        b"1",
        [],
        None,
    ],
)
def test_what_is_not_an_exact_number_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        Form(quantity=value)


def test_a_float_is_refused_even_when_it_is_whole() -> None:
    # Built from text, because this suite has no float literal either.
    for value in (float("1"), float("0.1"), float("nan"), float("inf")):
        with pytest.raises(ValidationError):
            Form(quantity=value)
        with pytest.raises(ValidationError):
            Form(computed=value)


@pytest.mark.parametrize("value", [0, 12, "12.5", Decimal("12.5"), Decimal("1E+4"), -3])
def test_integers_decimals_and_strings_are_accepted(value: Any) -> None:
    assert Form(quantity=value).quantity == Decimal(value)


def test_signs_are_checked() -> None:
    for field in ("price", "included"):
        assert getattr(Form(**{field: "0"}), field) == 0
        with pytest.raises(ValidationError, match="must not be negative"):
            Form(**{field: "-0.000001"})
    with pytest.raises(ValidationError, match="more than 0"):
        Form(size="0")


def test_json_carries_plain_strings() -> None:
    form = Form(quantity=Decimal("1E+4"), price="0.50", computed=Decimal("-0.00"))
    assert form.model_dump(mode="json") == {
        "quantity": "10000",
        "price": "0.5",
        "included": "0",
        "size": "1",
        "computed": "0",
    }
    assert Form.model_validate_json(form.model_dump_json()) == form


def test_a_computed_number_keeps_more_digits_than_a_stored_one() -> None:
    with exact():
        product = Decimal("12345678901234567890.123456789012345678") * Decimal("0.000000000000000001")
    assert Form.model_validate_json(Form(computed=product).model_dump_json()).computed == product


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+4", "10000"), ("0.50", "0.5"), ("-0", "0"), ("-0.00", "0"), ("0E+9", "0"), ("100", "100"), ("-1.20", "-1.2")],
)
def test_plain_notation(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1200000", "1,200,000"),
        ("1234.50", "1,234.5"),
        ("999", "999"),
        ("-1234", "-1,234"),
        ("-0.5", "-0.5"),
        ("0", "0"),
    ],
)
def test_thousands_separators(value: str, text: str) -> None:
    assert grouped(Decimal(value)) == text


def test_a_whole_json_number_is_an_integer() -> None:
    whole = json_number(Decimal("120.00"))
    assert (whole, type(whole)) == (120, int)
    assert str(json_number(Decimal("1.50"))) == "1.5"


@pytest.mark.parametrize(
    ("value", "function", "precision", "expected"),
    [
        ("2.25", "round", 1, "2.3"),
        ("-2.25", "round", 1, "-2.3"),
        ("2.21", "ceil", 1, "2.3"),
        ("-2.29", "ceil", 1, "-2.2"),
        ("2.29", "floor", 1, "2.2"),
        ("-2.21", "floor", 1, "-2.3"),
        ("2.5", "round", 0, "3"),
        ("1250", "round", -2, "1300"),
        ("1.23", None, 0, "1.23"),
    ],
)
def test_quantities_round_as_configured(value: str, function: Any, precision: int, expected: str) -> None:
    assert round_quantity(Decimal(value), function, precision) == Decimal(expected)


def test_ratios_round_half_away_from_zero_at_18_decimals() -> None:
    assert rounded_ratio(Fraction(1, 3)) == Decimal("0." + "3" * 18)
    assert rounded_ratio(Fraction(5, 10**19)) == Decimal("1E-18")
    assert rounded_ratio(Fraction(-5, 10**19)) == Decimal("-1E-18")
