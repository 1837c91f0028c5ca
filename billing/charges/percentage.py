"""A percentage of the value, plus a fixed fee for each event; with allowances, and limits for single events."""

from decimal import Decimal
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from billing.numbers import NonNegative, UnitPrice, exact, grouped
from billing.pricing import PricingModel, Step
from billing.usage import Usage


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

    kind: Literal["percentage"] = "percentage"
    rate: NonNegative
    fixed_fee: UnitPrice = Decimal(0)
    free_events: int | None = Field(default=None, ge=1, le=1_000_000_000)
    free_amount: NonNegative | None = None
    transaction_min: UnitPrice | None = None
    transaction_max: UnitPrice | None = None

    @model_validator(mode="after")
    def _one_allowance(self) -> Self:
        if self.free_events is not None and self.free_amount is not None:
            raise ValueError("give either free_events or free_amount; both together are ambiguous")
        if None not in (self.transaction_min, self.transaction_max) and self.transaction_min > self.transaction_max:  # type: ignore[operator]
            raise ValueError("transaction_min must not be more than transaction_max")
        return self

    @property
    def per_event(self) -> bool:
        """Whether the price needs each event's value, and not only their sum and number."""
        limits = (self.free_events, self.free_amount, self.transaction_min, self.transaction_max)
        return any(limit is not None for limit in limits)

    @property
    def share(self) -> Decimal:
        """The rate as a factor: 2.9 % is 0.029."""
        with exact():
            return self.rate.scaleb(-2)

    def with_event(self, usage: Usage, value: Decimal) -> Usage:
        """Give the usage with one more event, later than all of its own: `quantity` is the value so far.

        The statement that folds stored events says the same in SQL (adapters/postgres/usage/event_charges.py).
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

    def _charged(self, before: Decimal, after: Decimal, *, number: int) -> tuple[Decimal, bool]:
        """Give the part of an event's value that is charged, and whether the event is."""
        if self.free_amount is None:
            return after - before, self.free_events is None or number > self.free_events
        part = max(after, self.free_amount) - max(before, self.free_amount)
        return part, after > self.free_amount or part < 0

    def steps(self, usage: Usage) -> tuple[Step, ...]:
        """Give the step of the rate and, with a fixed fee, the step of the events; then what limits added or took."""
        charged = usage.charged_value if self.per_event else usage.billable
        events = usage.charged_events if self.per_event else usage.events
        value = Step.of(f"{grouped(self.rate)} % of the value", units=charged, unit_price=self.share)
        if not self.per_event:
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
