"""When an invoice is collected next, and what each answer of a provider means."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.collection import (
    RESOLVE_DELAYS,
    RETRY_DELAYS,
    OpenInvoice,
    Outcome,
    after_outcome,
    is_final_attempt,
    parked,
)

AT = datetime(2026, 5, 1, tzinfo=UTC)
WALL = datetime(2026, 11, 21, 12, tzinfo=UTC)
INVOICE = OpenInvoice(invoice_id=UUID(int=1), total_minor=14900, currency="USD", next_attempt_at=AT)


def answered(invoice: OpenInvoice, outcome: Outcome, *, at: datetime = AT, wall: datetime = WALL) -> OpenInvoice:
    """Return the invoice after an answer to the attempt that is due; it stays open."""
    number = invoice.attempt_to_make
    after = after_outcome(invoice, outcome, attempt_no=number, error="card_declined", at=at, wall=wall)
    assert after is not None
    return after


@pytest.mark.parametrize("outcome", ["paid", "settled"])
def test_a_settled_invoice_needs_no_more_care(outcome: Outcome) -> None:
    assert after_outcome(INVOICE, outcome, attempt_no=1, error=None, at=AT, wall=WALL) is None


def test_a_decline_is_retried_one_three_five_and_seven_days_after_each_failure_and_then_fails() -> None:
    invoice, at = INVOICE, AT
    for number, delay in enumerate(RETRY_DELAYS, start=1):
        assert not is_final_attempt(number)
        invoice = answered(invoice, "declined", at=at)
        assert (invoice.status, invoice.attempts, invoice.next_attempt_at) == ("issued", number, at + delay)
        at += delay
    assert is_final_attempt(5)
    invoice = answered(invoice, "declined", at=at)
    assert (invoice.status, invoice.attempts, invoice.next_attempt_at) == ("failed", 5, None)
    assert invoice.is_waiting


@pytest.mark.parametrize("outcome", ["pending", "requires_action"])
def test_an_unknown_outcome_is_asked_about_again_under_the_same_number(outcome: Outcome) -> None:
    invoice, wall = INVOICE, WALL
    for delay in (*RESOLVE_DELAYS, RESOLVE_DELAYS[-1]):
        invoice = answered(invoice, outcome, wall=wall)
        assert (invoice.status, invoice.attempts, invoice.attempt_to_make) == ("pending", 1, 1)
        assert (invoice.next_attempt_at, invoice.resolve_at) == (None, wall + delay)
        wall += delay


def test_a_known_failure_after_an_unknown_outcome_counts_once() -> None:
    invoice = answered(answered(INVOICE, "pending"), "declined")
    assert (invoice.status, invoice.attempts, invoice.attempt_to_make, invoice.asked) == ("issued", 1, 2, 0)


def test_an_invoice_that_nobody_can_be_charged_for_waits() -> None:
    invoice = answered(INVOICE, "unpayable")
    assert (invoice.status, invoice.attempts, invoice.is_waiting) == ("issued", 0, True)


def test_a_parked_invoice_waits_with_its_error() -> None:
    invoice = parked(INVOICE, error="provider not configured")
    assert (invoice.status, invoice.error, invoice.is_waiting) == ("needs_attention", "provider not configured", True)


@given(st.lists(st.sampled_from(["declined", "pending", "requires_action"]), max_size=12))
def test_the_attempt_number_grows_only_after_known_failures(outcomes: list[Outcome]) -> None:
    invoice, failures = INVOICE, 0
    for outcome in outcomes:
        assert invoice.attempt_to_make == failures + 1
        invoice = answered(invoice, outcome)
        failures += outcome == "declined"
    assert invoice.attempt_to_make == failures + 1


@given(st.integers(1, 20), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_the_next_attempt_is_never_in_the_past(number: int, later: timedelta) -> None:
    invoice = INVOICE.model_copy(update={"attempts": number - 1})
    after = answered(invoice, "declined", at=AT + later)
    assert after.next_attempt_at is None or after.next_attempt_at > AT + later
