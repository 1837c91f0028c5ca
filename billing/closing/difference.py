"""The difference: what a period costs now, less what was billed of it and what was forgiven (C2, C5, R20).

A first invoice, one in the middle of a period, late usage, a void that bills again and a run that is repeated after a
crash are therefore one piece of code.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from billing.invoice import AbsurdInvoice, InvoiceLine, Reason, check_bounds, total
from billing.numbers import exact
from billing.scope import UNGROUPED, Group, group_label

LineKey = tuple[UUID, datetime, Group]
"""What a difference is taken of: a charge, the start of a period, and a group of the charge."""


class Billed(NamedTuple):
    """What invoices hold for one charge and group in one period, in minor units.

    `forgiven_minor` was voided for good: it is not billed any more, and no later difference brings it back. The
    quantity and events of what was forgiven count as billed.
    """

    amount_minor: int = 0
    quantity: Decimal = Decimal(0)
    events: int = 0
    forgiven_minor: int = 0

    def plus(self, other: "Billed") -> "Billed":
        """Return the sum of both."""
        with exact():
            quantity = self.quantity + other.quantity
        return Billed(
            self.amount_minor + other.amount_minor,
            quantity,
            self.events + other.events,
            self.forgiven_minor + other.forgiven_minor,
        )


_NOTHING_BILLED: Final = Billed()


def line_reference(charge_id: UUID, period_start: datetime, group: Group = UNGROUPED) -> str:
    """Return the stable name of a charge in a period, under which a line is written at most once on an invoice.

    A group is named by a digest of its values, which may be long.
    """
    name = f"{charge_id}:{period_start.isoformat()}"
    return f"{name}:{sha256(json.dumps(group).encode()).hexdigest()[:16]}" if group else name


def key_of(line: InvoiceLine) -> LineKey:
    """Return the key of a line that bills a charge."""
    return line.charged_id, line.charged_period.start, line.group


def billed_by(lines: Iterable[InvoiceLine]) -> dict[LineKey, Billed]:
    """Add up what invoices with these lines of charges hold."""
    found: dict[LineKey, Billed] = {}
    for line in lines:
        held = Billed(line.amount_minor, line.quantity, line.events)
        found[key_of(line)] = found.get(key_of(line), _NOTHING_BILLED).plus(held)
    return found


def difference(
    billed: Mapping[LineKey, Billed], priced: Sequence[InvoiceLine], *, closed: Collection[datetime] | None = None
) -> tuple[InvoiceLine, ...]:
    """Return the lines that turn what was billed into the prices, in the order of the prices.

    A charge that was never billed for its period always gets its line, even of 0 (B29); one that was gets a line only
    if its amount or quantity changed. The same inputs a second time, with the first result among `billed`, give ().
    What was billed of other charges or periods is left alone. Each group of a charge is a difference of its own; what a
    group was billed that has no usage any more is given back, as is the line of a charge that had no groups yet. A
    charge costs its price less what was forgiven of it, and never less than nothing (R20).

    `closed` are the starts of the periods that were billed to their end before: a change in one of them is an
    `adjustment`, any other belongs to its own `period`. None: all that was billed was closed.
    Raises `AbsurdInvoice` for two prices of one charge and period, too many lines, or absurd amounts.
    """
    _unique(priced)
    lines = []
    for line in _with_vanished(priced, billed):
        before = billed.get(key_of(line))
        if before is None:
            lines.append(_left(line, _NOTHING_BILLED, reason=None))
        elif (before.amount_minor, before.quantity) != (_due(line, before), line.quantity):
            is_closed = closed is None or line.charged_period.start in closed
            lines.append(_left(line, before, reason="adjustment" if is_closed else "period"))
    check_bounds(lines)
    return tuple(lines)


def nothing_left(billed: Mapping[LineKey, Billed], priced: Sequence[InvoiceLine]) -> tuple[InvoiceLine, ...]:
    """Return lines of 0 for usage that was all billed before its period ended, for the invoice that closes the period.

    Without a line nothing would tell that the period was closed, and usage that comes late is looked for in closed
    periods only (C5).
    """
    usage = ((line, billed.get(key_of(line))) for line in priced if line.kind == "usage")
    return tuple(_left(line, before, reason="period") for line, before in usage if before is not None)


def unbilled_usage(billed: Mapping[LineKey, Billed], priced: Sequence[InvoiceLine]) -> tuple[InvoiceLine, ...]:
    """Return the lines that bill one running period's usage up to its price; fixed fees stay for its end (B156, C30).

    `priced` is the whole period (tiers do not restart), so this invoice, further ones and the one at the period's end
    add up to one rating (B155): at 0.05 each, 10,251 units give 512.55, and 20,000 at the end another 487.45.
    A charge that was not used has no line, and an invoice that would give money back is left to the period's end.
    Raises `AbsurdInvoice`.
    """
    usage = [line for line in priced if line.kind == "usage"]
    used = tuple(line for line in difference(billed, usage, closed=()) if line.amount_minor or line.quantity)
    return used if total(used) > 0 else ()


def _due(line: InvoiceLine, before: Billed) -> int:
    """Return what the line's charge costs after what was forgiven, in minor units."""
    return max(0, line.amount_minor - before.forgiven_minor) if before.forgiven_minor else line.amount_minor


def _left(line: InvoiceLine, before: Billed, *, reason: Reason | None) -> InvoiceLine:
    suffix = {None: "", "period": ", less what was invoiced before", "adjustment": ", adjustment"}[reason]
    with exact():
        quantity = line.quantity - before.quantity
    return line.model_copy(
        update={
            "reference": line_reference(*key_of(line)),
            "description": f"{line.description}{suffix}",
            "quantity": quantity,
            "events": line.events - before.events,
            "amount_minor": _due(line, before) - before.amount_minor,
            "reason": reason or "period",
        }
    )


def _with_vanished(priced: Sequence[InvoiceLine], billed: Mapping[LineKey, Billed]) -> list[InvoiceLine]:
    """Add, after the lines of each charge, lines of nothing for its groups that were billed and are not priced."""
    gone: defaultdict[tuple[UUID, datetime], list[Group]] = defaultdict(list)
    for charge_id, start, group in billed.keys() - {key_of(line) for line in priced}:
        gone[charge_id, start].append(group)
    if not gone:
        return list(priced)
    last = {key_of(line)[:2]: index for index, line in enumerate(priced)}
    lines: list[InvoiceLine] = []
    for index, line in enumerate(priced):
        lines.append(line)
        if last[key_of(line)[:2]] == index:
            lines += [_nothing(line, group) for group in sorted(gone.get(key_of(line)[:2], []), key=json.dumps)]
    return lines


def _nothing(line: InvoiceLine, group: Group) -> InvoiceLine:
    name = f"{line.label} ({group_label(group)})" if group else line.label
    description = f"{name} — no usage left" if group else f"{name} — billed by group now"
    none = Decimal(0)
    nothing = {"quantity": none, "total_quantity": none, "events": 0, "amount_minor": 0, "steps": ()}
    return line.model_copy(update={"group": group, "description": description, **nothing})


def _unique(priced: Sequence[InvoiceLine]) -> None:
    """Raise unless every charge and group is priced at most once for each period: two would bill it twice."""
    counts = Counter(key_of(line) for line in priced)
    for (charge_id, start, _), count in counts.items():
        if count > 1:
            raise AbsurdInvoice(f"charge {charge_id} is proposed {count} times for the period from {start.isoformat()}")
