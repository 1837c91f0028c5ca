"""Rating: the price of one subscription's charges in one period, as lines that may be invoiced (R2, R14, B99).

Whole-period prices come out of here; what was billed before is subtracted in billing/invoice.py, so that an invoice in
the middle of a period, a late event and a second run are all the same calculation.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.charges import Charge
from billing.money import to_minor
from billing.numbers import ExactDecimal, grouped
from billing.period import Period
from billing.pricing import Step, price
from billing.proration import fraction, prorated
from billing.usage import NO_USAGE, Usage

LineKind = Literal["usage", "fee"]

# A microsecond divides every duration, so one of them always fits.
_UNITS: Final = (
    (timedelta(days=1), "days"),
    (timedelta(hours=1), "hours"),
    (timedelta(seconds=1), "seconds"),
    (timedelta(microseconds=1), "microseconds"),
)


class ProposedLine(BaseModel):
    """What one charge costs in one whole period; `amount_minor` is rounded, once (R2).

    `unit_amount` and the amounts of `steps` are major units and unrounded; `steps` are those of the full period.
    """

    model_config = ConfigDict(frozen=True)

    charge_id: UUID
    metric_id: UUID | None
    kind: LineKind
    description: str
    quantity: ExactDecimal
    events: int
    unit_amount: ExactDecimal | None
    amount_minor: int
    period: Period
    steps: tuple[Step, ...]


def rate(
    charges: Sequence[Charge],
    usages: Mapping[UUID, Usage],
    *,
    period: Period,
    full_period: Period,
    currency: str,
) -> tuple[ProposedLine, ...]:
    """Price every charge for one period: one line for each, in the order of the charges (B29), also at zero.

    `usages` is keyed by charge id, or by metric id for all charges of that metric; a metered charge without an entry
    was not used. `full_period` is the uncut period: a fixed fee is prorated when `period` is shorter (R14), usage not.
    Plan of seed 001 at 1,200,000 calls: 10000 + 4900 = 14900 cents (B98, C16). Raises `UnknownCurrency`, `NotWithin`.
    """
    return tuple(
        _usage_line(charge, _usage(charge, usages), period=period, currency=currency)
        if charge.metered
        else _fee_line(charge, period=period, full_period=full_period, currency=currency)
        for charge in charges
    )


def usage_description(charge: Charge, quantity: Decimal) -> str:
    """Name a usage line: metric, pricing word, quantity and unit (B99).

    "API Calls — tiered usage (1,200,000 calls)"; without a unit the last word of the metric's name, in lower case (C5).
    """
    name = charge.metric_name or charge.metric_key or "Usage"
    unit = charge.unit or _last_word(name)
    return f"{charge.description or name} — {charge.model.word} ({grouped(quantity)} {unit})"


def _last_word(name: str) -> str:
    words = name.split()
    return words[-1].lower() if words else "units"


def _usage(charge: Charge, usages: Mapping[UUID, Usage]) -> Usage:
    by_charge = usages.get(charge.id)
    if by_charge is not None:
        return by_charge
    assert charge.metric_id is not None, "a metered charge has a metric"
    return usages.get(charge.metric_id, NO_USAGE)


def _usage_line(charge: Charge, usage: Usage, *, period: Period, currency: str) -> ProposedLine:
    steps = charge.model.steps(usage)
    return ProposedLine(
        charge_id=charge.id,
        metric_id=charge.metric_id,
        kind="usage",
        description=usage_description(charge, usage.billable),
        quantity=usage.billable,
        events=usage.events,
        unit_amount=charge.model.unit_amount,
        amount_minor=to_minor(price(steps), currency),
        period=period,
        steps=steps,
    )


def _fee_line(charge: Charge, *, period: Period, full_period: Period, currency: str) -> ProposedLine:
    steps = charge.model.steps(NO_USAGE)
    description, amount = charge.description or "Fixed fee", price(steps)
    if period != full_period:
        amount = prorated(amount, fraction(period, full_period))
        description = f"{description} (prorated {_share(period, full_period)})"
    return ProposedLine(
        charge_id=charge.id,
        metric_id=None,
        kind="fee",
        description=description,
        quantity=Decimal(1),
        events=0,
        unit_amount=charge.model.unit_amount,
        amount_minor=to_minor(amount, currency),
        period=period,
        steps=steps,
    )


def _share(active: Period, full: Period) -> str:
    """Write the share of a period in the largest unit that is whole on both sides: "15/30 days", "359/743 hours"."""
    unit, name = next((unit, name) for unit, name in _UNITS if not active.duration % unit and not full.duration % unit)
    return f"{active.duration // unit:,}/{full.duration // unit:,} {name}"
