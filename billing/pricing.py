"""What every charge model has in common: the steps of its price, and the tiers that some of them are made of."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from billing.numbers import ExactDecimal, NonNegative, UnitPrice, exact, grouped, plain
from billing.usage import Usage


class Step(BaseModel):
    """One step of a price, for people who want each cent explained; amounts and prices in major units, unrounded.

    `amount == units * unit_price + flat_fee`. `from_` (exclusive) and `up_to` (inclusive, None = infinity) are the
    bounds of the tier, when there is one (R3).
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, serialize_by_alias=True)

    description: str
    from_: ExactDecimal | None = Field(default=None, alias="from")
    up_to: ExactDecimal | None = None
    units: ExactDecimal
    unit_price: ExactDecimal
    flat_fee: ExactDecimal = Decimal(0)
    amount: ExactDecimal

    @classmethod
    def of(
        cls,
        description: str,
        *,
        units: Decimal,
        unit_price: Decimal,
        flat_fee: Decimal = Decimal(0),
        from_: Decimal | None = None,
        up_to: Decimal | None = None,
    ) -> Self:
        """Build a step and its amount, exactly."""
        with exact():
            amount = units * unit_price + flat_fee
        return cls(
            description=description,
            from_=from_,
            up_to=up_to,
            units=units,
            unit_price=unit_price,
            flat_fee=flat_fee,
            amount=amount,
        )


def price(steps: Sequence[Step]) -> Decimal:
    """Return what the steps cost together, in major units, unrounded."""
    with exact():
        return sum((step.amount for step in steps), Decimal(0))


MOST_TIERS: Final = 100
"""Of one charge."""


class EventSql(NamedTuple):
    """The SQL by which a charge model prices single stored events.

    `query` adds the columns part, is_charged and cost to the rows of `picked`; `priced` is a select expression over it:
    what all of them cost in major units. `binds` are the values that both need; `:counted_from` is the period's start.
    """

    query: str = "SELECT *, 0 AS part, false AS is_charged, 0 AS cost FROM picked"
    priced: str = "0"
    binds: Mapping[str, Any] = {}


class PricingModel(BaseModel):
    """Price the usage of one charge in one whole period.

    A subclass is the API's schema, the stored JSON and the Temporal payload of the charge at once, and its class
    variables are all that the other layers know of it. An unknown field is refused: a price that silently ignores part
    of its configuration would be wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    word: ClassVar[str] = "usage"
    """What the invoice line calls this pricing (B99)."""
    metered: ClassVar[bool] = True
    """Whether the price depends on a metric's usage."""
    quantity_only: ClassVar[bool] = True
    """Whether the price follows from the quantity alone, whatever events it came from."""
    plan_name: ClassVar[str | None] = None
    """What a plan's `pricing_model` calls it; None where that is its kind."""
    plan_names: ClassVar[Mapping[str, str]] = {}
    """What a plan calls its fields, where that is not their name in JSON."""
    tiered_by: ClassVar[str | None] = None
    """The field that is a list of tiers or bands, if it has one."""

    @classmethod
    def pricing_name(cls) -> str:
        """Return what a plan's `pricing_model` calls it."""
        return cls.plan_name or str(cls.model_fields["kind"].default)

    @classmethod
    def plan_fields(cls) -> dict[str, str]:
        """Return what a plan calls each of its fields, by the name of the field."""
        own = {name: field for name, field in cls.model_fields.items() if name != "kind"}
        return {name: cls.plan_names.get(name) or field.alias or name for name, field in own.items()}

    @abstractmethod
    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return the steps whose amounts add up to the price of the usage; negative usage prices as 0 (R10)."""

    def amount(self, usage: Usage) -> Decimal:
        """Return the price of a whole period's usage in major units, unrounded (R2 rounds it once, on the line)."""
        return price(self.steps(usage))

    def amount_between(self, already: Usage, total: Usage) -> Decimal:
        """Return the price of the usage in (already, total], in major units, unrounded.

        It is the difference of two whole prices, so that a period billed in parts costs the same as in one: tiers never
        restart. What is due at zero usage (a fixed fee, the first tier's flat fee) is in both, so not in the result.
        The increment of a model with cliffs (volume) may be negative.
        """
        with exact():
            return self.amount(total) - self.amount(already)

    @property
    def unit_amount(self) -> Decimal | None:
        """The one price of each unit in major units, when the model has one."""
        return None

    @property
    def period_fee(self) -> Decimal:
        """What is due for each period whatever was used, in major units."""
        return Decimal(0)

    @property
    def is_ordered(self) -> bool:
        """Whether what an event costs depends on those before it, so that `with_event` has to take them in turn."""
        return False

    @property
    def prices_events(self) -> bool:
        """Return whether the price needs single events (`events_sql`), and not only their quantity and number."""
        return self.is_ordered

    def with_event(self, usage: Usage, value: Decimal) -> Usage:
        """Return the usage with one more event, later than all of its own: `quantity` is the value so far."""
        with exact():
            return usage.model_copy(update={"quantity": usage.quantity + value, "events": usage.events + 1})

    def cost_of(self, value: Decimal | None, properties: Mapping[str, object], *, count: int = 1) -> Decimal:
        """Return what `count` events of the same properties cost by themselves, in major units, unrounded.

        `value` is the quantity of them all. It is what they add to `Usage.priced`.
        """
        del value, properties, count
        return Decimal(0)

    def events_sql(self, worth_sql: str, groups: Sequence[str]) -> EventSql:
        """Return the SQL that prices stored events as `with_event` and `cost_of` price one after the other.

        `worth_sql` is what the metric's aggregation counts an event for (`Aggregation.worth_sql`); `groups` are the
        columns within which a charge with group_by is priced.
        """
        del worth_sql, groups
        return EventSql()


class Bounded(Protocol):
    """A tier or band: units above the previous bound, up to and including this one (R3)."""

    @property
    def up_to(self) -> Decimal | None:
        """The inclusive upper bound; None for infinity."""
        ...


class Tier(BaseModel):
    """The units in (previous up_to, up_to], at one unit price; entering costs a flat fee; both in major units (R3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    up_to: NonNegative | None
    unit_price: UnitPrice
    flat_fee: UnitPrice = Decimal(0)


def check_bounds(tiers: Sequence[Bounded]) -> None:
    """Raise ValueError unless the bounds ascend and the last one, and only it, is open (B31)."""
    if not tiers:
        raise ValueError("at least one tier is needed; a single tier has up_to null")
    for number, (lower, upper) in enumerate(pairwise(tiers), start=1):
        if lower.up_to is None:
            raise ValueError(f"tier {number} has up_to null, which only the last tier may have")
        if upper.up_to is not None and upper.up_to <= lower.up_to:
            raise ValueError(
                f"tiers must ascend without overlap: tier {number + 1} ends at {plain(upper.up_to)}, "
                f"not above tier {number}, which ends at {plain(lower.up_to)}"
            )
    last = tiers[-1].up_to
    if last is not None:
        raise ValueError(f"the last tier must have up_to null, so that usage above {plain(last)} has a price")


class TieredModel(PricingModel):
    """A charge model that is a list of tiers, checked once here (B31)."""

    tiered_by: ClassVar[str | None] = "tiers"

    tiers: Annotated[tuple[Tier, ...], Field(max_length=MOST_TIERS)]

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_bounds(self.tiers)
        return self


def tier_name(number: int, lower: Decimal, up_to: Decimal | None) -> str:
    """Name a tier in an explanation: "tier 2: above 100,000 up to 1,000,000"."""
    bounds = f"above {grouped(lower)}" if up_to is None else f"above {grouped(lower)} up to {grouped(up_to)}"
    return f"tier {number}: {bounds}"


def slices(tiers: Sequence[Bounded], quantity: Decimal) -> tuple[tuple[int, Decimal, Decimal], ...]:
    """Cut a quantity >= 0 along tier bounds: (index, lower bound, units) of each tier that the quantity enters.

    A tier is entered when the quantity lies above its lower bound; the first is always entered, also by 0 (R4).
    Bounds 100, infinity: 100 -> (0, 0, 100); 100.5 -> (0, 0, 100), (1, 100, 0.5) (R3).
    """
    found, lower = [], Decimal(0)
    for index, tier in enumerate(tiers):
        if index and quantity <= lower:
            break
        upper = quantity if tier.up_to is None else min(tier.up_to, quantity)
        with exact():
            found.append((index, lower, upper - lower))
        if tier.up_to is not None:
            lower = tier.up_to
    return tuple(found)
