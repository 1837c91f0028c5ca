"""Collecting an invoice: when the next payment attempt is due, and what an answer of the provider means for it.

Two clocks are at work (C11). Retries of a *known* failure are business: their times are in the subscription's time, so
a test clock moves through them. Asking again about an *unknown* outcome is retry backoff of I/O, in wall time.
"""

from datetime import datetime, timedelta
from typing import Final, Literal, assert_never
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.period import Instant

OpenInvoiceStatus = Literal["issued", "pending", "failed", "needs_attention"]
Outcome = Literal["paid", "declined", "requires_action", "pending", "settled", "unpayable"]

RETRY_DELAYS: Final = (timedelta(days=1), timedelta(days=3), timedelta(days=5), timedelta(days=7))
"""The default schedule: how long after each known failure the next attempt is made, in the subscription's time."""

RESOLVE_DELAYS: Final = (
    timedelta(seconds=5),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)
"""How long to wait, in wall time, before asking again about an unknown outcome; the last one repeats."""


class OpenInvoice(BaseModel):
    """An issued invoice that is not settled yet.

    `attempts` is the number of the newest payment attempt (0: none was made). `next_attempt_at` is in the
    subscription's time; None means that nothing is scheduled and somebody must ask (`/charge`). While the outcome of
    the newest attempt is unknown the status is `pending`, and `resolve_at` (wall time) says when to ask again, for the
    `asked + 1`th time.
    """

    model_config = ConfigDict(frozen=True)

    invoice_id: UUID
    number: str | None = None
    total_minor: int = 0
    currency: str = ""
    status: OpenInvoiceStatus = "issued"
    attempts: int = 0
    next_attempt_at: Instant | None = None
    due_at: Instant | None = None
    asked: int = 0
    resolve_at: Instant | None = None
    error: str | None = None

    @property
    def attempt_to_make(self) -> int:
        """The number of the attempt that a collection now makes: the same one while its outcome is unknown (C7)."""
        return self.attempts if self.status == "pending" else self.attempts + 1

    @property
    def is_waiting(self) -> bool:
        """Return whether nothing will happen to it unless somebody acts."""
        return self.next_attempt_at is None and self.resolve_at is None


def is_final_attempt(attempt_no: int) -> bool:
    """Return whether the default schedule has no attempt after this one (1 is the first)."""
    return attempt_no > len(RETRY_DELAYS)


def after_outcome(
    invoice: OpenInvoice, outcome: Outcome, *, attempt_no: int, error: str | None, at: datetime, wall: datetime
) -> OpenInvoice | None:
    """Return the invoice after the provider's answer to one attempt; None when it is settled and needs no more care.

    `at` is the subscription's now, `wall` the wall clock's. A decline schedules the next attempt or, after the last one
    of the default schedule, leaves the invoice `failed`. An unknown outcome, or one that waits for the payer's own
    action, stays `pending`: it is asked about again under the same number and never sent anew (C7). `settled` means
    that somebody else paid or voided it, `unpayable` that there is no provider to ask: the invoice waits.
    """
    match outcome:
        case "paid" | "settled":
            return None
        case "unpayable":
            return _waiting(invoice, error=error)
        case "declined":
            return _declined(invoice, attempt_no=attempt_no, error=error, at=at)
        case "pending" | "requires_action":
            return _unknown(invoice, attempt_no=attempt_no, error=error, wall=wall)
        case _:
            assert_never(outcome)


def _waiting(invoice: OpenInvoice, *, error: str | None) -> OpenInvoice:
    update = {"status": "issued", "next_attempt_at": None, "asked": 0, "resolve_at": None, "error": error}
    return invoice.model_copy(update=update)


def _declined(invoice: OpenInvoice, *, attempt_no: int, error: str | None, at: datetime) -> OpenInvoice:
    final = is_final_attempt(attempt_no)
    return invoice.model_copy(
        update={
            "status": "failed" if final else "issued",
            "attempts": attempt_no,
            "next_attempt_at": None if final else at + RETRY_DELAYS[attempt_no - 1],
            "asked": 0,
            "resolve_at": None,
            "error": error,
        }
    )


def _unknown(invoice: OpenInvoice, *, attempt_no: int, error: str | None, wall: datetime) -> OpenInvoice:
    asked = invoice.asked + 1 if invoice.status == "pending" and invoice.attempts == attempt_no else 0
    return invoice.model_copy(
        update={
            "status": "pending",
            "attempts": attempt_no,
            "next_attempt_at": None,
            "asked": asked,
            "resolve_at": wall + RESOLVE_DELAYS[min(asked, len(RESOLVE_DELAYS) - 1)],
            "error": error,
        }
    )


def parked(invoice: OpenInvoice, *, error: str) -> OpenInvoice:
    """Return the invoice parked with its error: nothing more happens until an operator retries (C10)."""
    return invoice.model_copy(
        update={"status": "needs_attention", "next_attempt_at": None, "resolve_at": None, "error": error}
    )
