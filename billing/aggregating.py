"""What every aggregation has in common: the events it folds, and the SQL that does the same to stored events.

fold() defines what a metric's quantity is; the SQL fragments compute the same over stored rows.
"""

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from billing.numbers import Quantity, plain
from billing.period import Instant, Period

# The same text as in SQL would match a number: no exponent, within NUMERIC(38,18) (R1).
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}([.][0-9]{1,18})?")


class EventValue(BaseModel):
    """One event as an aggregation sees it.

    `value` is what it counts for (see `Aggregation.value_of`), `key` its identity (the text of its id): a second event
    with the same key is the same event. `received_at` orders events of the same `occurred_at`.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    value: Quantity | None = None
    properties: Mapping[str, object] = Field(default_factory=dict)
    occurred_at: Instant
    received_at: Instant


class Aggregation(BaseModel):
    """Fold the events of one metric in one period into one quantity.

    A subclass is the metric's configuration. The SQL fragments are select expressions without bind values of their own:

    * `from_rollup` over rollup rows with the columns value_sum, event_count, value_max, value_min; None when rollups
      cannot be added up (`additive` is false).
    * `from_events` over event rows with the columns value NUMERIC, properties JSONB, occurred_at and received_at
      TIMESTAMPTZ, id UUID, restricted to the period. `sql_parameters` names the binds that it needs of `:start`, `:end`
      (the period), `:field` and `:percentile` (the configuration, see `bindings`).
    Both give 0 for no rows. When the aggregation `carries`, the rows are those from before the period too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs_field: ClassVar[bool] = False
    """Whether BoxBilling demands a `field_name` for it."""
    additive: ClassVar[bool] = False
    """Whether parts of a period can be folded apart and put together, as rollups do."""
    from_rollup: ClassVar[str | None] = None
    from_events: ClassVar[str]
    sql_parameters: ClassVar[tuple[str, ...]] = ()

    field: str | None = Field(default=None, min_length=1, max_length=255)
    """The event property that holds the value; None reads the event's own value."""

    @property
    def carries(self) -> bool:
        """Whether what occurred before a period is carried into it."""
        return False

    def fold(self, events: Iterable[EventValue], period: Period) -> Decimal:
        """Give the quantity of the events that occurred in the period, or before its end if it `carries`; 0 for none.

        The order of the events does not matter, and an event that comes twice (same key) counts once (C3).
        """
        distinct = {
            event.key: event
            for event in events
            if event.occurred_at < period.end and (self.carries or event.occurred_at >= period.start)
        }
        ordered = sorted(distinct.values(), key=lambda event: (event.occurred_at, event.received_at, event.key))
        return self._fold(ordered, period)

    @abstractmethod
    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        """Fold distinct events of the period, ordered by time, arrival and key."""

    def value_of(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Decimal | None:
        """Give the number that an event counts for, to be stored as its `value` when it is accepted.

        It is the number in the property `field`, where the metric names one and the event has it; else the value that
        it came with. None when it has neither, and when the property is no number.
        """
        found = None if self.field is None else properties.get(self.field)
        return value if found is None else number_of(found)

    @property
    def bindings(self) -> Mapping[str, str | None]:
        """The bind values of `from_events` that come from the configuration."""
        return {"field": self.field} if "field" in self.sql_parameters else {}


class Carrying(Aggregation):
    """An aggregation that a metric may let go on from one period into the next."""

    carry_over: bool = False
    """Whether events from before a period count in it too, as BoxBilling's `recurring` has it."""

    @property
    def carries(self) -> bool:
        """Whether what occurred before a period is carried into it."""
        return self.carry_over


def values(events: Iterable[EventValue]) -> list[Decimal]:
    """Give the values of those events that have one."""
    return [event.value for event in events if event.value is not None]


def number_of(value: object) -> Decimal | None:
    """Read a property as an exact number: a number, or text of the number grammar (R1); None for everything else."""
    if isinstance(value, bool | float) or not isinstance(value, int | Decimal | str):
        return None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    text = value if isinstance(value, str) else plain(Decimal(value))
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def text_of(value: object) -> str | None:
    """Read a property as the text by which equal values are recognised: 5, 5.0 and "5" are the same value.

    None for a missing property, a list or an object.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return plain(Decimal(value))
    return value if isinstance(value, str) else None
