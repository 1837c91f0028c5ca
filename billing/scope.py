"""Which of a metric's events a charge counts, when a plan prices some of them apart (B51)."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from billing.aggregating import text_of


class PropertyMatch(BaseModel):
    """Events whose property `key` has one of the values; equal numbers are equal in any notation."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(min_length=1)
    values: tuple[str, ...] = Field(min_length=1)

    def matches(self, properties: Mapping[str, object]) -> bool:
        """Tell whether an event has one of the values."""
        return text_of(properties.get(self.key)) in self.values


class EventScope(BaseModel):
    """The events that match `only` (None: all) and none of `excluded`.

    The scopes of the parts of one charge exclude each other and together hold every event, so that each event is priced
    exactly once: an event that no filter names is priced by the charge itself.
    """

    model_config = ConfigDict(frozen=True)

    only: PropertyMatch | None = None
    excluded: tuple[PropertyMatch, ...] = ()

    def holds(self, properties: Mapping[str, object]) -> bool:
        """Tell whether an event with these properties is counted."""
        if self.only is not None and not self.only.matches(properties):
            return False
        return not any(match.matches(properties) for match in self.excluded)
