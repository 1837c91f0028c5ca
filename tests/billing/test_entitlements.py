"""Values that plans grant: read by the feature's type, kept as text, shown as what they are (conflicts C27)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.entitlements import FeatureType, InvalidFeatureValue, entitlement_text, feature_type_of, typed_value


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("boolean", True, "true"),
        ("boolean", " FALSE ", "false"),
        ("quantity", 10, "10"),
        ("quantity", Decimal("10.50"), "10.5"),
        ("quantity", Decimal("1E+3"), "1000"),
        ("quantity", "0", "0"),
        ("custom", "gold", "gold"),
        ("custom", "10", "10"),
    ],
)
def test_a_value_is_kept_in_one_form(kind: FeatureType, value: bool | int | Decimal | str, text: str) -> None:
    assert entitlement_text(kind, value) == text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", 1),
        ("boolean", "yes"),
        ("quantity", True),
        ("quantity", "-1"),
        ("quantity", "1e3"),
        ("quantity", Decimal("NaN")),
        ("quantity", 10**20),
        ("custom", 10),
        ("custom", False),
    ],
)
def test_a_value_of_another_type_is_unfit(kind: FeatureType, value: bool | int | Decimal | str) -> None:
    with pytest.raises(InvalidFeatureValue):
        entitlement_text(kind, value)


@given(
    st.booleans()
    | st.decimals(0, 10**12, allow_nan=False, places=6)
    | st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=255)
)
def test_what_is_granted_is_what_is_shown(value: bool | Decimal | str) -> None:
    kind = feature_type_of(value)
    assert typed_value(kind, entitlement_text(kind, value)) == value
