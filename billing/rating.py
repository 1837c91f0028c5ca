"""Rating: the price of one subscription's charges in one period, as lines that may be invoiced (R2, R14, B99).

Whole-period prices come out of here; what was billed before is subtracted in billing/closing/difference.py, so that an
invoice in the middle of a period, a late event and a second run are all the same calculation.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

from billing.charges import Charge
from billing.invoice import InvoiceLine
from billing.money import to_minor
from billing.numbers import grouped
from billing.period import Period
from billing.pricing import price
from billing.proration import active_fraction, prorated
from billing.scope import UNGROUPED, Group, group_label
from billing.usage import NO_USAGE, Usage

# A microsecond divides every duration, so one of them always fits.
_UNITS: Final = (
    (timedelta(days=1), "days"),
    (timedelta(hours=1), "hours"),
    (timedelta(seconds=1), "seconds"),
    (timedelta(microseconds=1), "microseconds"),
)


def rate(
    charges: Sequence[Charge],
    usages: Mapping[UUID, Usage],
    *,
    period: Period,
    full_period: Period,
    currency: str,
    pauses: Sequence[Period] = (),
) -> tuple[InvoiceLine, ...]:
    """Price every charge for one period: one line for each, in the order of the charges (B29), also at zero.

    A charge with group_by has one line for each group that was used, each priced by itself: tiers start in every group.

    `usages` is keyed by charge id, or by metric id for all charges of that metric; a metered charge without an entry
    was not used. `full_period` is the uncut period: a fixed fee is prorated when `period` is shorter (R14), usage not.
    For the time of `pauses` no fee is due (R21).
    Plan of seed 001 at 1,200,000 calls: 10000 + 4900 = 14900 cents (B98, C16). Raises `UnknownCurrency` and
    `PeriodOutsideCycle`.
    """
    lines: list[InvoiceLine] = []
    for charge in charges:
        if charge.metered:
            lines += _usage_lines(charge, _usage(charge, usages), period=period, currency=currency)
        else:
            lines.append(_fee_line(charge, period=period, full_period=full_period, currency=currency, pauses=pauses))
    return tuple(lines)


def usage_description(charge: Charge, usage: Usage, group: Group = UNGROUPED) -> str:
    """Name a usage line: metric, pricing word, quantity and unit (B99).

    "API Calls — tiered usage (1,200,000 calls)"; without a unit the last word of the metric's name, in lower case (C5).
    """
    unit = charge.unit if usage.metric_name is None else usage.unit
    unit = unit or _last_word(_metric_name(charge, usage))
    return f"{usage_label(charge, usage, group)} — {charge.model.word} ({grouped(usage.billable)} {unit})"


def usage_label(charge: Charge, usage: Usage, group: Group = UNGROUPED) -> str:
    """Name what a usage line bills: "API Calls (region: eu; user: ann)".

    A charge's own description names its metric and its filter; the metric's name is the one it has now.
    """
    parts = [] if charge.scope is None or charge.scope.only is None else [charge.scope.only.label]
    parts = [] if charge.description else parts
    parts += [group_label(group)] if group else []
    name = charge.description or _metric_name(charge, usage)
    return f"{name} ({'; '.join(parts)})" if parts else name


def _metric_name(charge: Charge, usage: Usage) -> str:
    return usage.metric_name or charge.metric_name or charge.metric_key or "Usage"


def _last_word(name: str) -> str:
    words = name.split()
    return words[-1].lower() if words else "units"


def _usage(charge: Charge, usages: Mapping[UUID, Usage]) -> Usage:
    by_charge = usages.get(charge.id)
    if by_charge is not None:
        return by_charge
    assert charge.metric_id is not None, "a metered charge has a metric"
    return usages.get(charge.metric_id, NO_USAGE)


def _usage_lines(charge: Charge, usage: Usage, *, period: Period, currency: str) -> list[InvoiceLine]:
    """Price a metered charge: each of its groups, or all of it where there are none."""
    if not usage.groups:
        return [_usage_line(charge, usage, UNGROUPED, period=period, currency=currency)]
    names = {"metric_name": usage.metric_name, "unit": usage.unit}
    parts = ((part.group, part.usage.model_copy(update=names)) for part in usage.groups)
    return [_usage_line(charge, used, group, period=period, currency=currency) for group, used in parts]


def _usage_line(charge: Charge, usage: Usage, group: Group, *, period: Period, currency: str) -> InvoiceLine:
    steps = charge.model.steps(usage)
    return InvoiceLine(
        charge_id=charge.id,
        metric_id=charge.metric_id,
        kind="usage",
        group=group,
        label=usage_label(charge, usage),
        description=usage_description(charge, usage, group),
        quantity=usage.billable,
        total_quantity=usage.billable,
        events=usage.events,
        unit_amount=charge.model.unit_amount,
        amount_minor=to_minor(price(steps), currency),
        period=period,
        steps=steps,
    )


def _fee_line(
    charge: Charge, *, period: Period, full_period: Period, currency: str, pauses: Sequence[Period]
) -> InvoiceLine:
    steps = charge.model.steps(NO_USAGE)
    description, amount = charge.description or "Fixed fee", price(steps)
    share = active_fraction(period, full_period, pauses)
    if share != 1:
        amount = prorated(amount, share)
        description = f"{description} (prorated {_share(share, full_period)})"
    return InvoiceLine(
        charge_id=charge.id,
        kind="fee",
        description=description,
        unit_amount=charge.model.unit_amount,
        amount_minor=to_minor(amount, currency),
        period=period,
        steps=steps,
    )


def _share(share: Fraction, full: Period) -> str:
    """Write a share of a period in the largest unit that is whole on both sides: "15/30 days", "359/743 hours"."""
    microsecond = _UNITS[-1][0]
    active = int(full.duration // microsecond * share) * microsecond
    unit, name = next((unit, name) for unit, name in _UNITS if not active % unit and not full.duration % unit)
    return f"{active // unit:,}/{full.duration // unit:,} {name}"
