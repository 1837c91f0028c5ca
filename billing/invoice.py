"""Invoices: their lines, the bounds of what one may hold, and the states it may go through (C2, C14)."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from billing.numbers import INTEGER_DIGITS, ExactDecimal
from billing.period import Period
from billing.pricing import Step
from billing.scope import UNGROUPED, Group

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


LineKind = Literal["usage", "fee", "add_on", "discount", "wallet_credit", "carried", "one_off"]


class DiscountedLine(BaseModel):
    """How much of a discount belongs to which line of its invoice, in minor units as text, below zero (R17)."""

    model_config = ConfigDict(frozen=True)

    line: str
    amount_cents: str


class InvoiceLine(BaseModel):
    """A line of an invoice, from its price to the table: `invoice_lines` has a column for each field but `label`.

    `amount_minor` is rounded once (R2), `unit_amount` and the amounts of `steps` are major units and unrounded. What
    `rate` gives is a whole period's price; `difference` leaves what was not billed yet: then `quantity`, `events` and
    `amount_minor` are the increment, `total_quantity` and `steps` those of the whole period.
    `reference` is the same on every run; `group` the property values whose events are priced, of a charge with
    group_by. `reason` is `adjustment` when a period that was billed and closed has changed since (B108).
    """

    model_config = ConfigDict(frozen=True)

    reference: str = ""
    subscription_id: UUID | None = None
    charge_id: UUID | None = None
    metric_id: UUID | None = None
    group: Group = UNGROUPED
    kind: LineKind
    label: str = ""
    description: str
    quantity: ExactDecimal = Decimal(1)
    total_quantity: ExactDecimal = Decimal(1)
    unit_amount: ExactDecimal | None = None
    amount_minor: int
    events: int = 0
    period: Period | None = None
    reason: Reason = "period"
    steps: tuple[Step | DiscountedLine, ...] = ()

    @property
    def charged_period(self) -> Period:
        """The service period of a line that bills a charge or discounts a period."""
        assert self.period is not None, "lines of charges and discounts have a period"
        return self.period

    @property
    def charged_id(self) -> UUID:
        """The charge of a line that bills one."""
        assert self.charge_id is not None, "a line of a charge"
        return self.charge_id

    @property
    def shown_steps(self) -> list[dict[str, Any]]:
        """The steps as JSON has them, exact amounts as text."""
        return [step.model_dump(mode="json", by_alias=True) for step in self.steps]


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


def check_bounds(lines: Sequence[InvoiceLine]) -> None:
    """Raise `AbsurdInvoice` for what no bill has: a bound is cheaper than a refund."""
    if len(lines) > MOST_LINES:
        raise AbsurdInvoice(f"{len(lines)} lines, more than {MOST_LINES}")
    for line in lines:
        if abs(line.amount_minor) > LARGEST_MINOR:
            raise AbsurdInvoice(f"{line.description}: {line.amount_minor} minor units, more than {LARGEST_MINOR}")
        if max(abs(line.quantity), abs(line.total_quantity)) >= 10**INTEGER_DIGITS:
            raise AbsurdInvoice(f"{line.description}: a quantity of more than {INTEGER_DIGITS} digits")
    if abs(total(lines)) > LARGEST_MINOR:
        raise AbsurdInvoice(f"a total of {total(lines)} minor units, more than {LARGEST_MINOR}")
