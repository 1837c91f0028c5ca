"""What a plan grants: features of three types, and the text in which a granted value is kept (conflicts C27)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from billing.numbers import NotANumber, parse_decimal, plain

FeatureType = Literal["boolean", "quantity", "custom"]
"""A switch, a limit, or a text of the seller's own."""

EntitlementValue = bool | Decimal | str
"""A granted value as a plan's embedded object shows it."""

_SWITCHES: Final[Mapping[str, bool]] = {"true": True, "false": False}


class InvalidFeatureValue(ValueError):
    """Raised for a value that is none of its feature's type; the message says what would be."""


def feature_type_of(value: bool | int | Decimal | str) -> FeatureType:
    """Return the type of a feature that does not exist yet, from its first value: bool, number, else custom (C27)."""
    if isinstance(value, bool):
        return "boolean"
    return "quantity" if isinstance(value, int | Decimal) else "custom"


def entitlement_text(kind: FeatureType, value: bool | int | Decimal | str) -> str:
    """Write a value as it is kept: "true" or "false", a plain number without padding, or the custom text itself.

    A text is read by the feature's type (BoxBilling sends every value as text), so "10" is a quantity. Raises
    `InvalidFeatureValue` for anything else, and for a quantity below 0 or one that NUMERIC(38,18) cannot hold.
    """
    match kind:
        case "boolean":
            return _switch(value)
        case "quantity":
            return _quantity(value)
        case "custom":
            if not isinstance(value, str):
                raise InvalidFeatureValue("must be a text: the feature's type is custom")
            return value


def _switch(value: bool | int | Decimal | str) -> str:
    text = value.strip().lower() if isinstance(value, str) else value
    switch = _SWITCHES.get(text) if isinstance(text, str) else text
    if not isinstance(switch, bool):
        raise InvalidFeatureValue("must be true or false: the feature's type is boolean")
    return "true" if switch else "false"


def _quantity(value: bool | int | Decimal | str) -> str:
    if isinstance(value, bool):
        raise InvalidFeatureValue("must be a number: the feature's type is quantity")
    try:
        number = parse_decimal(value if isinstance(value, str) else plain(Decimal(value)))
    except NotANumber as error:
        raise InvalidFeatureValue(f"must be a number, the feature's type being quantity: {error}") from None
    if number < 0:
        raise InvalidFeatureValue("must be 0 or more")
    return plain(number)


def typed_value(kind: FeatureType, text: str) -> EntitlementValue:
    """Read a kept value back as what it is: a bool, an exact number, or a text."""
    match kind:
        case "boolean":
            return _SWITCHES[text]
        case "quantity":
            return parse_decimal(text)
        case "custom":
            return text
