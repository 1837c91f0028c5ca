"""Every message round-trips through the converter that workers and clients use (style.md section 5, property 10)."""

import importlib
import pkgutil
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel
from temporalio.contrib.pydantic import pydantic_data_converter

import models.messages
from billing.period import BillingCycle, Period
from models.messages.base import Message

st.register_type_strategy(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=6))
st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
_INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
st.register_type_strategy(AwareDatetime, _INSTANTS)
st.register_type_strategy(
    Period, st.tuples(_INSTANTS, _INSTANTS).map(lambda ends: Period(start=min(ends), end=max(ends)))
)
st.register_type_strategy(
    BillingCycle,
    st.builds(
        BillingCycle,
        interval=st.sampled_from(["weekly", "monthly", "quarterly", "yearly"]),
        anchor=_INSTANTS,
        timezone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
        alignment=st.sampled_from(["anniversary", "calendar"]),
    ),
)


def message_classes() -> list[type[Message]]:
    for module in pkgutil.iter_modules(models.messages.__path__):
        importlib.import_module(f"models.messages.{module.name}")
    found: list[type[Message]] = []
    pending = list(Message.__subclasses__())
    while pending:
        kind = pending.pop()
        found.append(kind)
        pending += kind.__subclasses__()
    return sorted(set(found), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", message_classes(), ids=lambda kind: kind.__name__)
def test_a_message_is_frozen_and_says_exactly_what_it_holds(kind: type[Message]) -> None:
    assert kind.model_config.get("frozen") is True
    for name, field in kind.model_fields.items():
        assert field.annotation is not None
        assert Any not in (field.annotation, *get_args(field.annotation)), f"{name}: Any loses Decimal"
        assert field.annotation is not dict, f"{name}: a bare dict loses types"
        assert field.annotation is not float, f"{name}: no float near money"


@pytest.mark.parametrize("kind", message_classes(), ids=lambda kind: kind.__name__)
async def test_a_message_round_trips_through_the_converter(kind: type[Message]) -> None:
    @settings(max_examples=10, suppress_health_check=list(HealthCheck), deadline=None)
    @given(message=st.from_type(kind))
    def check(message: BaseModel) -> None:
        payload = pydantic_data_converter.payload_converter.to_payloads([message])
        (read,) = pydantic_data_converter.payload_converter.from_payloads(payload, [kind])
        assert read == message

    check()
