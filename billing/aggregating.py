"""What every aggregation has in common: the events it folds, and the SQL that does the same to stored events.

fold() defines what a metric's quantity is; the SQL fragments compute the same over stored rows.
"""

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from billing.numbers import Quantity, plain
from billing.period import Instant, Period

# The same text as in SQL would match a number: no exponent, within NUMERIC(38,18) (R1).
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,20}([.][0-9]{1,18})?")

#: Why an event that was accepted counts for nothing: the property is no number, or there is none.
NOT_NUMERIC: Final = "property_not_numeric"
MISSING: Final = "property_missing"
#: The property that holds the quantity of an event without a value, when its metric names no property.
_DEFAULT_FIELD: Final = "value"


class Reading(NamedTuple):
    """What one event counts for, and the reason if it cannot count."""

    value: Decimal | None
    reason: str | None = None


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

    A subclass is the metric's configuration, and its class variables are all that the other layers know of it. The SQL
    fragments are select expressions without bind values of their own:

    * `from_rollup`, made of `rollup_fold` and `rollup_column`, over rollup rows with the columns value_sum,
      event_count, value_max, value_min; None when parts of a period cannot be put together.
    * `from_events` over event rows with the columns value NUMERIC, properties JSONB, occurred_at and received_at
      TIMESTAMPTZ, id UUID, restricted to the period. `sql_parameters` names the binds that it needs of `:start`, `:end`
      (the period), `:full_seconds` (how long the full period is that it is a part of), `:field` and `:percentile` (the
      configuration, see `bindings`).
    Both give 0 for no rows. When the aggregation `carries`, the rows are those from before the period too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs_field: ClassVar[bool] = False
    """Whether BoxBilling demands a `field_name` for it."""
    is_additive: ClassVar[bool] = False
    """Whether the quantity of two sets of events is the sum of both quantities; it then grows with the period."""
    grows_only: ClassVar[bool] = False
    """Whether rollups show at once that usage reached a threshold: more events of the usual kind only raise it."""
    is_reservable: ClassVar[bool] = False
    """Whether a quantity can be reserved before its event comes."""
    counts_events: ClassVar[bool] = False
    """Whether each event counts 1, whatever its value is."""
    computes_value: ClassVar[bool] = False
    """Whether the value stored of a counted event is computed, so that it is not what was sent."""
    keeps_values: ClassVar[bool] = False
    """Whether ingestion keeps its different values, so that they are counted without their events."""
    rollup_column: ClassVar[Literal["value_sum", "event_count", "value_max", "value_min"] | None] = None
    """The column of rollups that holds the quantity of a part of a period; None when parts cannot be put together."""
    rollup_fold: ClassVar[Literal["sum", "max", "min"]] = "sum"
    """The SQL function that puts parts together."""
    from_rollup: ClassVar[str | None] = None
    from_events: ClassVar[str]
    worth_sql: ClassVar[str] = "coalesce(value, 0)"
    """The SQL of `worth_of` for a row of events."""
    sql_parameters: ClassVar[tuple[str, ...]] = ()

    kind: str
    """The name by which metrics choose it."""
    field: str | None = Field(default=None, min_length=1, max_length=255)
    """The event property that holds the value; None reads the event's own value."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Build `from_rollup` of the column and the function that a subclass names."""
        super().__pydantic_init_subclass__(**kwargs)
        if cls.rollup_column is not None:
            cls.from_rollup = f"coalesce({cls.rollup_fold}({cls.rollup_column}), 0)"

    @property
    def carries(self) -> bool:
        """Return whether what occurred before a period is carried into it."""
        return False

    def fold(self, events: Iterable[EventValue], period: Period, full: Period | None = None) -> Decimal:
        """Return the quantity of the events that occurred in the period, or before its end if it `carries`; 0 for none.

        `full` is the uncut period that it is a part of (R14); None: it is whole. The order of the events does not
        matter, and an event that comes twice (same key) counts once (C3).
        """
        distinct = {
            event.key: event
            for event in events
            if event.occurred_at < period.end and (self.carries or event.occurred_at >= period.start)
        }
        ordered = sorted(distinct.values(), key=lambda event: (event.occurred_at, event.received_at, event.key))
        return self._fold_part(ordered, period, full or period)

    def _fold_part(self, events: Sequence[EventValue], period: Period, full: Period) -> Decimal:
        """Fold events of a part of the full period; only what weighs time needs to know that it is a part."""
        del full
        return self._fold(events, period)

    @abstractmethod
    def _fold(self, events: Sequence[EventValue], period: Period) -> Decimal:
        """Fold distinct events of the period, ordered by time, arrival and key."""

    def value_of(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Decimal | None:
        """Return the number that an event counts for, to be stored as its `value` when it is accepted.

        It is the number in the property `field`, where the metric names one and the event has it; else the value that
        it came with. None when it has neither, and when the property is no number.
        """
        found = None if self.field is None else properties.get(self.field)
        return value if found is None else number_of(found)

    @classmethod
    def worth_of(cls, value: Decimal | None) -> Decimal:
        """Return the quantity of one event by itself, from its stored value."""
        return value or Decimal(0)

    @property
    def takes_value_as_sent(self) -> bool:
        """Return whether a value in the event is stored as it is; a metric that names a property reads that first."""
        return self.field is None

    def read(self, *, value: Decimal | None, properties: Mapping[str, object]) -> Reading:
        """Return what an accepted event counts for (see `value_of`), and the reason if it has no such number.

        A metric that names no property takes the property `value` of an event without a value, else the event counts 1.
        """
        found = self.value_of(value=value, properties=properties)
        if found is not None:
            return Reading(found)
        if self.field is not None:
            return Reading(None, MISSING if properties.get(self.field) is None else NOT_NUMERIC)
        if _DEFAULT_FIELD not in properties:
            return Reading(Decimal(1))
        default = number_of(properties[_DEFAULT_FIELD])
        return Reading(default, NOT_NUMERIC if default is None else None)

    @property
    def prorates(self) -> bool:
        """Return whether a part of a period is weighed against the full period, not against itself (R14)."""
        return False

    @property
    def bindings(self) -> Mapping[str, str | None]:
        """The bind values of `from_events` that come from the configuration."""
        return {"field": self.field} if "field" in self.sql_parameters else {}


class CarryOverAggregation(Aggregation):
    """An aggregation that a metric may let go on from one period into the next."""

    recurs: ClassVar[bool] = True
    """Whether BoxBilling's `recurring` is for it too, not only `carry_over`."""

    carry_over: bool = False
    """Whether events from before a period count in it too, as BoxBilling's `recurring` has it."""

    @property
    def carries(self) -> bool:
        """Return whether what occurred before a period is carried into it."""
        return self.carry_over


def values(events: Iterable[EventValue]) -> list[Decimal]:
    """Return the values of those events that have one."""
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
