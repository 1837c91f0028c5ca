"""What a subscription's request means: starts, trials, periods, and which of them are billed without being asked."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.postgres.subscriptions.subscription_store import ResolvedReferences
from api.subscriptions.subscription_shapes import NewSubscription
from api.subscriptions.subscription_terms import first_state, recorded_terms
from billing.subscriptions.subscription import SubscriptionState, next_wake
from models.identifiers import new_id
from models.problems import Problem

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def named(**more: Any) -> ResolvedReferences:
    values: dict[str, Any] = {
        "organization_id": new_id(),
        "project_id": new_id(),
        "customer_id": new_id(),
        "test_clock_id": None,
        "grace_days": 0,
        "timezone": "UTC",
        "plan_id": new_id(),
        "plan_code": "plan_growth",
        "plan_version_id": new_id(),
        "plan_version": 1,
        "interval": "monthly",
        "trial_period_days": 0,
        "now": NOW,
    }
    return ResolvedReferences(**{**values, **more})


def body(**more: Any) -> NewSubscription:
    return NewSubscription.model_validate({"customer_id": "cust_acme", "plan_id": "plan_growth", **more})


def state(wanted: NewSubscription, **more: Any) -> SubscriptionState:
    return first_state(wanted, named(**more), new_id())


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_past_start_is_active_and_bills_by_itself_from_the_period_open_now() -> None:
    made = state(body(start_date="2026-04-01T00:00:00Z"))
    assert made.status == "active"
    assert made.starts_at == utc("2026-04-01")
    assert made.bills_automatically_from == utc("2026-11-01")
    assert made.period is not None
    assert (made.period.start, made.period.end) == (utc("2026-11-01"), utc("2026-12-01"))
    assert made.cycle.alignment == "anniversary"


def test_backdating_automatically_begins_with_the_first_period() -> None:
    made = state(body(start_date="2026-04-01T00:00:00Z", backdate_billing="automatic"))
    assert made.period is not None
    assert made.bills_automatically_from == made.period.start == utc("2026-04-01")


def test_backdating_automatically_is_bounded() -> None:
    with pytest.raises(Problem, match="too_many_backdated_periods"):
        first_state(body(start_date="1970-01-01", backdate_billing="automatic"), named(interval="weekly"), new_id())


def test_a_plain_date_is_midnight_in_the_billing_zone() -> None:
    made = state(body(starts_at="2024-05-01"), timezone="Europe/Berlin")
    assert made.starts_at == datetime(2024, 4, 30, 22, tzinfo=UTC)
    assert state(body(starts_at="2024-05-01", timezone="America/New_York"), timezone="Europe/Berlin").starts_at == (
        datetime(2024, 5, 1, 4, tzinfo=UTC)
    )


def test_a_future_start_is_pending_until_then() -> None:
    made = state(body(start_date="2026-12-24T00:00:00Z"))
    assert (made.status, made.period) == ("pending", None)
    wake = next_wake(made, at=NOW, wall=NOW)
    assert (wake.kind, wake.at) == ("activate", utc("2026-12-24"))


def test_without_any_start_it_begins_now() -> None:
    made = state(body())
    assert (made.status, made.starts_at) == ("active", NOW)


def test_a_boxbilling_body_without_a_start_waits_for_activate() -> None:
    made = state(body(external_id="sub-1"))
    assert (made.status, made.waits_for_activation) == ("pending", True)
    assert next_wake(made, at=NOW + timedelta(days=400), wall=NOW).kind == "nothing"


def test_boxbilling_periods_are_calendar_months_unless_asked_otherwise() -> None:
    made = state(body(external_id="sub-1", started_at="2026-10-12T00:00:00Z"))
    assert made.cycle.alignment == "calendar"
    assert made.period is not None
    assert made.period.start == utc("2026-11-01")
    chosen = state(body(external_id="sub-1", started_at="2026-10-12T00:00:00Z", billing_time="anniversary"))
    assert chosen.period is not None
    assert chosen.period.start == utc("2026-11-12")


def test_a_trial_comes_before_the_first_period() -> None:
    made = state(body(start_date="2026-11-20T00:00:00Z", trial={"days": 14}))
    assert (made.status, made.trial_ends_at) == ("trialing", utc("2026-12-04"))
    assert made.cycle.anchor == made.bills_automatically_from == utc("2026-12-04")
    assert next_wake(made, at=NOW, wall=NOW).kind == "trial_end"


def test_a_trial_that_is_over_already_leaves_the_subscription_active() -> None:
    made = state(body(start_date="2026-11-01T00:00:00Z", trial_period_days=3))
    assert (made.status, made.trial_ends_at) == ("active", utc("2026-11-04"))
    assert made.period is not None
    assert (made.period.start, made.period.end) == (utc("2026-11-04"), utc("2026-12-04"))


def test_the_plan_gives_the_trial_if_the_body_does_not() -> None:
    assert state(body(), trial_period_days=7).status == "trialing"
    assert state(body(trial_period_days=0), trial_period_days=7).status == "active"


def test_trial_days_are_days_of_the_wall_clock() -> None:
    made = state(
        body(start_date="2026-10-24T22:00:00Z", trial_period_days=1, timezone="Europe/Berlin"), now=utc("2026-10-24")
    )
    assert made.trial_ends_at == datetime(2026, 10, 25, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        ("2026-04-01", "2026-04-01", "end_before_start"),
        ("2026-04-01", "2026-03-01", "end_before_start"),
        ("2026-04-01", "2026-05-01", "end_in_the_past"),
    ],
)
def test_an_end_must_come_after_the_start_and_lie_ahead(start: str, end: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        state(body(start_date=start, ending_at=end))
    assert (refused.value.status, refused.value.code) == (422, code)


def test_a_planned_end_is_due_by_itself() -> None:
    made = state(body(start_date="2026-11-10", end_date="2026-11-25"))
    assert made.cancel_at == utc("2026-11-25")
    wake = next_wake(made, at=NOW, wall=NOW)
    assert (wake.kind, wake.at) == ("cancel", utc("2026-11-25"))


def test_a_test_clock_freezes_the_now_of_everything() -> None:
    frozen = utc("2025-01-15")
    made = state(body(start_date="2025-02-01"), test_clock_id=new_id(), now=frozen)
    assert made.status == "pending"
    assert made.clock is not None
    assert made.clock.frozen_time == made.clock.advanced_to == frozen


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "2026-13-01",
        "2026-04-31T00:00:00Z",
        "1969-12-31",
        "9999-12-31",
        "２０２６-04-01",
        1775000000,
        True,
        "",
    ],
)
def test_what_is_no_point_in_time_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        body(start_date=value)


def test_the_row_keeps_what_the_client_wrote() -> None:
    wanted, found = body(starts_at="2024-05-01", external_reference="crm-789", contract={"term": "P1Y"}), named()
    terms = recorded_terms(wanted, found)
    assert terms.starts_at_supplied == "2024-05-01"
    assert (terms.customer_supplied, terms.plan_supplied) == ("cust_acme", "plan_growth")
    assert terms.contract == {"term": "P1Y"}
