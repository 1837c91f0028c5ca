"""Named time limits and retry policies: every activity call of a workflow uses one of these."""

from datetime import timedelta
from typing import Final, NotRequired, TypedDict

from temporalio.common import RetryPolicy


class LocalPolicy(TypedDict):
    """Options of a local activity."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: NotRequired[timedelta]
    local_retry_threshold: timedelta
    retry_policy: RetryPolicy


class RemotePolicy(TypedDict):
    """Options of an ordinary activity."""

    start_to_close_timeout: timedelta
    schedule_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


#: A pause adds about six events to the history: with two minutes a run has room for ten days without Postgres.
_LONGEST_PAUSE: Final = timedelta(minutes=2)

DATABASE: Final[LocalPolicy] = {
    # No limit on the whole: Postgres may be away for long, and nothing is decided before the record has it.
    "start_to_close_timeout": timedelta(seconds=30),
    # Longer pauses become timers of the workflow, so that its task does not stay open.
    "local_retry_threshold": timedelta(seconds=5),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=200), backoff_coefficient=2, maximum_interval=_LONGEST_PAUSE
    ),
}
"""One transaction in Postgres; safe to run again."""

_NO_RETRY_CURES: Final = (
    "AbsurdInvoice",
    "AssertionError",
    "AttributeError",
    "BeforeAnchor",
    "DataError",
    "DivisionByZero",
    "IndexError",
    "Inexact",
    "InvalidOperation",
    "KeyError",
    "NotANumber",
    "Overflow",
    "OverflowError",
    "PeriodOutsideCycle",
    "ProgrammingError",
    "TooManyGroups",
    "TypeError",
    "ValidationError",
    "ValueError",
    "ZeroDivisionError",
)

CLOSING: Final[LocalPolicy] = {
    **DATABASE,
    "start_to_close_timeout": timedelta(minutes=2),
    # Whatever the error is called, it holds the subscription's turn no longer: then the step is set aside (C13).
    "schedule_to_close_timeout": timedelta(hours=1),
    # A bill that cannot be computed is set aside at once (C10); a database that is away is waited for until then.
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        backoff_coefficient=2,
        maximum_interval=_LONGEST_PAUSE,
        non_retryable_error_types=_NO_RETRY_CURES,
    ),
}
"""One close: rating, number, issue and outbox in one transaction; safe to run again."""

PROVIDER: Final[RemotePolicy] = {
    "start_to_close_timeout": timedelta(seconds=90),
    # A worker that was killed is noticed soon; the interceptor of the worker keeps the pulse.
    "heartbeat_timeout": timedelta(seconds=10),
    # After this the outcome counts as unknown and is asked about again, under the same attempt number (C7).
    "schedule_to_close_timeout": timedelta(minutes=5),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(seconds=30)
    ),
}
"""One payment attempt at a provider: the attempt's row is committed before the call."""


class PatientPolicy(TypedDict):
    """Options of an ordinary activity that is tried until it is done."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


WEBHOOK: Final[PatientPolicy] = {
    # More than an attempt may take (DURABILL_WEBHOOK_TIMEOUT_SECONDS is at most 60), and its two transactions.
    "start_to_close_timeout": timedelta(minutes=2),
    "heartbeat_timeout": timedelta(seconds=10),
    # A receiver that refuses is an outcome, not a failure: this is for a database that is away.
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=1)
    ),
}
"""One more attempt to deliver a webhook."""

MAINTENANCE: Final[RemotePolicy] = {
    "start_to_close_timeout": timedelta(hours=6),
    "heartbeat_timeout": timedelta(minutes=5),
    "schedule_to_close_timeout": timedelta(hours=24),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=1)
    ),
}
"""A long look at one project's usage, which says by heartbeats how far it has come."""
