"""How events become a quantity (B46, B47, B48; style 5, item 9)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.aggregations import (
    AGGREGATIONS,
    DEFAULT_AGGREGATION,
    Aggregation,
    EventValue,
    UnknownAggregation,
    aggregation,
)
from billing.period import Period
from tests.billing.strategies import hundredths

APRIL = Period(start=datetime(2026, 4, 1, tzinfo=UTC), end=datetime(2026, 5, 1, tzinfo=UTC))
CONFIGURATION: dict[str, dict[str, Any]] = {
    "custom": {"expression": "value * 2"},
    "unique_count": {"field": "user"},
    "percentile": {"percentile": 50},
}


def event(number: int, value: Any = None, *, hour: int | None = None, **properties: Any) -> EventValue:
    occurred_at = APRIL.start + timedelta(hours=number if hour is None else hour)
    return EventValue(
        key=f"{number:04}", value=value, properties=properties, occurred_at=occurred_at, received_at=occurred_at
    )


def fold(kind: str, *events: EventValue, **configuration: Any) -> Decimal:
    return aggregation(kind, **configuration).fold(events, APRIL)


def configured(kind: str) -> Aggregation:
    return aggregation(kind, **CONFIGURATION.get(kind, {}))


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [
        ("sum", "13"),
        ("count", "4"),
        ("max", "5"),
        ("min", "1"),
        ("unique_count", "3"),
        ("latest", "1"),
        ("average", "3.25"),
        ("percentile", "5"),
    ],
)
def test_the_series_5_2_5_1(kind: str, quantity: str) -> None:
    series = [event(number, value) for number, value in enumerate([5, 2, 5, 1])]
    assert fold(kind, *series) == Decimal(quantity)


def test_only_events_of_the_period_count() -> None:
    inside = [event(1, 1), event(2, 2), event(3, "3.5")]
    assert fold("sum", *inside, event(4, 9, hour=720), event(5, 9, hour=-1)) == Decimal("6.5")


@pytest.mark.parametrize("kind", AGGREGATIONS)
def test_no_events_are_zero(kind: str) -> None:
    assert configured(kind).fold([], APRIL) == 0


def test_events_without_a_value_are_counted_but_add_nothing() -> None:
    events = [event(1, 4), event(2)]
    assert [fold(kind, *events) for kind in ("count", "sum", "average", "min", "latest")] == [2, 4, 4, 4, 4]


def test_of_events_at_one_instant_the_last_received_is_the_latest() -> None:
    first, second = event(1, 10, hour=5), event(2, 20, hour=5)
    later = first.model_copy(update={"received_at": second.received_at + timedelta(seconds=1)})
    assert fold("latest", first, second) == 20
    assert fold("latest", later, second) == 10


def test_unique_count_reads_a_property_and_knows_equal_numbers() -> None:
    users = [event(1, user="ann"), event(2, user="bob"), event(3, user="ann"), event(4), event(5, user=None)]
    assert fold("unique_count", *users, field="user") == 2
    numbers = [event(1, user=5), event(2, user=Decimal("5.0")), event(3, user="5"), event(4, user=True)]
    assert fold("unique_count", *numbers, field="user") == 2


def test_a_level_is_weighted_by_the_time_it_was_in_force() -> None:
    # +10 from the start, -10 from the middle: 10 for one half of the period.
    assert fold("weighted_sum", event(1, 10, hour=0), event(2, -10, hour=360)) == 5
    # 12 for the last third: 12 x 240/720.
    assert fold("weighted_sum", event(1, 12, hour=480)) == 4


def test_percentiles_are_nearest_ranks() -> None:
    series = [event(number, number) for number in range(1, 101)]
    assert [fold("percentile", *series, percentile=p) for p in (7, 50, 95, 100, "0.1", "99.1")] == [
        7,
        50,
        95,
        100,
        1,
        100,
    ]
    assert fold("percentile", event(1, 5), event(2, 2), event(3, 5), event(4, 1), percentile=50) == 2


def test_an_expression_is_applied_to_each_event_and_added_up() -> None:
    events = [event(number, v=v) for number, v in enumerate([10, 5, "5", Decimal("2.5")])]
    assert fold("custom", *events, expression="v * 2") == 45
    assert fold("custom", *events, event(9, w=1), expression="v * 2") == 45


def test_an_expression_decides_what_an_event_counts_for_when_it_is_accepted() -> None:
    custom = aggregation("custom", expression="(tokens_in + 3 * tokens_out) / 1000")
    assert custom.value_of(value=None, properties={"tokens_in": 10, "tokens_out": "4"}) == Decimal("0.022")
    assert custom.value_of(value=None, properties={"tokens_in": 10}) is None
    assert aggregation("custom", expression="value / n").value_of(value=Decimal(1), properties={"n": 3}) == Decimal(
        "0." + "3" * 18
    )
    assert aggregation("custom", expression="value / n").value_of(value=Decimal(1), properties={"n": 0}) is None
    large = aggregation("custom", expression="value * value")
    assert large.value_of(value=Decimal(10**10), properties={}) is None
    stored = [event(1, 7, v=100)]
    assert fold("custom", *stored, expression="v * 2") == 7


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"gb": "2.5"}, "2.5"),
        ({"gb": 3}, "3"),
        ({"gb": Decimal("0.10")}, "0.1"),
        ({"gb": "1e3"}, None),
        ({"gb": "NaN"}, None),
        ({"gb": Decimal("NaN")}, None),
        ({"gb": True}, None),
        ({"gb": None}, None),
        ({"gb": [1]}, None),
        ({"gb": 10**20}, None),
        ({}, None),
    ],
)
def test_a_value_may_be_a_property(properties: dict[str, Any], value: str | None) -> None:
    found = aggregation("sum", field="gb").value_of(value=None, properties=properties)
    assert found == (None if value is None else Decimal(value))


def test_the_property_that_a_metric_names_comes_first_where_an_event_has_it() -> None:
    by_field = aggregation("sum", field="gb")
    assert by_field.value_of(value=Decimal(7), properties={"gb": 1}) == 1
    assert by_field.value_of(value=Decimal(7), properties={"gb": "much"}) is None
    assert by_field.value_of(value=Decimal(7), properties={"gb": None}) == 7
    assert by_field.value_of(value=Decimal(7), properties={}) == 7
    assert aggregation("sum").value_of(value=Decimal(7), properties={"value": 1}) == 7
    assert aggregation("sum").value_of(value=None, properties={"gb": 1}) is None


def test_what_carries_over_reads_what_came_before_the_period() -> None:
    earlier, within = [event(1, 10, hour=-48), event(2, 4, hour=-24)], [event(3, -6, hour=360)]
    for kind, without, carried in (
        # A level of 14 when the period begins, 8 from its middle on: 14 - 6 x 1/2.
        ("weighted_sum", -3, 11),
        ("latest", -6, -6),
        ("max", -6, 10),
        ("count", 1, 3),
    ):
        assert fold(kind, *earlier, *within) == without, kind
        assert fold(kind, *earlier, *within, carry_over=True) == carried, kind
    # An empty period keeps the last value; what comes after the period never counts.
    later = event(4, 99, hour=720)
    assert [fold(kind, *earlier, later, carry_over=True) for kind in ("weighted_sum", "latest", "max")] == [14, 4, 10]
    assert fold("latest", *earlier) == 0


def test_30_digits_are_exact() -> None:
    long = Decimal("123456789012.123456789012345678")
    events = [event(1, long), event(2, long)]
    assert fold("sum", *events) == Decimal("246913578024.246913578024691356")
    assert fold("max", *events) == fold("latest", *events) == fold("average", *events) == long
    assert fold("sum", event(1, "99999999999999999999.999999999999999999"), event(2, "0.000000000000000001")) == 10**20


def test_sum_is_the_default_and_unknown_kinds_are_named() -> None:
    assert aggregation().fold([event(1, 2)], APRIL) == 2
    assert DEFAULT_AGGREGATION == "sum"
    with pytest.raises(UnknownAggregation, match="median"):
        aggregation("median")


@pytest.mark.parametrize(
    ("kind", "configuration"),
    [
        ("custom", {}),
        ("custom", {"expression": "__import__('os')"}),
        ("percentile", {"percentile": 0}),
        ("percentile", {"percentile": 101}),
        ("sum", {"field": ""}),
        ("sum", {"percentile": 5}),
        ("sum", {"carry_over": True}),
        ("average", {"carry_over": True}),
    ],
)
def test_configurations_that_do_not_fit_are_refused(kind: str, configuration: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        aggregation(kind, **configuration)


event_values = st.builds(
    lambda number, value, hour: event(number, value, hour=hour),
    st.integers(0, 30),
    st.none() | hundredths(-10, 10),
    st.integers(0, 719),
)


@pytest.mark.parametrize("kind", AGGREGATIONS)
@given(data=st.data())
def test_order_and_repetition_do_not_matter(kind: str, data: st.DataObject) -> None:
    events = data.draw(st.lists(event_values, max_size=6, unique_by=lambda each: each.key))
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=3) if events else st.just([]))
    shuffled = data.draw(st.permutations(repeated))
    assert configured(kind).fold(shuffled, APRIL) == configured(kind).fold(events, APRIL)


@pytest.mark.parametrize("kind", [kind for kind, model in AGGREGATIONS.items() if model.from_rollup])
@given(data=st.data())
def test_additive_means_that_parts_can_be_put_together(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(hundredths(-10, 10), min_size=1, max_size=6))
    cut = data.draw(st.integers(0, len(values)))
    events = [event(number, value) for number, value in enumerate(values)]
    together = {"max": max, "min": min}.get(kind, lambda parts: sum(parts, Decimal(0)))
    parts = [configured(kind).fold(part, APRIL) for part in (events[:cut], events[cut:]) if part]
    assert together(parts) == configured(kind).fold(events, APRIL)


@pytest.mark.parametrize("kind", AGGREGATIONS)
def test_each_class_says_how_its_rows_are_read(kind: str) -> None:
    model = AGGREGATIONS[kind]
    assert (model.rollup_column is not None) == (model.from_rollup is not None)
    assert model.rollup_column is not None or not (model.is_additive or model.is_reservable or model.grows_only)
    assert all(f":{name}" in model.from_events for name in model.sql_parameters)
    assert set(configured(kind).bindings) == set(model.sql_parameters) - {"start", "end", "full_seconds"}


@pytest.mark.parametrize("kind", AGGREGATIONS)
def test_a_configuration_survives_json(kind: str) -> None:
    model = configured(kind)
    assert aggregation(**model.model_dump(mode="json")) == model
