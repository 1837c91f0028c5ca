"""Periods tile time, from the anchor, on the wall clock of the billing zone (R11, R12, R13)."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.period import BeforeAnchor, BillingCycle, Period, UnknownTimeZone, inclusive_end, zone
from tests.billing.strategies import cycles, instants

MICROSECOND = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cycle(
    anchor: str, interval: Any = "monthly", timezone: str = "UTC", alignment: Any = "anniversary"
) -> BillingCycle:
    return BillingCycle(interval=interval, anchor=at(anchor), timezone=timezone, alignment=alignment)


def days(periods: BillingCycle, count: int) -> list[str]:
    return [f"{periods.boundary(k):%Y-%m-%d}" for k in range(count)]


def test_day_31_clamps_and_comes_back() -> None:
    assert days(cycle("2026-01-31"), 5) == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]
    assert days(cycle("2028-01-31"), 3) == ["2028-01-31", "2028-02-29", "2028-03-31"]


def test_the_29th_of_february_clamps_in_common_years() -> None:
    assert days(cycle("2024-02-29", "yearly"), 5) == [
        "2024-02-29",
        "2025-02-28",
        "2026-02-28",
        "2027-02-28",
        "2028-02-29",
    ]


def test_quarters_and_weeks_count_from_the_anchor() -> None:
    assert days(cycle("2025-11-30", "quarterly"), 3) == ["2025-11-30", "2026-02-28", "2026-05-30"]
    assert days(cycle("2026-04-01", "weekly"), 3) == ["2026-04-01", "2026-04-08", "2026-04-15"]


def test_the_time_of_day_is_kept() -> None:
    assert cycle("2026-01-31T13:45:07.000001").boundary(1) == at("2026-02-28T13:45:07.000001")


def test_a_boundary_in_a_gap_takes_the_offset_from_before_it() -> None:
    # 02:30 in Berlin is 01:30Z in winter; on 29 March 2026 the clocks go from 02:00 to 03:00.
    periods = cycle("2026-01-29T01:30:00", timezone="Europe/Berlin")
    assert periods.boundary(2) == at("2026-03-29T01:30:00")
    assert f"{periods.boundary(2).astimezone(zone('Europe/Berlin')):%H:%M}" == "03:30"
    assert periods.boundary(3) == at("2026-04-29T00:30:00")


def test_an_ambiguous_boundary_is_the_first_occurrence() -> None:
    # On 25 October 2026, 02:30 in Berlin happens at 00:30Z and again at 01:30Z.
    periods = cycle("2026-08-25T00:30:00", timezone="Europe/Berlin")
    assert periods.boundary(2) == at("2026-10-25T00:30:00")
    assert periods.boundary(3) == at("2026-11-25T01:30:00")


def test_an_anchor_in_the_second_occurrence_stays_where_it_is() -> None:
    periods = cycle("2026-10-25T01:30:00", timezone="Europe/Berlin")
    assert periods.boundary(0) == at("2026-10-25T01:30:00")
    assert periods.period_containing(at("2026-10-25T01:30:00")).start == at("2026-10-25T01:30:00")


def test_a_calendar_month_begins_at_local_midnight() -> None:
    periods = cycle("2026-03-10T09:00:00", timezone="Europe/Berlin", alignment="calendar")
    assert periods.full_period(0) == Period(start=at("2026-02-28T23:00:00"), end=at("2026-03-31T22:00:00"))
    assert periods.full_period(0).duration == timedelta(hours=743)
    first = periods.period_containing(at("2026-03-20T00:00:00"))
    assert first == Period(start=at("2026-03-10T09:00:00"), end=at("2026-03-31T22:00:00"))
    assert periods.full_period_containing(at("2026-03-20T00:00:00")) == periods.full_period(0)


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        ("weekly", "2026-05-18", "2026-05-25"),
        ("monthly", "2026-05-01", "2026-06-01"),
        ("quarterly", "2026-04-01", "2026-07-01"),
        ("yearly", "2026-01-01", "2027-01-01"),
    ],
)
def test_calendar_units_are_whole_weeks_from_monday_months_quarters_years(interval: str, start: str, end: str) -> None:
    periods = cycle("2026-05-20T08:00:00", interval, alignment="calendar")
    assert periods.full_period(0) == Period(start=at(start), end=at(end))


@given(cycles(), st.integers(-5, 60))
def test_periods_tile_time(periods: BillingCycle, k: int) -> None:
    period = periods.full_period(k)
    assert period.start < period.end == periods.full_period(k + 1).start
    assert periods.index_containing(period.start) == k
    assert periods.index_containing(period.end - MICROSECOND) == k
    assert periods.index_containing(period.end) == k + 1


@given(cycles(), instants())
def test_every_instant_lies_in_exactly_the_period_that_is_found_for_it(
    periods: BillingCycle, instant: datetime
) -> None:
    full = periods.full_period_containing(instant)
    assert full.contains(instant)
    if instant < periods.anchor:
        with pytest.raises(BeforeAnchor):
            periods.period_containing(instant)
    else:
        period = periods.period_containing(instant)
        assert period.contains(instant)
        assert full.covers(period)
        assert period.start == max(full.start, periods.anchor)


@given(cycles(), st.integers(-40, 400), st.integers(0, 400))
def test_periods_between_cover_the_window_without_gap_or_overlap(
    periods: BillingCycle, offset: int, length: int
) -> None:
    start = periods.anchor + timedelta(days=offset)
    end = start + timedelta(days=length)
    found = periods.periods_between(start, end)
    window_start = max(start, periods.anchor)
    if end <= window_start:
        assert found == ()
        return
    assert found[0].contains(window_start)
    assert found[-1].start < end <= found[-1].end
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(period.start >= periods.anchor and not period.is_empty for period in found)


def test_a_far_instant_is_found_at_once() -> None:
    periods = cycle("1971-01-31", "weekly", "Europe/Berlin")
    assert periods.full_period_containing(at("2970-06-15")).contains(at("2970-06-15"))


def test_periods_are_half_open() -> None:
    april = Period(start=at("2026-04-01"), end=at("2026-05-01"))
    may = Period(start=at("2026-05-01"), end=at("2026-06-01"))
    assert april.contains(at("2026-04-30T23:59:59.999999"))
    assert not april.contains(april.end)
    assert not april.overlaps(may)
    assert april.intersection(may) is None
    assert april.intersection(Period(start=at("2026-04-20"), end=at("2026-05-20"))) == Period(
        start=at("2026-04-20"), end=at("2026-05-01")
    )
    assert not april.overlaps(Period(start=at("2026-04-10"), end=at("2026-04-10")))
    assert inclusive_end(april.end) == at("2026-04-30T23:59:59")


def test_instants_are_kept_in_utc_and_ordered() -> None:
    berlin = datetime(2026, 4, 1, 2, tzinfo=zone("Europe/Berlin"))
    assert Period(start=berlin, end=berlin).start.tzinfo is UTC
    for start, end in [
        ("2026-04-02T00:00:00Z", "2026-04-01T00:00:00Z"),
        ("2026-04-01T00:00:00", "2026-04-02T00:00:00"),
    ]:
        with pytest.raises(ValidationError):
            Period.model_validate({"start": start, "end": end})
    with pytest.raises(ValidationError):
        Period.model_validate({"start": "0001-01-01T00:00:00+14:00", "end": "2026-04-01T00:00:00Z"})


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/passwd", "Europe/Berlin\0"])
def test_unknown_time_zones_are_refused(name: str) -> None:
    with pytest.raises(UnknownTimeZone):
        zone(name)
    with pytest.raises(ValidationError):
        cycle("2026-01-01", timezone=name)


@given(cycles())
def test_a_cycle_survives_json(periods: BillingCycle) -> None:
    assert BillingCycle.model_validate_json(periods.model_dump_json()) == periods
