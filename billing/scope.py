"""Which of a metric's events a charge counts, and in which group: filters and group_by (B51).

A charge with filters has buckets: one for each filter and the default one, which the charge itself prices. `bucket_of`
gives every event exactly one of them, so that no event is counted twice and none is lost.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from billing.aggregating import text_of

MOST_GROUPS: Final = 500
"""A charge with more groups than this in one period is refused: its invoice would be absurd."""

MOST_GROUP_KEYS: Final = 5
"""A charge is grouped by at most so many properties."""

Group = tuple[tuple[str, str | None], ...]
"""The values of the properties that a charge is grouped by, sorted by property; None for an event without it."""

UNGROUPED: Final[Group] = ()
"""All events of a charge without group_by, and of any charge without events."""

_LONGEST_SHOWN: Final = 60


class PropertyMatch(BaseModel):
    """Events whose property `key` has one of the values; equal numbers are equal in any notation."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(min_length=1)
    values: tuple[str, ...] = Field(min_length=1)

    def matches(self, properties: Mapping[str, object]) -> bool:
        """Return whether an event has one of the values."""
        return text_of(properties.get(self.key)) in self.values


class Combination(BaseModel):
    """Events that match every one of some properties: region eu or us, and tier gold."""

    model_config = ConfigDict(frozen=True)

    matches: tuple[PropertyMatch, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_key_once(self) -> Self:
        if len({match.key for match in self.matches}) < len(self.matches):
            raise ValueError("a combination names each property once")
        return self

    def holds(self, properties: Mapping[str, object]) -> bool:
        """Return whether an event has one of the values of every property."""
        return all(match.matches(properties) for match in self.matches)

    @property
    def rank(self) -> tuple[int, int]:
        """Order combinations: more properties first, then fewer values; what is equal keeps the order of the plan."""
        return -len(self.matches), sum(len(match.values) for match in self.matches)

    @property
    def label(self) -> str:
        """Name it on an invoice line: "region: eu, us; tier: gold"."""
        return "; ".join(f"{match.key}: {', '.join(match.values)}" for match in self.matches)


def ranked(buckets: Sequence[Combination]) -> tuple[int, ...]:
    """Return the indexes of combinations, the most specific first; the first that holds an event takes it."""
    return tuple(sorted(range(len(buckets)), key=lambda index: (*buckets[index].rank, index)))


def bucket_of(buckets: Sequence[Combination], properties: Mapping[str, object]) -> int | None:
    """Return the index of the one combination that takes an event; None for the default bucket."""
    return next((index for index in ranked(buckets) if buckets[index].holds(properties)), None)


class EventScope(BaseModel):
    """The events of one bucket: those that go to `buckets[bucket]`, or with None those that no combination takes.

    All parts of one charge have the same `buckets`, so that each event is priced by exactly one of them.
    """

    model_config = ConfigDict(frozen=True)

    buckets: tuple[Combination, ...]
    bucket: int | None = None

    @property
    def only(self) -> Combination | None:
        """The combination of this bucket; None for the default one."""
        return None if self.bucket is None else self.buckets[self.bucket]

    def holds(self, properties: Mapping[str, object]) -> bool:
        """Return whether an event with these properties is counted."""
        return bucket_of(self.buckets, properties) == self.bucket


def group_of(group_by: Sequence[str], properties: Mapping[str, object]) -> Group:
    """Return the group of an event; equal numbers are one value, a list or an object is none."""
    return tuple((key, text_of(properties.get(key))) for key in sorted(set(group_by)))


def group_label(group: Group) -> str:
    """Name a group on an invoice line: "region: eu; user: none"; long values are cut."""
    return "; ".join(f"{key}: {_shown(value)}" for key, value in group)


def _shown(value: str | None) -> str:
    if value is None:
        return "none"
    return value if len(value) <= _LONGEST_SHOWN else f"{value[: _LONGEST_SHOWN - 1]}…"
