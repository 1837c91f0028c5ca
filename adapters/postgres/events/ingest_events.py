"""What an ingest transaction takes in and answers, whatever the shape that the client sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from adapters.postgres.events.ingest_rows import Rows
from models.problems import Problem

#: How far ahead of its customer's clock an event may lie (C4); a project's settings may say otherwise.
FUTURE_SECONDS: Final = 300

TRACK: Final = "track"
"""The source whose unknown customers are created, and whose events an organization's own subscription may take (C9)."""


class IngestEvent(msgspec.Struct, gc=False):
    """One event as it was sent: references unresolved, the value as plain number text (R1)."""

    metric_ref: str
    customer_ref: str | None = None
    subscription_ref: str | None = None
    item_ref: str | None = None
    key: str | None = None
    value: str | None = None
    properties: dict[str, Any] | None = None
    occurred_at: datetime | None = None


@dataclass(frozen=True)
class PresentedKey:
    """A key that was good a moment ago and is checked again in the ingest transaction, so that revoking acts at once.

    ``requested_project`` is the project that ``X-Project-Id`` was found to name (its id or its uuid); None asks for the
    key's active one.
    """

    key_hash: bytes
    requested_project: UUID | None = None


@dataclass(frozen=True)
class Submission:
    """The events of one request: stored all or none. ``presented`` is None if the key has just been checked."""

    events: Sequence[IngestEvent]
    source: str
    presented: PresentedKey | None = None


@dataclass(frozen=True)
class Stored:
    """The event that already had the idempotency key; ``row`` is None if its month is detached."""

    id: UUID
    row: Mapping[str, Any] | None
    same_content: bool


@dataclass
class Outcome:
    """What became of a submission's events, by their position in it.

    ``problem`` refuses them all; nothing of them was stored. Otherwise those in ``already`` were there before, and
    those in ``skipped`` are kept with the reason why they do not count (C8).
    """

    problem: Problem | None = None
    key_changed: bool = False
    source: str = ""
    received_at: datetime | None = None
    already: dict[int, Stored] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)
    #: Its rows are ``[first, first + size)`` of those of the whole flush.
    rows: Rows = field(default_factory=Rows, repr=False)
    first: int = 0
    size: int = 0

    @property
    def accepted(self) -> int:
        """Count the events that are stored now and were not before."""
        return self.size - len(self.already)

    @property
    def conflicts(self) -> list[int]:
        """List the positions whose key belongs to an event with other content (C3)."""
        return [position for position, stored in self.already.items() if not stored.same_content]

    def id_at(self, position: int) -> UUID:
        """Return the id of an event, the earlier one's if its key was there before."""
        stored = self.already.get(position)
        return UUID(hex=self.rows.ids[self.first + position]) if stored is None else stored.id

    def key_at(self, position: int) -> str:
        """Return the idempotency key of an event, also one that was made here."""
        return self.rows.keys[self.first + position]

    def time_at(self, position: int) -> datetime:
        """Return the time of an event, also one that was taken from the clock."""
        return self.rows.times[self.first + position]

    def value_at(self, position: int) -> str | None:
        """Return the number that an event counts for."""
        return self.rows.values[self.first + position]

    def subscription_at(self, position: int) -> UUID | None:
        """Return the subscription on which an event counts."""
        return self.rows.subscription_of(self.first + position)
