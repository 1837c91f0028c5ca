"""Invoices: what is left to bill, as a diff, and which states an invoice may go through (C2, C5, C14).

assemble() subtracts what exists from what the record says now. A first invoice, one in the middle of a period, late
usage and a run that is repeated after a crash are therefore one piece of code.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.numbers import INTEGER_DIGITS, ExactDecimal, exact
from billing.period import Instant, Period
from billing.pricing import Step
from billing.rating import LineKind, ProposedLine
from billing.scope import UNGROUPED, Group, group_label

MOST_LINES: Final = 1000
"""An invoice with more lines is refused."""

LARGEST_MINOR: Final = 10**15
"""The largest accepted size of a line and of a total, in minor units: ten million million dollars."""

Reason = Literal["period", "adjustment"]
InvoiceStatus = Literal["draft", "issued", "paid", "overdue", "failed", "voided"]
InvoiceEvent = Literal["issue", "pay", "fail", "become_overdue", "void"]


class AbsurdInvoice(ValueError):
    """Raised for lines that no real bill has; the close parks instead of sending them (design: safety bounds)."""


class TooManyGroups(AbsurdInvoice):
    """Raised for a charge whose group_by finds more groups in a period than an invoice may have lines for."""

    def __init__(self, group_by: Sequence[str], most: int) -> None:
        super().__init__(f"grouping by {', '.join(group_by)} gives more than {most} groups in one period")


class IllegalTransition(ValueError):
    """Raised when an invoice in this status cannot take this event."""

    def __init__(self, status: InvoiceStatus, event: InvoiceEvent) -> None:
        super().__init__(f"an invoice that is {status} cannot {event.replace('_', ' ')}")
        self.status = status
        self.event = event


class BilledLine(BaseModel):
    """An invoice line that exists already: what one charge was billed for the period that starts at `period_start`.

    `group` is the group that it billed, of a charge with group_by.
    """

    model_config = ConfigDict(frozen=True)

    charge_id: UUID
    period_start: Instant
    amount_minor: int
    quantity: ExactDecimal
    events: int = 0
    group: Group = UNGROUPED


class InvoiceLine(BaseModel):
    """An invoice line to be written: what one charge costs in one period beyond what was billed for it.

    `quantity`, `events` and `amount_minor` are the increment, `total_quantity` and `steps` those of the whole period.
    `reason` is `adjustment` when a period that was billed and closed has changed since (B108). `reference` is the same
    on every run: the charge, the start of the period and the group.
    """

    model_config = ConfigDict(frozen=True)

    reference: str
    charge_id: UUID
    metric_id: UUID | None
    group: Group = UNGROUPED
    kind: LineKind
    description: str
    quantity: ExactDecimal
    total_quantity: ExactDecimal
    events: int
    unit_amount: ExactDecimal | None
    amount_minor: int
    period: Period
    reason: Reason
    steps: tuple[Step, ...]


class _Billed(NamedTuple):
    """The sum of the existing lines of one charge and group in one period."""

    amount_minor: int
    quantity: Decimal
    events: int


_Key = tuple[UUID, datetime, Group]
_NOTHING_BILLED: Final = _Billed(0, Decimal(0), 0)


def line_reference(charge_id: UUID, period_start: datetime, group: Group = UNGROUPED) -> str:
    """Return the stable name of a charge in a period, under which a line is written at most once on an invoice.

    A group is named by a digest of its values, which may be long.
    """
    name = f"{charge_id}:{period_start.isoformat()}"
    return f"{name}:{sha256(json.dumps(group).encode()).hexdigest()[:16]}" if group else name


def assemble(
    existing: Sequence[BilledLine],
    proposed: Sequence[ProposedLine],
    *,
    closed: Collection[datetime] | None = None,
) -> tuple[InvoiceLine, ...]:
    """Return the lines that turn what was billed into what is proposed, in the order of the proposal.

    A charge that was never billed for its period always gets its line, even of 0 (B29); one that was gets a line only
    if its amount or quantity changed. The same inputs a second time, with the first result among `existing`, give ().
    Existing lines of other charges or periods are left alone. Each group of a charge is a difference of its own; what a
    group was billed that has no usage any more is given back, as is the line of a charge that had no groups yet.

    `closed` are the starts of the periods that were billed to their end before: a change in one of them is an
    `adjustment`, any other belongs to its own `period`. None: all that was billed was closed.
    Raises `AbsurdInvoice` for two proposals of one charge and period, too many lines, or absurd amounts.
    """
    _unique(proposed)
    billed = _sums(existing)
    lines = []
    for line in _with_vanished(proposed, billed):
        before = billed.get(_key(line))
        if before is None:
            lines.append(_line(line, _NOTHING_BILLED, reason=None))
        elif (before.amount_minor, before.quantity) != (line.amount_minor, line.quantity):
            is_closed = closed is None or line.period.start in closed
            lines.append(_line(line, before, reason="adjustment" if is_closed else "period"))
    _sane(lines)
    return tuple(lines)


def nothing_left(existing: Sequence[BilledLine], proposed: Sequence[ProposedLine]) -> tuple[InvoiceLine, ...]:
    """Return lines of 0 for usage that was all billed before its period ended, for the invoice that closes the period.

    Without a line nothing would tell that the period was closed, and usage that comes late is looked for in closed
    periods only (C5).
    """
    billed = _sums(existing)
    usage = ((line, billed.get(_key(line))) for line in proposed if line.kind == "usage")
    return tuple(_line(line, before, reason="period") for line, before in usage if before is not None)


class _Amount(Protocol):
    """Anything with an amount in minor units."""

    @property
    def amount_minor(self) -> int: ...


def total(lines: Sequence[_Amount]) -> int:
    """Return the sum of the lines in minor units: an invoice's total is the sum of its printed lines (C2, B97)."""
    return sum(line.amount_minor for line in lines)


_TRANSITIONS: Final[Mapping[tuple[InvoiceStatus, InvoiceEvent], InvoiceStatus]] = MappingProxyType(
    {
        ("draft", "issue"): "issued",
        ("draft", "void"): "voided",
        ("issued", "pay"): "paid",
        ("issued", "fail"): "failed",
        ("issued", "become_overdue"): "overdue",
        ("issued", "void"): "voided",
        ("failed", "pay"): "paid",
        ("failed", "fail"): "failed",
        ("failed", "become_overdue"): "overdue",
        ("failed", "void"): "voided",
        ("overdue", "pay"): "paid",
        ("overdue", "fail"): "overdue",
        ("overdue", "void"): "voided",
    }
)


def transition(status: InvoiceStatus, event: InvoiceEvent) -> InvoiceStatus:
    """Return the status of an invoice after an event (C14).

    draft -issue-> issued; issued, failed or overdue -pay-> paid, -void-> voided; a failed payment makes an issued one
    failed and leaves an overdue one overdue; paid and voided are final. Raises `IllegalTransition` for everything else.
    """
    after = _TRANSITIONS.get((status, event))
    if after is None:
        raise IllegalTransition(status, event)
    return after


def _line(line: ProposedLine, before: _Billed, *, reason: Reason | None) -> InvoiceLine:
    suffix = {None: "", "period": ", less what was invoiced before", "adjustment": ", adjustment"}[reason]
    with exact():
        quantity = line.quantity - before.quantity
    return InvoiceLine(
        reference=line_reference(*_key(line)),
        charge_id=line.charge_id,
        metric_id=line.metric_id,
        group=line.group,
        kind=line.kind,
        description=f"{line.description}{suffix}",
        quantity=quantity,
        total_quantity=line.quantity,
        events=line.events - before.events,
        unit_amount=line.unit_amount,
        amount_minor=line.amount_minor - before.amount_minor,
        period=line.period,
        reason=reason or "period",
        steps=line.steps,
    )


def _key(line: ProposedLine) -> _Key:
    return line.charge_id, line.period.start, line.group


def _with_vanished(proposed: Sequence[ProposedLine], billed: Mapping[_Key, _Billed]) -> list[ProposedLine]:
    """Add, after the lines of each charge, lines of nothing for its groups that were billed and are not proposed."""
    wanted = {_key(line) for line in proposed}
    gone: defaultdict[tuple[UUID, datetime], list[Group]] = defaultdict(list)
    for charge_id, start, group in billed.keys() - wanted:
        gone[charge_id, start].append(group)
    if not gone:
        return list(proposed)
    last = {(line.charge_id, line.period.start): index for index, line in enumerate(proposed)}
    lines: list[ProposedLine] = []
    for index, line in enumerate(proposed):
        lines.append(line)
        key = (line.charge_id, line.period.start)
        if last[key] == index:
            lines += [_nothing(line, group) for group in sorted(gone.get(key, []), key=json.dumps)]
    return lines


def _nothing(line: ProposedLine, group: Group) -> ProposedLine:
    name = f"{line.label} ({group_label(group)})" if group else line.label
    description = f"{name} — no usage left" if group else f"{name} — billed by group now"
    nothing = {"quantity": Decimal(0), "events": 0, "amount_minor": 0, "steps": ()}
    return line.model_copy(update={"group": group, "description": description, **nothing})


def _sums(existing: Sequence[BilledLine]) -> dict[_Key, _Billed]:
    """Add up what was billed for each charge, period and group."""
    grouped: defaultdict[_Key, list[BilledLine]] = defaultdict(list)
    for line in existing:
        grouped[line.charge_id, line.period_start, line.group].append(line)
    with exact():
        return {
            key: _Billed(
                amount_minor=total(lines),
                quantity=sum((line.quantity for line in lines), Decimal(0)),
                events=sum(line.events for line in lines),
            )
            for key, lines in grouped.items()
        }


def _unique(proposed: Sequence[ProposedLine]) -> None:
    """Raise unless every charge and group is proposed at most once for each period: two would bill it twice."""
    counts = Counter(_key(line) for line in proposed)
    for (charge_id, start, _), count in counts.items():
        if count > 1:
            raise AbsurdInvoice(f"charge {charge_id} is proposed {count} times for the period from {start.isoformat()}")


def _sane(lines: Sequence[InvoiceLine]) -> None:
    """Raise for what no bill has: a bound is cheaper than a refund."""
    if len(lines) > MOST_LINES:
        raise AbsurdInvoice(f"{len(lines)} lines, more than {MOST_LINES}")
    for line in lines:
        if abs(line.amount_minor) > LARGEST_MINOR:
            raise AbsurdInvoice(f"{line.description}: {line.amount_minor} minor units, more than {LARGEST_MINOR}")
        if max(abs(line.quantity), abs(line.total_quantity)) >= 10**INTEGER_DIGITS:
            raise AbsurdInvoice(f"{line.description}: a quantity of more than {INTEGER_DIGITS} digits")
    if abs(total(lines)) > LARGEST_MINOR:
        raise AbsurdInvoice(f"a total of {total(lines)} minor units, more than {LARGEST_MINOR}")
