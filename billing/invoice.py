"""Invoices: what is left to bill, as a diff, and which states an invoice may go through (C2, C5, C14).

assemble() subtracts what exists from what the record says now. A first invoice, one in the middle of a period, late
usage and a run that is repeated after a crash are therefore one piece of code.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.numbers import ExactDecimal, exact
from billing.period import Instant, Period
from billing.pricing import Step
from billing.rating import LineKind, ProposedLine

MOST_LINES: Final = 1000
"""An invoice with more lines is refused."""

LARGEST_MINOR: Final = 10**15
"""The largest accepted size of a line and of a total, in minor units: ten million million dollars."""

Reason = Literal["period", "adjustment"]
InvoiceStatus = Literal["draft", "issued", "paid", "overdue", "failed", "voided"]
InvoiceEvent = Literal["issue", "pay", "fail", "become_overdue", "void"]


class AbsurdInvoice(ValueError):
    """Raised for lines that no real bill has; the close parks instead of sending them (design: safety bounds)."""


class IllegalTransition(ValueError):
    """Raised when an invoice in this status cannot take this event."""

    def __init__(self, status: InvoiceStatus, event: InvoiceEvent) -> None:
        super().__init__(f"an invoice that is {status} cannot {event.replace('_', ' ')}")
        self.status = status
        self.event = event


class BilledLine(BaseModel):
    """An invoice line that exists already: what one charge was billed for the period that starts at `period_start`."""

    model_config = ConfigDict(frozen=True)

    charge_id: UUID
    period_start: Instant
    amount_minor: int
    quantity: ExactDecimal
    events: int = 0


class InvoiceLine(BaseModel):
    """An invoice line to be written: what one charge costs in one period beyond what was billed for it.

    `quantity`, `events` and `amount_minor` are the increment, `total_quantity` and `steps` those of the whole period.
    `reason` is `adjustment` when a period that was billed and closed has changed since (B108). `reference` is the same
    on every run: the charge and the start of the period.
    """

    model_config = ConfigDict(frozen=True)

    reference: str
    charge_id: UUID
    metric_id: UUID | None
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
    """The sum of the existing lines of one charge in one period."""

    amount_minor: int
    quantity: Decimal
    events: int


_Key = tuple[UUID, datetime]


def line_reference(charge_id: UUID, period_start: datetime) -> str:
    """Give the stable name of a charge in a period, under which a line is written at most once on an invoice."""
    return f"{charge_id}:{period_start.isoformat()}"


def assemble(
    existing: Sequence[BilledLine],
    proposed: Sequence[ProposedLine],
    *,
    closed_until: datetime | None = None,
) -> tuple[InvoiceLine, ...]:
    """Give the lines that turn what was billed into what is proposed, in the order of the proposal.

    A charge that was never billed for its period always gets its line, even of 0 (B29); one that was gets a line only
    if its amount or quantity changed. The same inputs a second time, with the first result among `existing`, give ().
    Existing lines of other charges or periods are left alone.

    `closed_until` is the exclusive end of the time whose periods were closed before: a change in a period that ended by
    then is an `adjustment`, a later one belongs to its running `period`. None: all that was billed was closed.
    Raises `AbsurdInvoice` for two proposals of one charge and period, too many lines, or absurd amounts.
    """
    _unique(proposed)
    billed = _sums(existing)
    lines = []
    for line in proposed:
        before = billed.get((line.charge_id, line.period.start))
        if before is None:
            lines.append(_line(line, _Billed(0, Decimal(0), 0), reason=None))
        elif (before.amount_minor, before.quantity) != (line.amount_minor, line.quantity):
            closed = closed_until is None or line.period.end <= closed_until
            lines.append(_line(line, before, reason="adjustment" if closed else "period"))
    _sane(lines)
    return tuple(lines)


class _Amount(Protocol):
    """Anything with an amount in minor units."""

    @property
    def amount_minor(self) -> int: ...


def total(lines: Sequence[_Amount]) -> int:
    """Give the sum of the lines in minor units: an invoice's total is the sum of its printed lines (C2, B97)."""
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
    """Give the status of an invoice after an event (C14).

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
        reference=line_reference(line.charge_id, line.period.start),
        charge_id=line.charge_id,
        metric_id=line.metric_id,
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


def _sums(existing: Sequence[BilledLine]) -> dict[_Key, _Billed]:
    """Add up what was billed for each charge and period."""
    grouped: defaultdict[_Key, list[BilledLine]] = defaultdict(list)
    for line in existing:
        grouped[line.charge_id, line.period_start].append(line)
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
    """Raise unless every charge is proposed at most once for each period: two would bill it twice."""
    counts = Counter((line.charge_id, line.period.start) for line in proposed)
    for (charge_id, start), count in counts.items():
        if count > 1:
            raise AbsurdInvoice(f"charge {charge_id} is proposed {count} times for the period from {start.isoformat()}")


def _sane(lines: Sequence[InvoiceLine]) -> None:
    """Raise for what no bill has: a bound is cheaper than a refund."""
    if len(lines) > MOST_LINES:
        raise AbsurdInvoice(f"{len(lines)} lines, more than {MOST_LINES}")
    for line in lines:
        if abs(line.amount_minor) > LARGEST_MINOR:
            raise AbsurdInvoice(f"{line.description}: {line.amount_minor} minor units, more than {LARGEST_MINOR}")
    if abs(total(lines)) > LARGEST_MINOR:
        raise AbsurdInvoice(f"a total of {total(lines)} minor units, more than {LARGEST_MINOR}")
