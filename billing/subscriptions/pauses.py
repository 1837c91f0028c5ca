"""Pauses: the time in which a subscription's fees stop, and what becomes of usage in it (R21)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from billing.period import Instant, Period

PauseBehavior = Literal["keep_billing", "skip", "void"]
"""keep_billing: fees and usage are billed; skip: usage is kept unbilled; void: usage is refused."""

_OPEN_END: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Pause(BaseModel):
    """A pause `[since, until)`; `until` is None while it lasts."""

    model_config = ConfigDict(frozen=True)

    since: Instant
    until: Instant | None = None
    behavior: PauseBehavior = "skip"

    @property
    def stops_fees(self) -> bool:
        """Return whether nothing is billed for its time."""
        return self.behavior != "keep_billing"

    def contains(self, at: datetime) -> bool:
        """Return whether an instant lies in it."""
        return self.since <= at and (self.until is None or at < self.until)


def pauses_of(documents: Sequence[Any] | None) -> tuple[Pause, ...]:
    """Read pauses as they are kept in the record; none of None."""
    return tuple(Pause.model_validate(document) for document in documents or ())


def stopped_times(pauses: Sequence[Pause]) -> tuple[Period, ...]:
    """Return the stretches of time for which no fee is due; one that lasts has no end in sight."""
    return tuple(
        Period(start=pause.since, end=pause.until or _OPEN_END)
        for pause in pauses
        if pause.stops_fees and (pause.until is None or pause.since < pause.until)
    )


def pause_at(pauses: Sequence[Pause], at: datetime) -> Pause | None:
    """Return the pause in whose time an instant lies and usage is not billed; None if it is."""
    return next((pause for pause in pauses if pause.stops_fees and pause.contains(at)), None)


def begun(pauses: Sequence[Pause], *, at: datetime, behavior: PauseBehavior) -> tuple[Pause, ...]:
    """Return the pauses with one that begins."""
    return (*ended(pauses, at=at), Pause(since=at, behavior=behavior))


def ended(pauses: Sequence[Pause], *, at: datetime) -> tuple[Pause, ...]:
    """Return the pauses after the one that lasts has ended, if there is one; one without any time leaves nothing."""
    closed = (pause if pause.until else pause.model_copy(update={"until": max(at, pause.since)}) for pause in pauses)
    return tuple(pause for pause in closed if pause.until is not None and pause.since < pause.until)
