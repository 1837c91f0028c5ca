"""Hard limits: what of a cap is used, reserved and left, and what usage would cost if its reservations were used.

The durable side locks the caps of a subscription, reads these figures and decides here; see docs/limits.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from billing.charges import Charge
from billing.numbers import exact
from billing.period import Period
from billing.rating import rate
from billing.scope import group_of
from billing.usage import NO_USAGE, GroupUsage, Usage


@dataclass(frozen=True, slots=True)
class ReservedQuantity:
    """Quantity of a metric that is reserved, by `count` equal reservations whose events will have these properties."""

    metric_id: UUID
    quantity: Decimal
    count: int = 1
    properties: Mapping[str, object] = field(default_factory=dict)

    @property
    def each(self) -> Decimal:
        """The quantity of one of them, which all have."""
        with exact():
            return self.quantity / self.count


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """How a cap stands in the current period: units of a metric, or minor units of a currency for spend."""

    cap: Decimal
    used: Decimal
    reserved: Decimal

    @property
    def left(self) -> Decimal:
        """What may still be reserved; 0 when plain usage went past the cap, which is recorded all the same."""
        with exact():
            return max(self.cap - self.used - self.reserved, Decimal(0))

    @property
    def is_kept(self) -> bool:
        """Return whether what is used and reserved stays within the cap, which is inclusive."""
        with exact():
            return self.used + self.reserved <= self.cap


def adds_up(charge: Charge) -> bool:
    """Tell whether a charge prices the quantity of its metric alone, whatever events and reservations it came from."""
    return charge.scope is None and not charge.group_by and charge.model.quantity_only


def spend(
    charges: Sequence[Charge],
    usages: Mapping[UUID, Usage],
    held: Sequence[ReservedQuantity],
    *,
    period: Period,
    currency: str,
) -> int:
    """Price a period's usage as an invoice would, with what is reserved on top; minor units, fixed fees left out.

    `usages` is keyed by charge id. Each line is rounded once (R2), so this is what the usage lines of the period's
    invoice come to when every reservation is committed as it was made. Raises `UnknownCurrency`.
    """
    metered = [charge for charge in charges if charge.metered]
    raised = {charge.id: _with(charge, usages.get(charge.id, NO_USAGE), held) for charge in metered}
    lines = rate(metered, raised, period=period, full_period=period, currency=currency)
    return sum(line.amount_minor for line in lines)


def _with(charge: Charge, usage: Usage, held: Sequence[ReservedQuantity]) -> Usage:
    """Add to a charge's usage the reservations that it would price."""
    own = [
        each
        for each in held
        if each.metric_id == charge.metric_id and (charge.scope is None or charge.scope.holds(each.properties))
    ]
    if not charge.group_by:
        return _raised(charge, usage, own)
    parts = {part.group: part.usage for part in usage.groups}
    for each in own:
        group = group_of(charge.group_by, each.properties)
        parts[group] = _raised(charge, parts.get(group, NO_USAGE), [each])
    grouped = tuple(GroupUsage(group=group, usage=part) for group, part in parts.items())
    return usage.model_copy(update={"groups": grouped})


def _raised(charge: Charge, usage: Usage, own: Sequence[ReservedQuantity]) -> Usage:
    if not own:
        return usage
    if charge.model.is_ordered:
        for each in own:
            for _ in range(each.count):
                usage = charge.model.with_event(usage, each.each)
        return usage
    priced = (charge.model.cost_of(each.quantity, each.properties, count=each.count) for each in own)
    with exact():
        return usage.model_copy(
            update={
                "quantity": usage.quantity + sum((each.quantity for each in own), Decimal(0)),
                "events": usage.events + sum(each.count for each in own),
                "priced": usage.priced + sum(priced, Decimal(0)),
            }
        )
