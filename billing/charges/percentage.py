"""A percentage of the value, plus a fixed fee for each event; with allowances, and limits for single events."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from billing.numbers import NonNegative, UnitPrice, exact, grouped
from billing.pricing import EventSql, PricingModel, Step
from billing.usage import Usage

_RUNNING: Final = """
    SELECT *, sum(own) OVER w AS after, row_number() OVER w AS number
    FROM (SELECT *, {own} AS own FROM picked) valued
    WINDOW w AS (PARTITION BY bucket, occurred_at >= :counted_from{groups}
                 ORDER BY occurred_at, id ROWS UNBOUNDED PRECEDING)
"""
_PARTS: Final = """
    SELECT *, {part} AS part, {is_charged} AS is_charged FROM ({running}) running
"""
_COSTS: Final = """
    SELECT *, least(greatest(part * CAST(:share AS numeric) + CAST(:fixed_fee AS numeric),
                             CAST(:transaction_min AS numeric)), CAST(:transaction_max AS numeric)) AS cost
    FROM ({parts}) parts
"""


class Percentage(PricingModel):
    """Charge `rate` percent of the value, and `fixed_fee` major units for each event (R7).

    2.9 % plus 0.30: 4 events worth 100.00 cost 2.90 + 4 x 0.30 = 4.10. The quantity of the metric is the value, in
    major units. Either the first `free_events` events are wholly free, or the first `free_amount` of the value: an
    event that lies wholly inside it (bound inclusive) pays no fixed fee, and one that straddles it pays the rate on the
    rest and the whole fixed fee. `transaction_min` and `transaction_max` hold for what each charged event costs.

    With any of these, what an event costs depends on those before it, in the order of (time, id): whoever folds the
    events puts what is charged into `Usage`, as `with_event` does for one event after the other.
    """

    word: ClassVar[str] = "usage"
    quantity_only: ClassVar[bool] = False

    kind: Literal["percentage"] = "percentage"
    rate: NonNegative
    fixed_fee: UnitPrice = Decimal(0)
    free_events: Annotated[int, Field(ge=1, le=1_000_000_000, description="The first events are free.")] | None = None
    free_amount: Annotated[NonNegative, Field(description="The first value is free.")] | None = None
    transaction_min: Annotated[UnitPrice, Field(description="Least that a charged event costs.")] | None = None
    transaction_max: Annotated[UnitPrice, Field(description="Most that a charged event costs.")] | None = None

    @model_validator(mode="after")
    def _one_allowance(self) -> Self:
        if self.free_events is not None and self.free_amount is not None:
            raise ValueError("give either free_events or free_amount; both together are ambiguous")
        if None not in (self.transaction_min, self.transaction_max) and self.transaction_min > self.transaction_max:  # type: ignore[operator]
            raise ValueError("transaction_min must not be more than transaction_max")
        return self

    @property
    def is_ordered(self) -> bool:
        """Return whether it has an allowance or a limit: the price then needs each event's value, in turn."""
        limits = (self.free_events, self.free_amount, self.transaction_min, self.transaction_max)
        return any(limit is not None for limit in limits)

    @property
    def share(self) -> Decimal:
        """The rate as a factor: 2.9 % is 0.029."""
        with exact():
            return self.rate.scaleb(-2)

    def with_event(self, usage: Usage, value: Decimal) -> Usage:
        """Return the usage with one more event, later than all of its own: `quantity` is the value so far.

        `events_sql` says the same of stored events.
        """
        with exact():
            before, after = usage.quantity, usage.quantity + value
            part, is_charged = self._charged(before, after, number=usage.events + 1)
            cost = part * self.share + self.fixed_fee
        cost = cost if self.transaction_min is None else max(cost, self.transaction_min)
        cost = cost if self.transaction_max is None else min(cost, self.transaction_max)
        with exact():
            update: dict[str, object] = {"quantity": after, "events": usage.events + 1}
            if is_charged:
                update |= {
                    "charged_value": usage.charged_value + part,
                    "charged_events": usage.charged_events + 1,
                    "priced": usage.priced + cost,
                }
        return usage.model_copy(update=update)

    def events_sql(self, worth_sql: str, groups: Sequence[str]) -> EventSql:
        """Return the SQL of `with_event`; Postgres passes over NULL in greatest and least, which is no limit."""
        if not self.is_ordered:
            return EventSql()
        part, is_charged = "own", "true"
        if self.free_amount is not None:
            free = "CAST(:free_amount AS numeric)"
            part = f"(greatest(after, {free}) - greatest(after - own, {free}))"
            is_charged = f"(after > {free} OR {part} < 0)"
        elif self.free_events is not None:
            is_charged = "number > CAST(:free_events AS bigint)"
        running = _RUNNING.format(own=worth_sql, groups="".join(f", {name}" for name in groups))
        names = ("share", "fixed_fee", "transaction_min", "transaction_max", "free_amount", "free_events")
        binds = {name: getattr(self, name) for name in names}
        needed = {name: value for name, value in binds.items() if value is not None or not name.startswith("free_")}
        return EventSql(
            query=_COSTS.format(parts=_PARTS.format(part=part, is_charged=is_charged, running=running)),
            priced="coalesce(sum(cost) FILTER (WHERE is_charged AND occurred_at >= :counted_from), 0)",
            binds=needed,
        )

    def _charged(self, before: Decimal, after: Decimal, *, number: int) -> tuple[Decimal, bool]:
        """Return the part of an event's value that is charged, and whether the event is."""
        if self.free_amount is None:
            return after - before, self.free_events is None or number > self.free_events
        part = max(after, self.free_amount) - max(before, self.free_amount)
        return part, after > self.free_amount or part < 0

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Return the step of the rate and, with a fixed fee, the step of the events; then what limits added or took."""
        charged = usage.charged_value if self.is_ordered else usage.billable
        events = usage.charged_events if self.is_ordered else usage.events
        value = Step.of(f"{grouped(self.rate)} % of the value", units=charged, unit_price=self.share)
        if not self.is_ordered:
            return (value, *self._fees(Decimal(events)))
        steps = (value, *self._fees(Decimal(events)))
        with exact():
            limited = max(usage.priced, Decimal(0)) - sum((step.amount for step in steps), Decimal(0))
        if not limited:
            return steps
        return (*steps, Step.of("least and most of single events", units=Decimal(1), unit_price=limited))

    def _fees(self, events: Decimal) -> tuple[Step, ...]:
        if not self.fixed_fee:
            return ()
        return (Step.of("fixed fee for each event", units=events, unit_price=self.fixed_fee),)
